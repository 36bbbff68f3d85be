"""The runs of a server: scheduled, paused, resumed, stopped by people; begun and ended by coordinators.

People say what is wanted; the process that runs the server brings it about. A run has one coordinator at a time:
whoever takes it over raises ``holder``, and whoever finds another holder than itself may write nothing more.
"""

import re
import time
from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from tacit_privacy.errors import BadInput, RunTakenOver
from tacit_server.deployment import audit
from tacit_server.deployment.audit import Actor
from tacit_server.deployment.settings import RunSettings
from tacit_server.store.tables import RunRow

OPEN = ("scheduled", "running", "paused")
ENDED = ("finished", "stopped", "failed")


def schedule(
    session: Session, actor: Actor, name: str, settings: RunSettings, *, starts: float | None = None
) -> RunRow:
    """Plan a run, to begin at ``starts`` (seconds since 1970) or once the one before has ended. Raises BadInput."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise BadInput(f"a run cannot be called {name!r}; use up to 100 letters, digits, dots and dashes")
    if session.get(RunRow, name) is not None:
        raise BadInput(f"there is a run {name} already; a run's name is for ever, choose another")
    now = time.time()
    row = RunRow(
        name=name, settings=settings.text(), state="scheduled", wanted="run", created=now, starts=starts or now
    )
    session.add(row)
    session.flush()
    audit.record(session, actor, "run.schedule", name)
    return row


def pause(session: Session, actor: Actor, name: str) -> RunRow:
    """Let a run rest once its round is over. Raises BadInput."""
    return _want(session, actor, name, "pause", "run.pause")


def resume(session: Session, actor: Actor, name: str) -> RunRow:
    """Let a paused or failed run go on where it was. Raises BadInput."""
    row = found(session, name)
    if row.state == "failed":
        row.state, row.ended, row.reason = "paused", None, ""
    return _want(session, actor, name, "run", "run.resume")


def stop(session: Session, actor: Actor, name: str) -> RunRow:
    """End a run for good once its round is over; what it has learnt stays. Raises BadInput."""
    row = _want(session, actor, name, "stop", "run.stop")
    if row.state == "scheduled":  # nothing was begun, so nothing has to be ended
        row.state, row.ended = "stopped", time.time()
    return row


def found(session: Session, name: str, *, alone: bool = False) -> RunRow:
    """The run ``name``; ``alone``: nobody else changes it until the caller's transaction ends. Raises BadInput."""
    row = session.get(RunRow, name, populate_existing=alone, with_for_update=alone)
    if row is None:
        raise BadInput(f"no run {name!r}; tacit server run list shows them")
    return row


def listed(session: Session, states: Iterable[str] = (*OPEN, *ENDED)) -> list[RunRow]:
    """The oldest first."""
    return list(session.scalars(select(RunRow).where(RunRow.state.in_(tuple(states))).order_by(RunRow.created)))


def next_due(session: Session, now: float) -> RunRow | None:
    """The run that a coordinator should be at work on: the one that has begun, or the first whose time has come."""
    for row in listed(session, OPEN):
        begun = row.state == "running" or (row.state == "paused" and row.wanted != "pause")
        if begun or (row.state == "scheduled" and row.wanted == "run" and row.starts <= now):
            return row
    return None


def take_over(session: Session, name: str) -> int:
    """Become the run's only coordinator; returns what it holds the run by."""
    row = found(session, name, alone=True)
    row.holder += 1
    row.state = "running"
    row.started = row.started or time.time()
    return row.holder


def check_holder(session: Session, name: str, holder: int) -> RunRow:
    """The run, if it is still held. Raises RunTakenOver."""
    row = session.get(RunRow, name, populate_existing=True, with_for_update=True)
    if row is None or row.holder != holder:
        raise RunTakenOver(name)
    return row


def settle(session: Session, name: str, holder: int, state: str, reason: str = "") -> None:
    """What a coordinator leaves its run as. Raises RunTakenOver."""
    row = check_holder(session, name, holder)
    row.state, row.reason = state, reason
    if state in ENDED:
        row.ended = time.time()
        audit.record(session, audit.SERVER, f"run.{state}", name, detail={"reason": reason} if reason else None)


def _want(session: Session, actor: Actor, name: str, wanted: str, action: str) -> RunRow:
    row = found(session, name)
    if row.state in ENDED:
        raise BadInput(f"run {name} is {row.state}; nothing more can be asked of it")
    row.wanted = wanted
    audit.record(session, actor, action, name)
    return row
