"""A deployment's database on SQLite and PostgreSQL: brought up to date with its rows, and used by its registries."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from tacit_privacy.enrolment import AdapterManifest, Application, Token
from tacit_privacy.errors import AdmissionRefused, BadInput, RunTakenOver, TacitError
from tacit_privacy.ledger.database import PRIVACY_TABLES
from tacit_privacy.ledger.keys import SigningKey
from tacit_server.deployment import adapters, admission, audit, people, runs, status
from tacit_server.deployment.audit import Actor
from tacit_server.deployment.database import ServerDatabase
from tacit_server.deployment.settings import ConsoleSettings, DeploymentSettings, RunSettings
from tacit_server.store import Checkpoint, Store
from tacit_server.store.database import TABLES

OPERATOR = Actor("ada", "192.0.2.1")
SERVER = "5" * 64  # fingerprint
PASSWORD = "correct horse battery"


@contextmanager
def plain_engine(url: str) -> Iterator[Engine]:
    """Without a migration."""
    parsed = make_url(url)
    engine = create_engine(parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed)
    yield engine
    engine.dispose()


def upgrade(engine: Engine, lineage: tuple[Path, str], revision: str) -> None:
    """What an older Tacit would have made."""
    config = Config()
    config.set_main_option("script_location", str(lineage[0]))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"], config.attributes["table"] = connection, lineage[1]
        command.upgrade(config, revision)


def first_schema(url: str) -> None:
    """A database as the first version left it: two rounds, a checkpoint, two devices, a ledger of one entry."""
    rows: list[tuple[str, dict[str, Any]]] = [
        ("INSERT INTO rounds VALUES (1, :record)", {"record": '{"round": 1, "released": true}'}),
        ("INSERT INTO rounds VALUES (2, :record)", {"record": '{"round": 2, "released": false}'}),
        ("INSERT INTO checkpoints VALUES (2, :state)", {"state": checkpoint().pack()}),
        ("INSERT INTO devices VALUES (0, 'device-a', :key)", {"key": "a" * 64}),
        ("INSERT INTO devices VALUES (7, 'device-b', '')", {}),
        (
            'INSERT INTO ledger ("index", payload, hash, signature) VALUES (0, :payload, :hash, :signature)',
            {"payload": "{}", "hash": "1" * 64, "signature": b"s" * 64},
        ),
    ]
    with plain_engine(url) as engine:
        upgrade(engine, PRIVACY_TABLES, "p0001")
        upgrade(engine, TABLES, "s0001")
        with engine.begin() as connection:
            for statement, values in rows:
                connection.execute(text(statement), values)


def checkpoint() -> Checkpoint:
    return Checkpoint(2, 12.5, {"adapter": np.arange(5.0)}, steps=1, grid=b"opaque")


def test_the_first_schema_comes_up_to_date_with_its_rows(url: str) -> None:
    first_schema(url)
    with Store(url) as store:
        assert store.rounds() == [{"round": 1, "released": True}, {"round": 2, "released": False}]
        newest = store.newest()
        assert newest is not None
        assert (newest.round, newest.time, newest.steps, newest.grid) == (2, 12.5, 1, b"opaque")
        assert newest.arrays["adapter"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    with ServerDatabase(url) as database, database.begin() as session:
        found = admission.devices(session)
        assert [(row.number, row.identity, row.public_key) for row in found] == [
            (0, "device-a", "a" * 64),
            (7, "device-b", ""),
        ]
        assert {(row.state, row.name, row.node_id, row.seen) for row in found} == {("admitted", "", "", 0.0)}
        assert session.execute(text("SELECT hash FROM ledger")).scalars().all() == ["1" * 64]


def test_what_was_brought_up_to_date_takes_further_runs_beside_the_old_one(url: str) -> None:
    first_schema(url)
    for run in ("", "another"):
        with Store(url, run) as store, store.begin() as session:
            store.save(session, Checkpoint(3, 0.0, {"adapter": np.ones(2)}, steps=2), {"round": 3, "released": True})
    with Store(url) as old, Store(url, "another") as new:
        assert (len(old.rounds()), len(new.rounds())) == (3, 1)


def test_a_database_that_is_up_to_date_is_not_changed(url: str) -> None:
    first_schema(url)
    for _ in range(3):
        ServerDatabase(url).close()
    with Store(url) as store:
        assert len(store.rounds()) == 2


@pytest.fixture
def database(url: str) -> Iterator[ServerDatabase]:
    with ServerDatabase(url) as found:
        yield found


def application(number: int, token: str = "") -> tuple[Application, bytes]:
    key = SigningKey.simulated(4, number)
    asked = Application(
        server=SERVER, public_key=key.public, node_key=f"node {number}", name=f"box {number}", token=token
    )
    return asked, key.sign(asked.signed())


def test_devices_are_admitted_revoked_and_brought_back(database: ServerDatabase) -> None:
    with database.begin() as session:
        token = Token.read(admission.new_token(session, OPERATOR, SERVER, note="one", hours=1.0)).secret
    with database.begin() as session:
        first = admission.apply(session, OPERATOR, *application(1, token), server=SERVER)
        assert (first.state, first.number) == ("admitted", 0)
    with database.begin() as session, pytest.raises(AdmissionRefused, match="used already"):
        admission.apply(session, OPERATOR, *application(2, token), server=SERVER)
    with database.begin() as session:
        assert admission.apply(session, OPERATOR, *application(2), server=SERVER).state == "pending"
        key = admission.applicant_like(session, SigningKey.simulated(4, 2).public[:10])
        assert admission.approve(session, OPERATOR, key).number == 1
    with database.begin() as session:
        admission.revoke(session, OPERATOR, "box 1")
        admission.restore(session, OPERATOR, first.identity)
        admission.erase(session, OPERATOR, "1")
    with database.begin() as session:
        back = Token.read(admission.new_token(session, OPERATOR, SERVER, note="", hours=1.0, device="1")).secret
        again = admission.apply(session, OPERATOR, *application(3, back), server=SERVER)
        assert again.number == 1
        assert [row.state for row in admission.devices(session)] == ["admitted", "admitted"]
        assert admission.open_tokens(session) == []
        assert audit.count(session) == len(audit.rows(session)) >= 8


def raced(database: ServerDatabase, first: Callable[[Session], Any], second: Callable[[Session], Any]) -> list[Any]:
    """What each comes to, where the second begins while the first has done its work and stored nothing yet."""
    done = threading.Event()

    def work(what: Callable[[Session], Any], before: Callable[[], object], after: Callable[[], object]) -> Any:
        before()
        try:
            with database.begin() as session:
                found = what(session)
                after()
                return found
        except TacitError as error:
            return str(error)

    def hold() -> None:
        done.set()
        time.sleep(0.5)

    with ThreadPoolExecutor() as pool:
        racing = [pool.submit(work, first, lambda: None, hold), pool.submit(work, second, done.wait, lambda: None)]
        return [each.result() for each in racing]


def applying(number: int, token: str = "") -> Callable[[Session], Any]:
    return lambda session: admission.apply(session, OPERATOR, *application(number, token), server=SERVER)


def new_token(database: ServerDatabase) -> str:
    with database.begin() as session:
        return Token.read(admission.new_token(session, OPERATOR, SERVER, note="", hours=1.0)).secret


def enrolled(database: ServerDatabase, *numbers: int) -> None:
    for number in numbers:
        once = new_token(database)
        with database.begin() as session:
            applying(number, once)(session)


def test_a_token_lets_one_of_two_in_that_race(database: ServerDatabase) -> None:
    """Both come back, so that they have numbers, and nothing but the token stands between them."""
    enrolled(database, 1, 2)
    with database.begin() as session:
        for number in ("0", "1"):
            admission.erase(session, OPERATOR, number)
    once = new_token(database)
    first, second = raced(database, applying(1, once), applying(2, once))
    assert first.state == "admitted" and "used already" in second
    with database.begin() as session:
        assert [row.state for row in admission.devices(session)] == ["admitted", "left"]


def test_two_that_enrol_at_once_get_a_number_each(database: ServerDatabase) -> None:
    tokens = [new_token(database) for _ in range(2)]
    found = raced(database, applying(1, tokens[0]), applying(2, tokens[1]))
    assert [each.number for each in found] == [0, 1]
    with database.begin() as session:
        applying(3)(session)
    key = SigningKey.simulated(4, 3).public
    approved, by_token = raced(
        database, lambda session: admission.approve(session, OPERATOR, key), applying(4, new_token(database))
    )
    assert (approved.number, by_token.number) == (2, 3)


def test_two_coordinators_that_race_hold_a_run_by_different_numbers(database: ServerDatabase) -> None:
    with database.begin() as session:
        runs.schedule(session, OPERATOR, "first", RunSettings.planned(DeploymentSettings(), {}))
    assert raced(database, *[lambda session: runs.take_over(session, "first")] * 2) == [1, 2]


def test_runs_are_planned_held_by_one_and_ended(database: ServerDatabase) -> None:
    settings = RunSettings.planned(DeploymentSettings(), {"federation.rounds": 2})
    with database.begin() as session:
        runs.schedule(session, OPERATOR, "first", settings)
        runs.schedule(session, OPERATOR, "second", settings, starts=4e9)
        with pytest.raises(BadInput, match="there is a run first"):
            runs.schedule(session, OPERATOR, "first", settings)
        due = runs.next_due(session, 2e9)
        assert due is not None and due.name == "first"
        holders = [runs.take_over(session, "first") for _ in range(2)]
    with database.begin() as session:
        with pytest.raises(RunTakenOver):
            runs.check_holder(session, "first", holders[0])
        runs.pause(session, OPERATOR, "first")
        runs.resume(session, OPERATOR, "first")
        runs.settle(session, "first", holders[1], "finished")
        assert runs.stop(session, OPERATOR, "second").state == "stopped"
    with database.begin() as session:
        assert [(row.name, row.state) for row in runs.listed(session)] == [("first", "finished"), ("second", "stopped")]
        assert status.counts(session)["runs_finished"] == 1.0
        assert status.whole(session)["runs"][0]["planned"] == 2


def test_adapters_are_kept_found_and_vouched_for(database: ServerDatabase) -> None:
    key, vector = SigningKey.simulated(6), np.linspace(0, 1, 50_000)
    with database.begin() as session:
        row = runs.schedule(session, OPERATOR, "first", RunSettings.planned(DeploymentSettings(), {}))
        row.spec = "{}"
        first = adapters.keep(session, "first", 1, 1, vector, "", entries=4)
        second = adapters.keep(session, "first", 2, 2, 2 * vector, first, entries=6)
        assert adapters.keep(session, "first", 2, 2, 2 * vector, first, entries=6) == second  # held again
    with database.begin() as session:
        newest = adapters.newest(session)
        assert newest is not None and newest.digest == second
        assert np.array_equal(adapters.vector_of(newest), (2 * vector).astype(np.float32))
        assert [(each.round, each.parent) for each in adapters.lineage(session, "first")] == [(2, first), (1, "")]
        told, signature = adapters.manifest(session, newest, key)
        assert AdapterManifest.verified(told, signature, key.public).vector == second
        assert adapters.by_digest(session, first) is not None and adapters.by_digest(session, "0" * 64) is None


def test_people_log_in_are_locked_out_and_leave(database: ServerDatabase) -> None:
    settings = ConsoleSettings()
    with database.begin() as session:
        people.add_user(session, OPERATOR, "grace", "auditor", PASSWORD)
        cookie = people.log_in(session, OPERATOR, "grace", PASSWORD)
        assert cookie is not None
    with database.begin() as session:
        login = people.login_of(session, cookie, settings)
        assert login is not None and (login.user, login.role) == ("grace", "auditor")
        people.set_password(session, OPERATOR, "grace", PASSWORD + "!")
        assert people.login_of(session, cookie, settings) is None
    for _ in range(5):
        with database.begin() as session:
            assert people.log_in(session, OPERATOR, "grace", PASSWORD) is None
    with database.begin() as session:
        assert people.log_in(session, OPERATOR, "grace", PASSWORD + "!") is None  # locked out
        people.remove_user(session, OPERATOR, "grace")
        assert people.users(session) == []


def test_the_audit_log_is_read_page_by_page(database: ServerDatabase) -> None:
    with database.begin() as session:
        for number in range(25):
            audit.record(session, OPERATOR, "device.revoke", f"device {number}", refused="no" if number % 2 else "")
    with database.begin() as session:
        newest = audit.rows(session, limit=10)
        older = audit.rows(session, before=newest[-1].number, limit=10)
        assert [row.subject for row in newest + older] == [f"device {number}" for number in range(24, 4, -1)]
        assert {row.outcome for row in newest} == {"done", "refused"}
