"""The auditor's report, as ``tacit audit report`` makes it, and what is needed to make it elsewhere."""

import json
from typing import Final

from tacit_privacy.audit.page import page
from tacit_privacy.cli import finite
from tacit_server.deployment import audit
from tacit_server.web.console.asked import Answer, Asked, File, Page, Shown


def show(asked: Asked) -> Answer:
    head, length = asked.desk.checking.head()
    values = {"head": head, "length": length, "sealed": asked.sealed, "public_key": asked.desk.checking.public_key}
    return Shown("report.html.j2", "Report", values)


def drawn(asked: Asked) -> Answer:
    """Shown in place; ``?keep=1`` to keep it."""
    text = page(asked.desk.checking.report())
    keep = asked.query.get("keep") == "1"
    if keep:
        _write_down(asked, "audit.html")
    return File("audit.html", text.encode(), "text/html; charset=utf-8", inline=not keep)


def told(asked: Asked) -> Answer:
    found = finite(asked.desk.checking.report().as_json())
    _write_down(asked, "audit.json")
    text = json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return File("audit.json", text.encode(), "application/json")


def _write_down(asked: Asked, name: str) -> None:
    with asked.desk.database.begin() as session:
        audit.record(session, asked.actor, "report.download", name)


PAGES: Final = (
    Page("/console/report", show),
    Page("/console/report/audit.html", drawn),
    Page("/console/report/audit.json", told),
)
