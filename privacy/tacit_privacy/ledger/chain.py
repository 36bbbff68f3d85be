"""Entries of the ledger and the chain that binds them."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, func, insert, select
from sqlalchemy.orm import Session

from tacit_privacy.contract import canonical, digest
from tacit_privacy.errors import LedgerBroken
from tacit_privacy.ledger import database
from tacit_privacy.ledger.bodies import NAMES, Body, Rotated
from tacit_privacy.ledger.keys import SigningKey, verifies
from tacit_privacy.ledger.tables import LedgerRow

GENESIS = "0" * 64
Signer = Callable[[bytes], bytes]
_TABLE = LedgerRow.metadata.tables[LedgerRow.__tablename__]  # an append is too short for the unit of work
_NEWEST = (
    select(_TABLE.c.index.label("position"), _TABLE.c.payload, _TABLE.c.hash).order_by(_TABLE.c.index.desc()).limit(1)
)
_PUT = insert(_TABLE)
_LOCK = int.from_bytes(b"tacit", "big")  # PostgreSQL's advisory lock of a ledger's writers


@dataclass(frozen=True, slots=True)
class Entry:
    """A link of the chain. ``hash`` covers index, kind, time, body and the previous hash; the signature covers it."""

    index: int
    kind: str
    time: float  # seconds on the coordinator's clock, never before the entry that went ahead
    body: dict[str, Any]
    previous: str
    hash: str
    signature: bytes

    def line(self) -> str:
        """One line of JSON, as ``tacit audit verify`` reads it."""
        fields = {**_signed_fields(self), "hash": self.hash, "signature": self.signature.hex()}
        return canonical(fields).decode()

    def holds(self, public_key: str) -> bool:
        """Whether the entry has the hash it claims, signed by ``public_key``."""
        hashed = entry_hash(_signed_fields(self)) == self.hash
        return hashed and verifies(public_key, bytes.fromhex(self.hash), self.signature)

    @classmethod
    def of_line(cls, line: str) -> "Entry":
        """The inverse of ``line``. Raises ValueError, KeyError or TypeError on anything else."""
        fields = json.loads(line)
        return cls(**{**fields, "signature": bytes.fromhex(fields["signature"])})


def _signed_fields(entry: Entry) -> dict[str, Any]:
    return {
        "index": entry.index,
        "kind": entry.kind,
        "time": entry.time,
        "body": entry.body,
        "previous": entry.previous,
    }


def entry_hash(fields: dict[str, Any]) -> str:
    """SHA-256 of the canonical JSON of {index, kind, time, body, previous}."""
    return digest(canonical(fields))


def _entry(row: LedgerRow) -> Entry:
    try:
        return Entry(**json.loads(row.payload), hash=row.hash, signature=row.signature)
    except (TypeError, ValueError) as error:
        raise LedgerBroken(f"entry {row.position} of the ledger is not readable; restore its database") from error


class Ledger:
    """Appends inside the caller's transaction, so that a charge and what it pays for are stored together.

    ``sign`` signs with the key that the ledger names; ``now`` gives seconds on the coordinator's clock.
    """

    def __init__(self, sign: Signer, now: Callable[[], float]) -> None:
        self._sign, self._now = sign, now

    def exclusive(self, session: Session) -> None:
        """Let no other writer in until the caller's transaction ends: what is read from here on stays true.

        Of a database that was opened otherwise than by ``database.open_database``, two writers of one place collide and
        one of them fails.
        """
        database.exclusive(session, _LOCK)

    def now(self, session: Session) -> float:
        """The clock's time, or the newest entry's where that is later: a clock that is put back renews no budget."""
        return self._after(self._newest(session))

    def _after(self, newest: Row[Any, Any, Any] | None) -> float:
        return self._now() if newest is None else max(self._now(), float(json.loads(newest.payload)["time"]))

    def append(self, session: Session, body: Body, time: float | None = None) -> Entry:
        """Add an entry behind the newest one. Raises SQLAlchemy's IntegrityError where another writer was faster.

        ``time`` None: now.
        """
        newest = self._newest(session)
        fields: dict[str, Any] = {
            "index": 0 if newest is None else newest.position + 1,
            "kind": NAMES[type(body)],
            "time": self._after(newest) if time is None else time,
            "body": body.model_dump(mode="json", exclude_none=True),
            "previous": GENESIS if newest is None else newest.hash,
        }
        hashed = entry_hash(fields)
        return self.put(session, Entry(**fields, hash=hashed, signature=self._sign(bytes.fromhex(hashed))))

    def rotate(self, session: Session, new: SigningKey) -> Entry:
        """Let another key sign from the next entry on; the present one signs that it does. Raises LedgerBroken where
        the ledger is closed: nothing follows the closing entry.
        """
        newest = self._newest(session)
        if newest is not None and json.loads(newest.payload)["kind"] == "close":
            raise LedgerBroken("the ledger is closed; there is nothing more to sign")
        endorsement = new.sign(bytes.fromhex(self.head(session))).hex()
        return self.append(session, Rotated(public_key=new.public, endorsement=endorsement))

    def put(self, session: Session, entry: Entry) -> Entry:
        """Store an entry as it is, signed by whoever signed it."""
        payload = canonical(_signed_fields(entry)).decode()
        row = {"index": entry.index, "payload": payload, "hash": entry.hash, "signature": entry.signature}
        session.execute(_PUT, row)  # a concurrent writer of the same index fails here, before anything is released
        return entry

    def _newest(self, session: Session) -> Row[Any, Any, Any] | None:
        return session.execute(_NEWEST).first()

    def entries(self, session: Session, since: int = 0) -> list[Entry]:
        """Entries from position ``since`` on, in order. Raises LedgerBroken on one that is not readable."""
        found = select(LedgerRow).where(LedgerRow.position >= since).order_by(LedgerRow.position)
        return [_entry(row) for row in session.scalars(found)]

    def hash_at(self, session: Session, position: int) -> str | None:
        """Hash of the entry at ``position``, None where there is none (yet, or any more)."""
        return session.scalar(select(LedgerRow.hash).where(LedgerRow.position == position))

    def length(self, session: Session) -> int:
        newest = session.scalar(select(func.max(LedgerRow.position)))
        return 0 if newest is None else newest + 1

    def head(self, session: Session) -> str:
        """Hash of the newest entry; zeros before the first."""
        newest = self._newest(session)
        return GENESIS if newest is None else newest.hash


def lines(entries: Iterable[Entry]) -> Iterator[str]:
    """Entries as the lines of a file."""
    for entry in entries:
        yield entry.line() + "\n"
