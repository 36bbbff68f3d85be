"""What every test may rely on."""

import os
import shutil
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
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server of the tests' own."""
    from postgres import cluster, programs

    if programs() is None:
        pytest.skip("PostgreSQL's server programs are not installed")
    pytest.importorskip("psycopg")
    with cluster() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database, of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    from postgres import empty_database

    with empty_database(request.getfixturevalue("postgres"), f"t{abs(hash(tmp_path))}") as found:
        yield found


@pytest.fixture(scope="module")
def console_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from consoles import furnished

    folder = tmp_path_factory.mktemp("console") / "server"
    furnished(folder).database.close()
    return folder


@pytest.fixture
def kept(tmp_path: Path, console_template: Path) -> Iterator[Any]:
    """A server's directory with devices, runs and a ledger, for the console."""
    from consoles import Kept

    found = Kept(shutil.copytree(console_template, tmp_path / "server"))
    yield found
    found.database.close()


@pytest.fixture(scope="module")
def end() -> Iterator[Any]:
    """An OpenAI-compatible server that a test scripts and asks what it received."""
    from upstreams import upstream

    with upstream() as found:
        yield found
