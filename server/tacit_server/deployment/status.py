"""How a server is: what the command line, the metrics and the console tell of it."""

import json
import time
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tacit_privacy.ledger.transfer import is_sealed
from tacit_server.deployment import admission, runs
from tacit_server.sealing import told_of_device
from tacit_server.store.tables import ApplicantRow, DeviceRow, RoundRow, RunRow

ONLINE_S = 120.0  # a device that reported within these counts as online; it reports every minute


def counts(session: Session) -> dict[str, float]:
    """Figures for Prometheus: devices, runs and rounds, and the newest round's epsilon."""
    now = time.time()
    by_state: dict[str, int] = {}
    for state, found_so in session.execute(select(DeviceRow.state, func.count()).group_by(DeviceRow.state)):
        by_state[state] = found_so
    online = select(func.count()).select_from(DeviceRow).where(DeviceRow.seen > now - ONLINE_S)
    waiting = select(func.count()).select_from(ApplicantRow)
    found = {f"devices_{state}": float(by_state.get(state, 0)) for state in ("admitted", "revoked", "left")}
    found |= {"devices_online": float(session.scalar(online) or 0), "applicants": float(session.scalar(waiting) or 0)}
    for state in (*runs.OPEN, *runs.ENDED):
        number = select(func.count()).select_from(RunRow).where(RunRow.state == state)
        found[f"runs_{state}"] = float(session.scalar(number) or 0)
    found["rounds"] = float(session.scalar(select(func.count()).select_from(RoundRow)) or 0)
    found["epsilon"] = epsilon(session) or 0.0
    return found


def epsilon(session: Session) -> float | None:
    """What the ledger's newest charge came to; None before the first."""
    from tacit_privacy.ledger.tables import LedgerRow

    query = select(LedgerRow.payload).order_by(LedgerRow.position.desc())
    for payload in session.scalars(query.limit(50)):
        entry = json.loads(payload)
        if entry["kind"] == "reserve":
            return float(entry["body"]["epsilon"])
    return None


def rounds_of(session: Session, run: str) -> list[dict[str, Any]]:
    """Records of a run's rounds, in order."""
    query = select(RoundRow.record).where(RoundRow.run == run).order_by(RoundRow.number)
    return [json.loads(record) for record in session.scalars(query)]


def coming(row: RunRow) -> str:
    """In words, what was asked of a run and is still to come about; empty where it is as it should be."""
    if row.state in runs.ENDED or (row.state, row.wanted) == ("paused", "pause"):
        return ""
    if row.state == "paused":
        return "to go on" if row.wanted == "run" else "to end"
    if row.state == "scheduled":
        return "held until it is resumed" if row.wanted == "pause" else ""
    return {"pause": "to rest after its round", "stop": "to end after its round"}.get(row.wanted, "")


def shown_run(session: Session, row: RunRow) -> dict[str, Any]:
    """A run as it is told to people and programs."""
    settings, done = json.loads(row.settings), rounds_of(session, row.name)
    released = [record for record in done if record["released"]]
    return {
        "name": row.name,
        "state": row.state,
        "wanted": row.wanted,
        "coming": coming(row),
        "rounds": len(done),
        "planned": settings["federation"]["rounds"],
        "released": len(released),
        "epsilon": released[-1]["epsilon"] if released else None,
        "reason": row.reason,
    }


def reported(row: DeviceRow) -> dict[str, Any]:
    """What a device said of itself last; nothing before its first report."""
    found: dict[str, Any] = json.loads(row.report) if row.report else {}
    return found


def shown_device(row: DeviceRow) -> dict[str, Any]:
    """A device as it is told to people and programs."""
    told = reported(row)
    return {
        "identity": row.identity,
        "number": row.number,
        "name": row.name,
        "state": row.state,
        "online": row.state == "admitted" and row.seen > time.time() - ONLINE_S,
        "seen": row.seen or None,
        "activity": told.get("activity", ""),
        "version": told.get("version", ""),
        "installed": told.get("installed", ""),
        "refusal": told.get("refusal", ""),
    }


def whole(session: Session) -> dict[str, Any]:
    """Everything that ``tacit server status`` tells; behind a sealed roster nothing of who takes part."""
    sealed = is_sealed(session)
    return {
        "devices": [told_of_device(shown_device(row), sealed=sealed) for row in admission.devices(session)],
        "applicants": [{"name": row.name, "public_key": row.public_key} for row in admission.applicants(session)],
        "runs": [shown_run(session, row) for row in runs.listed(session)],
        "epsilon": epsilon(session),
    }
