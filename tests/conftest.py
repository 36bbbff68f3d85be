"""What every test may rely on."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

SUPPORT = str(Path(__file__).parent / "support")
sys.path.insert(0, SUPPORT)  # worker processes inherit this one...
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [SUPPORT, os.environ.get("PYTHONPATH")]))  # ...and Ray's that

settings.register_profile("untimed", deadline=None)  # no test may fail because the machine is busy
settings.load_profile("untimed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from browsers import installed_browser

    with installed_browser() as found:
        yield found


@pytest.fixture(scope="module")
def end() -> Iterator[Any]:
    """An OpenAI-compatible server that a test scripts and asks what it received."""
    from upstreams import upstream

    with upstream() as found:
        yield found
