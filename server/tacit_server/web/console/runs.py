"""Runs: planned, paused, resumed and stopped; their rounds and what they spent."""

import json
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy.orm import Session

from tacit_privacy.errors import BadInput
from tacit_server.deployment import adapters, looking, promise, runs, status
from tacit_server.deployment.settings import RunSettings
from tacit_server.sealing import told
from tacit_server.store.tables import RunRow
from tacit_server.web.console import drawing
from tacit_server.web.console.asked import Answer, Asked, Moved, Page, Shown, change, nothing_there

_FORM: Final = {"rounds": "federation.rounds", "cohort": "federation.cohort"}
_SEALED_REASON: Final = "see the server's log: why tells who could be asked, and the roster is sealed"
_MOST_ROUNDS: Final = 200  # in the table; the plots have them all


def told_run(session: Session, row: RunRow, *, sealed: bool) -> dict[str, Any]:
    """A run as it is shown. Why it rests may tell how many devices there were, which a sealed roster keeps."""
    found = status.shown_run(session, row)
    if sealed and found["reason"] and row.state == "paused":
        found["reason"] = _SEALED_REASON
    return found | {"started": row.started, "ended": row.ended, "starts": row.starts, "created": row.created}


def show(asked: Asked) -> Answer:
    desk = asked.desk
    with desk.database.begin() as session:
        rows = [told_run(session, row, sealed=asked.sealed) for row in runs.listed(session)][::-1]
    return Shown("runs.html.j2", "Runs", {"rows": rows, "settings": desk.directory.settings})


def detail(asked: Asked) -> Answer:
    desk, name = asked.desk, asked.path["name"]
    with desk.database.begin() as session:
        try:
            row = runs.found(session, name)
        except BadInput:
            return nothing_there("There is no such run.")
        run = told_run(session, row, sealed=asked.sealed)
        records = [told(record, sealed=asked.sealed) for record in status.rounds_of(session, name)]
        settings = RunSettings.of_text(row.settings)
        under_way = looking.under_way(session) if row.state == "running" else None
        often = [] if asked.sealed else looking.often(session, name)
        released = adapters.lineage(session, name)
    cap = desk.directory.settings.privacy.epsilon
    spent = [(record["round"], record["epsilon"]) for record in records if record["released"] and record["epsilon"]]
    values: dict[str, Any] = {
        "run": run,
        "records": records[::-1][:_MOST_ROUNDS],
        "more": max(0, len(records) - _MOST_ROUNDS),
        "under_way": under_way if under_way is not None and looking.plain_name(under_way.run) == name else None,
        "curve": drawing.steps(spent, cap, "round"),
        "completed": "" if asked.sealed else drawing.completed(records, settings.federation.cohort),
        "often": drawing.bars(often),
        "adapters": released[:1],
        "settings": settings,
        "sealed": asked.sealed,
    }
    return Shown("run.html.j2", f"Run {name}", values)


def schedule(asked: Asked) -> Answer:
    """Plan a run from the form; what is left empty is as server.toml says."""
    server = asked.desk.directory.settings
    with asked.desk.database.begin() as session:
        promise.check(session, server)
    changes: dict[str, Any] = {key: _whole(asked, name) for name, key in _FORM.items() if asked.words(name)}
    if asked.words("epsilon"):
        changes["privacy.epsilon"] = _decimal(asked, "epsilon")
    settings = RunSettings.planned(server, changes | _more(asked.fields.get("more", "")))
    settings.check_affordable(server)
    name, starts = asked.words("name"), _moment(asked.words("starts"))
    with asked.desk.database.begin() as session:
        runs.schedule(session, asked.actor, name, settings, starts=starts)
    return Moved(f"/console/runs/{name}", "scheduled")


def _more(text: str) -> dict[str, Any]:
    """Further settings, ``key=value`` a line, the value read as JSON where it is some. Raises BadInput."""
    found: dict[str, Any] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        key, equals, value = line.partition("=")
        if not equals:
            raise BadInput(f"{line[:60]!r} is not of the form key=value, such as federation.deadline_s=900")
        try:
            found[key.strip()] = json.loads(value)
        except ValueError:
            found[key.strip()] = value.strip()
    return found


def _whole(asked: Asked, name: str) -> int:
    said = asked.words(name)
    if not (said.isascii() and said.isdigit() and 0 < len(said) < 10):
        raise BadInput(f"{name} is to be a whole number, not {said[:20]!r}")
    return int(said)


def _decimal(asked: Asked, name: str) -> float:
    try:
        return float(asked.words(name))
    except ValueError as error:
        raise BadInput(f"{name} is to be a number, not {asked.words(name)[:20]!r}") from error


def _moment(said: str) -> float | None:
    """A time as a form's field gives it, taken to be UTC; None for an empty one. Raises BadInput."""
    if not said:
        return None
    try:
        return datetime.fromisoformat(said).replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError) as error:
        raise BadInput(f"{said[:30]!r} is no time of the form 2027-01-31T18:00") from error


_CHANGES: Final = {
    "pause": change(runs.pause, "name", "paused"),
    "resume": change(runs.resume, "name", "resumed"),
    "stop": change(runs.stop, "name", "stopped"),
}

PAGES: Final = (
    Page("/console/runs", show, {"schedule": schedule}),
    Page("/console/runs/{name}", detail, _CHANGES),
)
