"""Devices: who belongs to the fleet, how each of them is, and what it has contributed."""

import time
from typing import Any, Final

from tacit_server.deployment import admission, looking, status
from tacit_server.sealing import told_of_device
from tacit_server.store.tables import DeviceRow
from tacit_server.web.console.asked import Answer, Asked, Page, Shown, change, nothing_there
from tacit_server.web.console.paging import paging


def told_device(row: DeviceRow, *, sealed: bool) -> dict[str, Any]:
    """A device as it is shown; behind a sealed roster without what tells whether it takes part."""
    return told_of_device(status.shown_device(row), sealed=sealed)


def show(asked: Asked) -> Answer:
    words, state = asked.words("q"), asked.words("state")
    sealed = asked.sealed
    with asked.desk.database.begin() as session:
        found = looking.devices(session, words, state, asked.page, time.time())
        rows = [told_device(row, sealed=sealed) for row in found.rows]
        waiting = len(admission.applicants(session))
    values = {"rows": rows, "words": words, "state": state, "sealed": sealed, "waiting": waiting}
    pages = paging(found, asked.url, {"q": words, "state": state})
    return Shown("devices.html.j2", "Devices", {**values, "pages": pages, "states": ("online", *looking.STATES)})


def detail(asked: Asked) -> Answer:
    desk = asked.desk
    with desk.database.begin() as session:
        row = looking.device(session, asked.path["identity"])
        if row is None:
            return nothing_there("There is no such device.")
        told = told_device(row, sealed=asked.sealed)
        told |= {"admitted": row.admitted, "public_key": row.public_key}
        own = looking.limit(session, row.number)
        limits = None if own is None else (own.participations, own.epsilon)
        runs = [] if asked.sealed else looking.participations(session, row.number)
        taken = [(looking.plain_name(each.run), each.count, each.last_round) for each in runs]
        report = _reported(row, sealed=asked.sealed)
    count = sum(times for _, times, _ in taken)
    values: dict[str, Any] = {"device": told, "limits": limits, "taken": taken, "count": count, "report": report}
    values |= {"sealed": asked.sealed, "policy": desk.directory.settings.privacy, "spent": _spent(asked, count)}
    return Shown("device.html.j2", "Device", values)


def _spent(asked: Asked, count: int) -> float | None:
    """What the device has spent at most; None where that is sealed, or not known yet."""
    checked = None if asked.sealed else asked.desk.checking.verification()
    if checked is None or checked.found.account.policy is None:
        return None
    return looking.epsilon_after(checked.found.account, checked.found.account.policy, count)


def _reported(row: DeviceRow, *, sealed: bool) -> dict[str, Any]:
    """What the device said of itself last."""
    return told_of_device(status.reported(row), sealed=sealed)


_CHANGES: Final = {
    "revoke": change(admission.revoke, "identity", "revoked"),
    "restore": change(admission.restore, "identity", "restored"),
    "erase": change(admission.erase, "identity", "erased"),
}

PAGES: Final = (
    Page("/console/devices", show),
    Page("/console/devices/{identity}", detail, _CHANGES),
)
