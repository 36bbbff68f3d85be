"""The audit log: who did what at the server."""

import json
from typing import Final

from tacit_server.deployment import looking
from tacit_server.store.tables import AuditRow
from tacit_server.web.console.asked import Answer, Asked, Page, Shown
from tacit_server.web.console.paging import paging


def show(asked: Asked) -> Answer:
    words = asked.words("q")
    with asked.desk.database.begin() as session:
        found = looking.audited(session, words, asked.page)
        rows = [(row, _detail(row)) for row in found.rows]
        session.expunge_all()
    pages = paging(found, asked.url, {"q": words})
    return Shown("log.html.j2", "Audit log", {"rows": rows, "words": words, "pages": pages})


def _detail(row: AuditRow) -> list[tuple[str, str]]:
    found = json.loads(row.detail) if row.detail else {}
    return [(str(name), str(value)) for name, value in found.items() if value]


PAGES: Final = (Page("/console/log", show),)
