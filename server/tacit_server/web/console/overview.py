"""The first page: whether all is well, and what needs somebody."""

import time
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.orm import Session

from tacit_server.deployment import admission, certificates, looking, runs, status
from tacit_server.web.console import drawing
from tacit_server.web.console.asked import Answer, Asked, Desk, Page, Shown
from tacit_server.web.console.runs import told_run
from tacit_server.web.console.wording import lasting

_CERTIFICATE_S: Final = 30 * 86400.0
_NEARLY: Final = 0.9  # of the budget
_LATELY_S: Final = 7 * 86400.0  # a run that failed longer ago is history


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that needs somebody, and where to see to it."""

    said: str
    where: str = ""
    alarm: bool = True


def show(asked: Asked) -> Answer:
    desk, now = asked.desk, time.time()
    with desk.database.begin() as session:
        counts = status.counts(session)
        spent = status.epsilon(session)
        row = looking.current_run(session)
        current = told_run(session, row, sealed=asked.sealed) if row is not None else None
        under_way = looking.under_way(session)
        latest = looking.audited(session, "", 1, size=6).rows
        warned = _warned(session, desk, counts, spent, now)
        session.expunge_all()
    settings = desk.directory.settings
    values: dict[str, Any] = {
        "up": desk.directory.is_held,
        "address": f"https://{settings.listen.names[0]}:{settings.listen.port}",
        "counts": {key: int(value) for key, value in counts.items()},
        "planned": settings.fleet.devices,
        "model": settings.fleet.model,
        "spent": spent,
        "cap": settings.privacy.epsilon,
        "gauge": drawing.gauge(spent or 0.0, settings.privacy.epsilon),
        "current": current,
        "under_way": under_way if current is not None and current["state"] == "running" else None,
        "latest": latest,
        "warned": warned,
        "sealed": asked.sealed,
    }
    return Shown("overview.html.j2", "Overview", values)


def _warned(session: Session, desk: Desk, counts: dict[str, float], spent: float | None, now: float) -> list[Warned]:
    settings = desk.directory.settings
    left = certificates.expires(desk.directory.certificate).timestamp() - now
    found = [_failed(row.name, row.state) for row in runs.listed(session) if _is_failing(row.state, row.ended, now)]
    if left < _CERTIFICATE_S:
        said = "has ended" if left < 0 else f"ends in {lasting(left)}"
        found.append(Warned(f"The server's certificate {said}: devices will refuse it."))
    if counts["devices_admitted"] > settings.fleet.devices:
        said = f"{counts['devices_admitted']:.0f} devices are in and {settings.fleet.devices} were planned for"
        found.append(Warned(f"{said}: delta was set for fewer.", "/console/devices"))
    if spent is not None and spent >= _NEARLY * settings.privacy.epsilon:
        found.append(Warned(f"{spent / settings.privacy.epsilon:.0%} of the budget is spent.", "/console/budget"))
    if counts["devices_admitted"] and not counts["devices_online"]:
        found.append(Warned("No device is online.", "/console/devices"))
    waiting = len(admission.applicants(session))
    if waiting:
        said = "1 device waits" if waiting == 1 else f"{waiting} devices wait"
        found.append(Warned(f"{said} to be let in.", "/console/enrolment", alarm=False))
    return found


def _is_failing(state: str, ended: float | None, now: float) -> bool:
    return state == "failed" and (ended or now) > now - _LATELY_S


def _failed(name: str, state: str) -> Warned:
    return Warned(f"Run {name} has {state}.", f"/console/runs/{name}")


PAGES: Final = (Page("/console", show),)
