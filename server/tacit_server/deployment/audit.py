"""The audit log: who did what at the server, refusals included. It is only ever appended to."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tacit_privacy.contract import canonical
from tacit_server.store.tables import AuditRow

_log = structlog.get_logger("tacit.audit")
_LONGEST = 500  # characters of a word that came from outside
MOST_REFUSALS: Final = 20  # an hour, of one reason
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and from where."""

    name: str
    address: str = ""


COMMAND_LINE = Actor("command line")
SERVER = Actor("server")


def record(
    session: Session,
    actor: Actor,
    action: str,
    subject: str,
    *,
    refused: str = "",
    detail: dict[str, str] | None = None,
) -> None:
    """Write an action down, in the transaction that it happens in. ``refused``: why nothing was changed."""
    told = {**({"why": refused} if refused else {}), **(detail or {})}
    outcome = "refused" if refused else "done"
    row = AuditRow(
        time=time.time(),
        actor=_plain(actor.name),
        action=action,
        subject=_plain(subject),
        outcome=outcome,
        detail=canonical({key: _plain(value) for key, value in told.items()}).decode(),
        address=_plain(actor.address),
    )
    session.add(row)
    _log.info(action, actor=row.actor, subject=row.subject, outcome=outcome, address=row.address, **told)


class Refusals:
    """Refusals that anybody can cause as often as he likes: rows are for ever, so so many an hour are written down.

    By reason, so that one kind does not hide another. The next row says how many were not written down before it.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now, self._turn = now, threading.Lock()
        self._hour = -1.0
        self._written: Counter[str] = Counter()
        self._unwritten: Counter[str] = Counter()

    def worth_a_row(self, why: str) -> dict[str, str] | None:
        """What the row of a refusal tells besides; None where it gets none."""
        with self._turn:
            hour = self._now() // _HOUR_S
            if hour != self._hour:
                self._hour = hour
                self._written.clear()
            if self._written[why] >= MOST_REFUSALS:
                self._unwritten[why] += 1
                return None
            self._written[why] += 1
            before = self._unwritten.pop(why, 0)
            return {"more before": str(before)} if before else {}


def rows(session: Session, *, before: int | None = None, limit: int = 100) -> list[AuditRow]:
    """The newest first, from number ``before`` - 1 down."""
    query = select(AuditRow).order_by(AuditRow.number.desc()).limit(limit)
    return list(session.scalars(query if before is None else query.where(AuditRow.number < before)))


def count(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(AuditRow)) or 0


def _plain(text: str) -> str:
    """On one line, and not without end: a log is read on terminals."""
    return text.encode("unicode_escape").decode("ascii").replace("\\x", "\\u00")[:_LONGEST] if _odd(text) else text


def _odd(text: str) -> bool:
    return len(text) > _LONGEST or not text.isprintable()
