"""Other secrets of the device, such as what left it: sealed by kind, in order, erased one by one or whole."""

import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from sqlalchemy import Connection, delete, func, insert, select, update

from tacit_privacy.errors import BadInput
from tacit_privacy.pii.vault._master import Master
from tacit_privacy.pii.vault.database import Database
from tacit_privacy.pii.vault.sealing import KEY_BYTES, Sealer, digest
from tacit_privacy.pii.vault.tables import kinds, records

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
        until = None if expires_days is None else -int(-(self._clock() + expires_days * _DAY_S) // _DAY_S) * _DAY_S
        with self._database.writing() as connection:
            self._master.check(connection)
            sealer = self._sealer(connection, name) or self._new(connection, name)
            done = connection.execute(insert(records).values(kind=name, expires=until, sealed=b""))
            number = int((done.inserted_primary_key or (0,))[0])
            sealed = sealer.seal(row, self._master.identity, "records", name, number, until or 0)
            connection.execute(update(records).where(records.c.number == number).values(sealed=sealed))
        return number

    def rows(self, kind: str, after: int, limit: int | None) -> list[Record]:
        name = self._name(kind)
        wanted = select(records).where((records.c.kind == name) & (records.c.number > after))
        with self._database.reading() as connection:
            self._master.check(connection)
            sealer = self._sealer(connection, name)
            found = connection.execute(wanted.order_by(records.c.number).limit(limit)).all()
        now = self._clock()
        if sealer is None:
            if found:
                raise BadInput("the vault is damaged: records have lost their key; restore it from a copy")
            return []
        return [
            Record(
                row.number,
                self._master.opened(sealer, row.sealed, "records", name, row.number, row.expires or 0),
            )
            for row in found
            if row.expires is None or row.expires > now
        ]

    def numbers(self, kind: str) -> list[int]:
        name, now = self._name(kind), self._clock()
        kept = (records.c.kind == name) & (records.c.expires.is_(None) | (records.c.expires > now))
        with self._database.reading() as connection:
            self._master.check(connection)
            return list(connection.execute(select(records.c.number).where(kept).order_by(records.c.number)).scalars())

    def erase(self, kind: str, numbers: Iterable[int] | None) -> int:
        name = self._name(kind)
        with self._database.writing() as connection:
            self._master.check(connection)
            chosen = records.c.kind == name
            if numbers is not None:
                gone = sum(
                    connection.execute(delete(records).where(chosen & records.c.number.in_(some))).rowcount
                    for some in _batched(numbers, _AT_ONCE)
                )
            else:
                gone = connection.execute(delete(records).where(chosen)).rowcount
                connection.execute(delete(kinds).where(kinds.c.kind == name))
        if gone:
            self._database.settle()
        return gone

    def erase_all(self) -> int:
        with self._database.writing() as connection:
            self._master.check(connection)
            gone = connection.execute(delete(records)).rowcount
            connection.execute(delete(kinds))
        return gone

    def expire(self, now: float) -> int:
        past = records.c.expires <= now
        with self._database.reading() as connection:
            if not connection.execute(select(func.count()).select_from(records).where(past)).scalar():
                return 0
        with self._database.writing() as connection:
            gone = connection.execute(delete(records).where(past)).rowcount
        self._database.settle()
        return gone

    def _name(self, kind: str) -> bytes:
        return digest(self._master.digest_key, "kind", kind)

    def _sealer(self, connection: Connection, name: bytes) -> Sealer | None:
        wrapped = connection.execute(select(kinds.c.data_key).where(kinds.c.kind == name)).scalar()
        return None if wrapped is None else Sealer(self._master.unwrap(wrapped, "kinds", name))

    def _new(self, connection: Connection, name: bytes) -> Sealer:
        data_key = secrets.token_bytes(KEY_BYTES)
        connection.execute(insert(kinds).values(kind=name, data_key=self._master.wrap(data_key, "kinds", name)))
        return Sealer(data_key)


def _batched(numbers: Iterable[int], size: int) -> Iterator[list[int]]:
    """``numbers`` in lists of at most ``size``; Python 3.11 has none in itertools."""
    rest = iter(numbers)
    while some := list(islice(rest, size)):
        yield some
