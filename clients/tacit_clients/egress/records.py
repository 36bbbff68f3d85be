"""What left and what did not: sealed in the vault for the device's owner, and for nobody else."""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from tacit_clients.modes.protocol import Json
from tacit_privacy.pii.vault.store import Vault

KIND: Final = "outbound"
ENDINGS: Final = "outbound_ending"
_FLUSH_AT, _FLUSH_S = 64, 5.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One attempt to send. ``body`` holds the very bytes, as text; empty where nothing left."""

    number: int
    at: float  # seconds since 1970
    left: bool
    mode: str
    reason: str  # why it left, or why it did not: a short stable word
    upstream: str
    masked: Mapping[str, int]
    bytes: int
    conversation: str = field(repr=False)
    body: str = field(repr=False)
    detail: str = ""  # of a refusal: fixed words, such as the type that was found
    asked_by: str = field(default="", repr=False)  # what the client calls itself


@dataclass(frozen=True, slots=True)
class Ending:
    """What came of a record that left."""

    outcome: str  # answered, gone (the client went), or why there is no whole answer
    bytes_down: int
    attempts: int


class Book:
    """Written before anything is sent: nothing leaves unrecorded. Bounded in time, and in number by ``prune``."""

    def __init__(
        self, vault: Vault, days: float, most: int, upstream: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._vault, self._days, self._most, self._upstream, self._clock = vault, days, most, upstream, clock
        self._lock, self._flushed = Lock(), -_FLUSH_S
        self._pending: dict[int, Ending] = {}

    def left(
        self,
        content: bytes,
        mode: str,
        reason: str,
        masked: Mapping[str, int],
        conversation: str,
        asked_by: str = "",
    ) -> int:
        """Record ``content`` as leaving; returns the record's number."""
        told: dict[str, Json] = {"left": True, "mode": mode, "reason": reason, "masked": dict(masked)}
        told |= {"conversation": conversation, "bytes": len(content), "body": content.decode("utf-8")}
        return self._seal(told | {"asked_by": asked_by})

    def refused(
        self,
        mode: str,
        reason: str,
        masked: Mapping[str, int],
        conversation: str,
        detail: str = "",
        asked_by: str = "",
    ) -> int:
        """Record that something did not leave, without what it was."""
        told: dict[str, Json] = {"left": False, "mode": mode, "reason": reason, "masked": dict(masked)}
        told |= {"conversation": conversation, "bytes": 0, "body": "", "detail": detail}
        return self._seal(told | {"asked_by": asked_by})

    def ended(self, number: int, ending: Ending) -> bool:
        """Note what came of a record. Writes nothing: many are sealed together, and True says that it is time to."""
        with self._lock:
            self._pending[number] = ending
            return len(self._pending) >= _FLUSH_AT or time.monotonic() - self._flushed > _FLUSH_S

    def flush(self) -> None:
        """Seal the endings noted so far. A process that is killed before loses them, and nothing else."""
        with self._lock:
            pending, self._pending, self._flushed = self._pending, {}, time.monotonic()
        if pending:
            rows = [[number, each.outcome, each.bytes_down, each.attempts] for number, each in pending.items()]
            self._vault.seal(ENDINGS, json.dumps(rows).encode("ascii"), expires_days=self._days)

    def numbers(self) -> list[int]:
        """Numbers of all records, oldest first. Cheap."""
        return self._vault.numbers(KIND)

    def find(self, number: int) -> Entry | None:
        """One record."""
        found = self._vault.rows(KIND, after=number - 1, limit=1)
        return _entry(number, found[0].row) if found and found[0].number == number else None

    def endings(self, after: int = 0) -> tuple[dict[int, Ending], int]:
        """What came of records, by their number, of what was sealed behind ``after``; and where to go on then."""
        found: dict[int, Ending] = {}
        for record in self._vault.rows(ENDINGS, after=after):
            found |= {number: Ending(*told) for number, *told in json.loads(record.row)}
            after = record.number
        return found, after

    def entries(self, after: int = 0, limit: int | None = None) -> list[Entry]:
        """Records from number ``after`` + 1 on, oldest first."""
        return [_entry(record.number, record.row) for record in self._vault.rows(KIND, after=after, limit=limit)]

    def erase(self, numbers: int | Iterable[int] | None = None) -> int:
        """Forget one record, several, or all of them; returns how many there were."""
        if numbers is None:
            with self._lock:
                self._pending.clear()
            self._vault.erase_rows(ENDINGS)
        return self._vault.erase_rows(KIND, numbers)

    def prune(self) -> int:
        """Forget what is past its time, then the oldest beyond the most that are kept; returns how many of those."""
        self._vault.expire()
        numbers = self._vault.numbers(KIND)
        excess = numbers[: max(0, len(numbers) - self._most)]
        return self._vault.erase_rows(KIND, excess) if excess else 0

    def _seal(self, told: dict[str, Json]) -> int:
        row = {"at": self._clock(), "upstream": self._upstream, **told}
        return self._vault.seal(KIND, json.dumps(row).encode("utf-8"), expires_days=self._days)


def _entry(number: int, row: bytes) -> Entry:
    told = json.loads(row)
    names = ("at", "left", "mode", "reason", "upstream", "masked", "bytes", "conversation", "body")
    added: dict[str, Json] = {name: told.get(name, "") for name in ("detail", "asked_by")}  # not in the oldest records
    return Entry(number, **{name: told[name] for name in names}, **added)
