"""Whether the stored ledger verifies, remembered while its head stays the same; and the auditor's report of it."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Generic, TypeVar

from tacit_privacy.audit.document import Report
from tacit_privacy.audit.report import report
from tacit_privacy.errors import BadInput, LedgerBroken
from tacit_privacy.ledger.chain import Ledger
from tacit_privacy.ledger.transfer import is_sealed, receipt_lines
from tacit_privacy.ledger.verify import Problem, Verification, verify
from tacit_server.deployment.database import ServerDatabase

T = TypeVar("T")
_PATIENCE_S, _REPORT_S = 5.0, 60.0  # that a page waits for a check, and for a report
_FRESH_S = 600.0  # after which a ledger of the same head is looked at again: entries before it may have been changed
_READER = Ledger(lambda _: b"", lambda: 0.0)  # entries are only read here


@dataclass(frozen=True, slots=True)
class Checked(Generic[T]):
    """What was found, when, and of which head."""

    found: T
    head: str
    time: float


class Checking:
    """One check at a time, in a thread of its own, outside the database's transactions."""

    def __init__(self, database: ServerDatabase, public_key: str) -> None:
        self._database, self._key = database, public_key
        self._pool = ThreadPoolExecutor(1, "tacit-verify")
        self._verified, self._reported = _Newest[Verification](), _Newest[Report]()

    @property
    def public_key(self) -> str:
        return self._key

    def head(self) -> tuple[str, int]:
        """The ledger's newest hash and its length."""
        with self._database.begin() as session:
            return _READER.head(session), _READER.length(session)

    def verification(self, patience_s: float = _PATIENCE_S) -> Checked[Verification] | None:
        """Of the present head, or of an earlier one where that takes longer than ``patience_s``; None: of none yet."""
        return self._verified.get(self.head()[0], lambda: self._pool.submit(self._verify), patience_s)

    def report(self) -> Report:
        """The auditor's report. Nobody vouches for the key in it: a server cannot vouch for its own.

        Raises BadInput where it takes too long, LedgerBroken where the ledger cannot be read at all.
        """
        found = self._reported.get(self.head()[0], lambda: self._pool.submit(self._report), _REPORT_S)
        if found is None:
            raise BadInput("the report is still being made; ask for it again in a minute")
        return found.found

    def _verify(self) -> Checked[Verification]:
        try:
            lines, _ = self._lines(receipts=False)
            found = verify(lines, self._key)
        except LedgerBroken as broken:
            found = Verification(problems=[Problem(0, "unreadable", str(broken))])
        return Checked(found, found.head, time.time())

    def _report(self) -> Checked[Report]:
        lines, receipts = self._lines(receipts=True)
        found = report(lines, None, receipts=receipts)
        return Checked(found, found.verification.head, time.time())

    def _lines(self, receipts: bool) -> tuple[list[str], list[str] | None]:
        """The ledger and, unless its roster is sealed, what devices signed."""
        with self._database.begin() as session:
            entries = _READER.entries(session)
            told = list(receipt_lines(session, entries)) if receipts and not is_sealed(session) else None
        return [entry.line() for entry in entries], told


class _Newest(Generic[T]):
    """The newest of a kind of check, and the one that is at work."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._task: Future[Checked[T]] | None = None
        self._asked = ("", 0.0)  # of which head the task is, and when it began
        self._done: Checked[T] | None = None

    def get(self, head: str, start: Callable[[], "Future[Checked[T]]"], patience_s: float) -> Checked[T] | None:
        with self._lock:
            stale = self._asked[0] != head or time.monotonic() - self._asked[1] > _FRESH_S
            if self._task is None or (stale and self._task.done()):
                self._asked, self._task = (head, time.monotonic()), start()
            task = self._task
        with suppress(TimeoutError):  # it goes on, and whoever looks next may find it done
            self._done = task.result(patience_s)
        return self._done
