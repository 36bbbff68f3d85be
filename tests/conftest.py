"""What every test may rely on."""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings

SUPPORT = str(Path(__file__).parent / "support")
sys.path.insert(0, SUPPORT)  # worker processes inherit this one...
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [SUPPORT, os.environ.get("PYTHONPATH")]))  # ...and Ray's that

settings.register_profile("untimed", deadline=None)  # no test may fail because the machine is busy
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """A command that runs in the test's own process says how things are logged, and for it alone."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


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


@pytest.fixture(scope="module")
def console_in_postgresql(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The same over PostgreSQL: its directory, and the name of its database, which nobody has open."""
    from consoles import furnished
    from postgres import empty_database

    folder, name = tmp_path_factory.mktemp("console") / "server", "console"
    with empty_database(postgres, name) as url:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TACIT_DATABASE", url)
            furnished(folder).database.close()
        yield folder, name


@pytest.fixture
def kept(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A server's directory with devices, runs and a ledger, for the console; over SQLite unless a test says otherwise.

    ``pytest.mark.parametrize("kept", ["sqlite", "postgresql"], indirect=True)``: over each.
    """
    from consoles import Kept

    with contextlib.ExitStack() as opened:
        if getattr(request, "param", "sqlite") == "sqlite":
            template = request.getfixturevalue("console_template")
        else:
            from postgres import empty_database

            template, like = request.getfixturevalue("console_in_postgresql")
            server = request.getfixturevalue("postgres")
            url = opened.enter_context(empty_database(server, f"c{abs(hash(tmp_path))}", like))
            monkeypatch.setenv("TACIT_DATABASE", url)
        found = Kept(shutil.copytree(template, tmp_path / "server"))
        yield found
        found.database.close()


@pytest.fixture(scope="module")
def end() -> Iterator[Any]:
    """An OpenAI-compatible server that a test scripts and asks what it received."""
    from upstreams import upstream

    with upstream() as found:
        yield found
