"""The ledger, entry by entry, whether it verifies, and its files to check it elsewhere."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from tacit_privacy.ledger import transfer
from tacit_privacy.ledger.chain import Ledger
from tacit_server.deployment import audit, looking
from tacit_server.web.console import wording
from tacit_server.web.console.asked import Answer, Asked, File, Page, Shown, nothing_there
from tacit_server.web.console.paging import paging

_READER = Ledger(lambda _: b"", lambda: 0.0)  # entries are only read here


@dataclass(frozen=True, slots=True)
class Line:
    """An entry as it is shown."""

    position: int
    kind: str
    meaning: str
    time: float
    body: str
    hash: str


def show(asked: Asked) -> Answer:
    desk, witness = asked.desk, asked.words("witness").lower()
    with desk.database.begin() as session:
        found = looking.ledger(session, asked.page)
        rows = [_line(row.position, row.payload, row.hash) for row in found.rows]
        seen = looking.position_of(session, witness) if re.fullmatch(r"[0-9a-f]{64}", witness) else None
    head, length = desk.checking.head()
    values: dict[str, Any] = {
        "rows": rows,
        "pages": paging(found, asked.url, {}),
        "checked": desk.checking.verification() if length else None,
        "head": head,
        "length": length,
        "witness": witness,
        "seen": seen,
        "public_key": desk.checking.public_key,
        "sealed": asked.sealed,
    }
    return Shown("ledger.html.j2", "Ledger", values)


def _line(position: int, payload: str, digest: str) -> Line:
    """An entry that cannot be read is shown as it is stored; the verification says what is wrong with it."""
    try:
        entry = json.loads(payload)
        kind, body = str(entry["kind"]), json.dumps(entry["body"], indent=2, ensure_ascii=True)
        return Line(position, kind, wording.KINDS.get(kind, "unknown"), float(entry["time"]), body, digest)
    except (ValueError, KeyError, TypeError):
        return Line(position, "unreadable", "It cannot be read", 0.0, payload[:5000], digest)


def lines(asked: Asked) -> Answer:
    with asked.desk.database.begin() as session:
        text = "".join(entry.line() + "\n" for entry in _READER.entries(session))
        audit.record(session, asked.actor, "ledger.download", transfer.LEDGER)
    return File(transfer.LEDGER, text.encode(), "application/jsonl")


def key(asked: Asked) -> Answer:
    with asked.desk.database.begin() as session:
        if not _READER.length(session):
            return nothing_there("There is no ledger yet: the first run begins it.")
        return File(transfer.KEY, f"{transfer.present_key(session)}\n".encode(), "text/plain")


def receipts(asked: Asked) -> Answer:
    """What devices signed, which says who took part; behind a sealed roster nobody gets it."""
    with asked.desk.database.begin() as session:
        if asked.sealed or transfer.is_sealed(session):
            return nothing_there("The roster is sealed: receipts say who took part, and stay on the server.")
        told = transfer.receipt_lines(session, _READER.entries(session))
        text = "".join(f"{line}\n" for line in told)
        audit.record(session, asked.actor, "ledger.download", transfer.RECEIPTS)
    return File(transfer.RECEIPTS, text.encode(), "application/jsonl")


PAGES: Final = (
    Page("/console/ledger", show),
    Page("/console/ledger/ledger.jsonl", lines),
    Page("/console/ledger/ledger.pub", key),
    Page("/console/ledger/receipts.jsonl", receipts),
)
