"""A server whose database is away for a while stays up, and goes on with its runs. A real server, no devices."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from deployments import Deployment, eventually
from sqlalchemy import create_engine, text

pytestmark = pytest.mark.timeout(300)
TROUBLE = "runs could not be looked after"


@pytest.fixture(params=["sqlite", "postgresql"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    if request.param == "postgresql":
        from postgres import empty_database

        with empty_database(request.getfixturevalue("postgres"), "outage") as url:
            monkeypatch.setenv("TACIT_DATABASE", url)
    with Deployment(tmp_path, devices=10).start() as fleet:
        yield fleet


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """By another program, for longer than anybody waits for it."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def failed_over(server: str) -> Iterator[None]:
    """Everybody is thrown out, and nobody let in."""
    admin = create_engine(server.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    with closing(admin.connect()) as connection:
        connection.execute(text("ALTER DATABASE outage ALLOW_CONNECTIONS false"))
        connection.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'outage'"))
        try:
            yield
        finally:
            connection.execute(text("ALTER DATABASE outage ALLOW_CONNECTIONS true"))
    admin.dispose()


def test_a_server_outlives_an_outage_of_its_database(fleet: Deployment, request: pytest.FixtureRequest) -> None:
    fleet.schedule("first", "--rounds", "1", "--cohort", "2")
    fleet.told("run", "pause", "first")
    eventually(lambda: fleet.run("first")["state"] == "paused", "the run does not rest")
    here = fleet.server / "server.db"
    with locked(here) if here.exists() else failed_over(request.getfixturevalue("postgres")):
        eventually(lambda: TROUBLE in fleet.up.said(), "nothing is said of it")
        time.sleep(2.0)
        assert fleet.up.alive and fleet.answers()
    fleet.told("run", "resume", "first")
    eventually(lambda: fleet.run("first")["state"] == "running", "the run does not go on")
    assert fleet.up.stop() == 0
