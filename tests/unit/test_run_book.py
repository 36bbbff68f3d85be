"""Runs of a server: what is wanted, what is so, and that one coordinator holds a run."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from tacit_privacy.errors import BadInput, RunTakenOver
from tacit_server.deployment import audit, runs, status
from tacit_server.deployment.audit import COMMAND_LINE
from tacit_server.deployment.settings import DeploymentSettings, RunSettings
from tacit_server.store.tables import ServerTables
from tacit_server.web.mail import Mail

SERVER = DeploymentSettings.of(
    {"fleet": {"devices": 50}, "privacy": {"epsilon": 8.0, "participations": 20}, "federation": {"cohort": 10}}, "test"
)
PLANNED = RunSettings.planned(SERVER, {"federation.rounds": 5})


@pytest.fixture
def session() -> Iterator[Session]:
    engine = create_engine("sqlite://")
    ServerTables.metadata.create_all(engine)
    with Session(engine) as session:
        yield session
    engine.dispose()


def schedule(session: Session, name: str, **how: Any) -> None:
    runs.schedule(session, COMMAND_LINE, name, PLANNED, **how)


def due(session: Session, now: float | None = None) -> str | None:
    row = runs.next_due(session, time.time() if now is None else now)
    return None if row is None else row.name


def test_runs_are_held_one_after_another(session: Session) -> None:
    schedule(session, "first")
    schedule(session, "second")
    assert due(session) == "first"
    holder = runs.take_over(session, "first")
    assert due(session) == "first"
    runs.settle(session, "first", holder, "finished")
    assert due(session) == "second"
    assert [row.name for row in runs.listed(session, runs.ENDED)] == ["first"]


def test_a_run_begins_when_its_time_has_come(session: Session) -> None:
    schedule(session, "later", starts=time.time() + 3600)
    schedule(session, "now")
    assert due(session) == "now"
    assert due(session, time.time() + 7200) == "later"


def test_pause_resume_and_stop_are_wishes_until_they_are_so(session: Session) -> None:
    schedule(session, "first")
    holder = runs.take_over(session, "first")
    assert runs.pause(session, COMMAND_LINE, "first").state == "running"
    runs.settle(session, "first", holder, "paused")
    assert due(session) is None
    runs.resume(session, COMMAND_LINE, "first")
    assert due(session) == "first"
    runs.stop(session, COMMAND_LINE, "first")
    assert due(session) == "first"  # somebody has to end it in the ledger
    schedule(session, "never-begun")
    assert runs.stop(session, COMMAND_LINE, "never-begun").state == "stopped"
    for what in (runs.pause, runs.resume, runs.stop):
        with pytest.raises(BadInput, match="nothing more can be asked"):
            what(session, COMMAND_LINE, "never-begun")


def test_what_is_still_to_come_about_is_said(session: Session) -> None:
    schedule(session, "first")
    row = runs.found(session, "first")
    said = [status.coming(row)]
    for step in (runs.pause, runs.resume):
        said.append(status.coming(step(session, COMMAND_LINE, "first")))
    holder = runs.take_over(session, "first")
    for step in (runs.resume, runs.pause, runs.stop, runs.pause):
        said.append(status.coming(step(session, COMMAND_LINE, "first")))
    runs.settle(session, "first", holder, "paused")
    said.append(status.coming(row))
    for step in (runs.resume, runs.stop):
        said.append(status.coming(step(session, COMMAND_LINE, "first")))
    runs.settle(session, "first", holder, "stopped")
    said.append(status.coming(row))
    begun = ["", "to rest after its round", "to end after its round", "to rest after its round"]
    assert said == ["", "held until it is resumed", "", *begun, "", "to go on", "to end", ""]


def test_a_failed_run_can_go_on(session: Session) -> None:
    schedule(session, "first")
    holder = runs.take_over(session, "first")
    runs.settle(session, "first", holder, "failed", "it ended eight times")
    assert due(session) is None
    assert runs.resume(session, COMMAND_LINE, "first").reason == ""
    assert due(session) == "first"


def test_whoever_held_a_run_before_can_write_nothing_more(session: Session) -> None:
    schedule(session, "first")
    old = runs.take_over(session, "first")
    new = runs.take_over(session, "first")
    with pytest.raises(RunTakenOver):
        runs.check_holder(session, "first", old)
    with pytest.raises(RunTakenOver):
        runs.settle(session, "first", old, "finished")
    assert runs.check_holder(session, "first", new).state == "running"


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 101, "-x", "'; drop table runs"])
def test_a_run_has_a_plain_name_of_its_own(session: Session, name: str) -> None:
    with pytest.raises(BadInput, match="cannot be called"):
        schedule(session, name)
    schedule(session, "first")
    with pytest.raises(BadInput, match="already"):
        schedule(session, "first")


def test_every_wish_is_written_down(session: Session) -> None:
    schedule(session, "first")
    runs.pause(session, COMMAND_LINE, "first")
    runs.resume(session, COMMAND_LINE, "first")
    runs.stop(session, COMMAND_LINE, "first")
    session.flush()
    written = [row.action for row in reversed(audit.rows(session))]
    assert written == ["run.schedule", "run.pause", "run.resume", "run.stop"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"privacy.epsilon": 9.0}, "passes the server's 8"),
        ({"privacy.participations": 3}, "the server's promise"),
        ({"privacy.delta": 1e-9}, "the server's promise"),
        ({"federation.roundss": 3}, "did you mean"),
        ({"console.idle_minutes": 3}, "no setting"),
        ({"rounds": 3}, "no setting"),
    ],
)
def test_a_run_cannot_promise_less_than_its_server(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        RunSettings.planned(SERVER, changes)


def test_runs_share_the_budget_by_participations() -> None:
    """Whatever its length, a run's noise is what all participations of a device may come to; unless it says its own."""
    short, long = (RunSettings.planned(SERVER, {"federation.rounds": rounds}) for rounds in (1, 20))
    assert short.privacy.noise_multiplier == long.privacy.noise_multiplier
    short.check_affordable(SERVER)
    long.check_affordable(SERVER)
    own = RunSettings.planned(SERVER, {"federation.rounds": 1, "privacy.epsilon": 1.0})
    assert own.privacy.noise_multiplier is None and own.privacy.epsilon == 1.0
    assert RunSettings.of_text(long.text()) == long


def test_mail_wakes_whom_it_is_for() -> None:
    async def story() -> None:
        mail = Mail()
        before = mail.count(1), mail.count(2)
        waits = [asyncio.create_task(mail.changed(node, seen, 5.0)) for node, seen in zip((1, 2), before, strict=True)]
        await asyncio.sleep(0)
        mail.arrived([1])
        assert await waits[0] == before[0] + 1
        assert not waits[1].done()
        assert await mail.changed(1, before[0], 5.0) == before[0] + 1  # what came while nobody waited is not missed
        waits[1].cancel()
        assert await mail.changed(2, mail.count(2), 0.01) == before[1]  # patience has an end
        assert not mail._waiting

    asyncio.run(story())
