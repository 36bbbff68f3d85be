"""What left and what did not: sealed in the vault for the device's owner, and for nobody else."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tacit_clients.modes.protocol import Json
from tacit_privacy.pii.vault.store import Vault

KIND: Final = "outbound"


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


class Book:
    """Written before anything is sent: nothing leaves unrecorded. Bounded in time, and in number by ``prune``."""

    def __init__(
        self, vault: Vault, days: float, most: int, upstream: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._vault, self._days, self._most, self._upstream, self._clock = vault, days, most, upstream, clock

    def left(self, content: bytes, mode: str, reason: str, masked: Mapping[str, int], conversation: str) -> int:
        """Record ``content`` as leaving; returns the record's number."""
        body = content.decode("utf-8")
        return self._seal(True, mode, reason, masked, conversation, len(content), body)

    def refused(self, mode: str, reason: str, masked: Mapping[str, int], conversation: str) -> int:
        """Record that something did not leave, without what it was."""
        return self._seal(False, mode, reason, masked, conversation, 0, "")

    def entries(self, after: int = 0, limit: int | None = None) -> list[Entry]:
        """Records from number ``after`` + 1 on, oldest first."""
        return [_entry(record.number, record.row) for record in self._vault.rows(KIND, after=after, limit=limit)]

    def erase(self, number: int | None = None) -> int:
        """Forget one record, or all of them; returns how many there were."""
        return self._vault.erase_rows(KIND, number)

    def prune(self) -> int:
        """Forget what is past its time, then the oldest beyond the most that are kept; returns how many of those."""
        self._vault.expire()
        numbers = [record.number for record in self._vault.rows(KIND)]
        excess = numbers[: max(0, len(numbers) - self._most)]
        for number in excess:
            self._vault.erase_rows(KIND, number)
        return len(excess)

    def _seal(
        self, left: bool, mode: str, reason: str, masked: Mapping[str, int], conversation: str, size: int, body: str
    ) -> int:
        row: dict[str, Json] = {"at": self._clock(), "left": left, "mode": mode, "reason": reason, "bytes": size}
        row |= {"upstream": self._upstream, "masked": dict(masked), "conversation": conversation, "body": body}
        return self._vault.seal(KIND, json.dumps(row).encode("utf-8"), expires_days=self._days)


def _entry(number: int, row: bytes) -> Entry:
    told = json.loads(row)
    names = ("at", "left", "mode", "reason", "upstream", "masked", "bytes", "conversation", "body")
    return Entry(number, **{name: told[name] for name in names})
