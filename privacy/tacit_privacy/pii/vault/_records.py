"""Other secrets of the device, such as what left it: sealed by kind, in order, erased one by one or whole."""

import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from sqlite3 import Connection

from tacit_privacy.errors import BadInput
from tacit_privacy.pii.vault._master import Master
from tacit_privacy.pii.vault.database import Database
from tacit_privacy.pii.vault.sealing import KEY_BYTES, Sealer, digest

_DAY_S = 86_400
_AT_ONCE = 500  # numbers in one statement


@dataclass(frozen=True, slots=True)
class Record:
    """``number`` grows in the order of sealing and is never used twice."""

    number: int
    row: bytes = field(repr=False)


class Records:
    """The tables ``kinds`` and ``records``."""

    def __init__(self, database: Database, master: Master, clock: Callable[[], float]) -> None:
        self._database, self._master, self._clock = database, master, clock

    def seal(self, kind: str, row: bytes, expires_days: float | None) -> int:
        name = self._name(kind)
        with self._database.writing() as connection:
            self._master.check(connection)
            return self._add(connection, name, row, expires_days)

    def replace(self, kind: str, row: bytes, synced: bool) -> int:
        name = self._name(kind)
        with self._database.writing(synced) as connection:
            self._master.check(connection)
            gone = connection.execute(
                "DELETE FROM records WHERE kind = ?", (name,)
            ).rowcount  # its pages are used again
            number = self._add(connection, name, row, None)
        if gone and synced:
            self._database.settle()
        return number

    def _add(self, connection: Connection, name: bytes, row: bytes, expires_days: float | None) -> int:
        until = None if expires_days is None else -int(-(self._clock() + expires_days * _DAY_S) // _DAY_S) * _DAY_S
        sealer = self._sealer(connection, name) or self._new(connection, name)
        newest = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'records'").fetchone()
        number = 1 if newest is None else int(newest[0]) + 1
        sealed = sealer.seal(row, self._master.identity, "records", name, number, until or 0)
        connection.execute(
            "INSERT INTO records (number, kind, expires, sealed) VALUES (?, ?, ?, ?)", (number, name, until, sealed)
        )
        return number

    def rows(self, kind: str, after: int, limit: int | None) -> list[Record]:
        name = self._name(kind)
        with self._database.reading() as connection:
            self._master.check(connection)
            sealer = self._sealer(connection, name)
            found = connection.execute(
                "SELECT number, expires, sealed FROM records WHERE kind = ? AND number > ? ORDER BY number LIMIT ?",
                (name, after, -1 if limit is None else limit),
            ).fetchall()
        now = self._clock()
        if sealer is None:
            if found:
                raise BadInput("the vault is damaged: records have lost their key; restore it from a copy")
            return []
        return [
            Record(number, self._master.opened(sealer, sealed, "records", name, number, expires or 0))
            for number, expires, sealed in found
            if expires is None or expires > now
        ]

    def numbers(self, kind: str) -> list[int]:
        kept = (self._name(kind), self._clock())
        with self._database.reading() as connection:
            self._master.check(connection)
            return [
                number
                for (number,) in connection.execute(
                    "SELECT number FROM records WHERE kind = ? AND (expires IS NULL OR expires > ?) ORDER BY number",
                    kept,
                )
            ]

    def erase(self, kind: str, numbers: Iterable[int] | None) -> int:
        name = self._name(kind)
        with self._database.writing() as connection:
            self._master.check(connection)
            if numbers is not None:
                gone = sum(
                    connection.execute(
                        f"DELETE FROM records WHERE kind = ? AND number IN ({', '.join('?' * len(some))})",
                        (name, *some),
                    ).rowcount
                    for some in _batched(numbers, _AT_ONCE)
                )
            else:
                gone = connection.execute("DELETE FROM records WHERE kind = ?", (name,)).rowcount
                connection.execute("DELETE FROM kinds WHERE kind = ?", (name,))
        if gone:
            self._database.settle()
        return gone

    def erase_all(self) -> int:
        with self._database.writing() as connection:
            self._master.check(connection)
            gone = connection.execute("DELETE FROM records").rowcount
            connection.execute("DELETE FROM kinds")
        return gone

    def expire(self, now: float) -> int:
        with self._database.reading() as connection:
            if connection.execute("SELECT 1 FROM records WHERE expires <= ? LIMIT 1", (now,)).fetchone() is None:
                return 0
        with self._database.writing() as connection:
            gone = connection.execute("DELETE FROM records WHERE expires <= ?", (now,)).rowcount
        self._database.settle()
        return gone

    def _name(self, kind: str) -> bytes:
        return digest(self._master.digest_key, "kind", kind)

    def _sealer(self, connection: Connection, name: bytes) -> Sealer | None:
        found = connection.execute("SELECT data_key FROM kinds WHERE kind = ?", (name,)).fetchone()
        return None if found is None else Sealer(self._master.unwrap(found[0], "kinds", name))

    def _new(self, connection: Connection, name: bytes) -> Sealer:
        data_key = secrets.token_bytes(KEY_BYTES)
        wrapped = self._master.wrap(data_key, "kinds", name)
        connection.execute("INSERT INTO kinds (kind, data_key) VALUES (?, ?)", (name, wrapped))
        return Sealer(data_key)


def _batched(numbers: Iterable[int], size: int) -> Iterator[list[int]]:
    """``numbers`` in lists of at most ``size``; Python 3.11 has none in itertools."""
    rest = iter(numbers)
    while some := list(islice(rest, size)):
        yield some
