"""What several of these modules need."""

from collections.abc import Iterator
from typing import Any

import pytest
from browsers import installed_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with installed_browser() as found:
        yield found
