"""Responses that clients may fetch again or go on from, sealed in the vault until they expire or are deleted."""

import json
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from tacit_clients.modes.protocol import Json
from tacit_privacy.pii.vault.store import Vault

KIND: Final = "response"


@dataclass(frozen=True, slots=True)
class Kept:
    """A response, the messages up to and with its answer, and its conversation."""

    row: dict[str, Json] = field(repr=False)
    messages: list[Json] = field(repr=False)
    conversation: str = field(repr=False)


class Responses:
    """Only numbers are kept in memory. Made by reading the vault once."""

    def __init__(self, vault: Vault, days: float) -> None:
        self._vault, self._days, self._lock = vault, days, Lock()
        self._numbers: dict[str, int] = {}
        self._read_to = 0
        self._catch_up()

    def keep(self, kept: Kept) -> None:
        told = {"row": kept.row, "messages": kept.messages, "conversation": kept.conversation}
        number = self._vault.seal(KIND, json.dumps(told).encode("ascii"), expires_days=self._days)
        with self._lock:
            self._numbers[str(kept.row["id"])] = number

    def find(self, identifier: str) -> Kept | None:
        number = self._number(identifier)
        if number is None:
            return None
        found = self._vault.rows(KIND, after=number - 1, limit=1)
        if not found or found[0].number != number:
            return None
        told = json.loads(found[0].row)
        return Kept(told["row"], told["messages"], told["conversation"])

    def delete(self, identifier: str) -> bool:
        number = self._number(identifier)
        if number is None:
            return False
        with self._lock:
            self._numbers.pop(identifier, None)
        return self._vault.erase_rows(KIND, number) > 0

    def _number(self, identifier: str) -> int | None:
        if identifier not in self._numbers:
            self._catch_up()  # another gateway of the same vault may have kept it
        return self._numbers.get(identifier)

    def _catch_up(self) -> None:
        with self._lock:
            for record in self._vault.rows(KIND, after=self._read_to):
                self._numbers[str(json.loads(record.row)["row"]["id"])] = record.number
                self._read_to = record.number
