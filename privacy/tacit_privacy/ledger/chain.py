"""Entries of the ledger and the chain that binds them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ForeignKey, Integer, LargeBinary, String, Text, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from tacit_privacy.contract import canonical, digest
from tacit_privacy.errors import LedgerBroken

GENESIS = "0" * 64
Signer = Callable[[bytes], bytes]


class PrivacyTables(DeclarativeBase):
    """Tables that belong to the ground floor; they live in the same database as the server's own."""


class LedgerRow(PrivacyTables):
    """One entry, as its canonical bytes: what was signed is what is stored."""

    __tablename__ = "ledger"

    position: Mapped[int] = mapped_column("index", Integer, primary_key=True, autoincrement=False)
    payload: Mapped[str] = mapped_column(Text)
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    signature: Mapped[bytes] = mapped_column(LargeBinary(64))


class ParticipationRow(PrivacyTables):
    """How many releases a device has contributed to."""

    __tablename__ = "participations"

    device: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    count: Mapped[int] = mapped_column(Integer)
    newest: Mapped[int | None] = mapped_column(ForeignKey("ledger.index"))


class ReservedRow(PrivacyTables):
    """Whom the newest reservation may be released to, until it is settled."""

    __tablename__ = "reserved"

    reservation: Mapped[str] = mapped_column(String(40), primary_key=True)
    devices: Mapped[bytes] = mapped_column(LargeBinary)  # int64


class SealRow(PrivacyTables):
    """What a commitment is over: the server's own secret, kept so that it can be opened later."""

    __tablename__ = "seals"

    reservation: Mapped[str] = mapped_column(String(40), primary_key=True)
    salt: Mapped[bytes] = mapped_column(LargeBinary(32))
    leaves: Mapped[str] = mapped_column(Text)  # JSON: digests of the receipts, sorted


@dataclass(frozen=True, slots=True)
class Entry:
    """A link of the chain. ``hash`` covers index, kind, time, body and the previous hash; the signature covers it."""

    index: int
    kind: str
    time: float  # seconds on the coordinator's clock
    body: dict[str, Any]
    previous: str
    hash: str
    signature: bytes

    def line(self) -> str:
        """One line of JSON, as ``tacit audit verify`` reads it."""
        fields = {**_signed_fields(self), "hash": self.hash, "signature": self.signature.hex()}
        return canonical(fields).decode()


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
    """Appends inside the caller's transaction, so that a charge and what it pays for are stored together."""

    def __init__(self, sign: Signer, now: Callable[[], float]) -> None:
        self._sign, self._now = sign, now

    def append(self, session: Session, kind: str, body: dict[str, Any]) -> Entry:
        index, previous = self.length(session), self.head(session)
        fields: dict[str, Any] = {"index": index, "kind": kind, "time": self._now(), "body": body, "previous": previous}
        hashed = entry_hash(fields)
        signature = self._sign(bytes.fromhex(hashed))
        row = LedgerRow(position=index, payload=canonical(fields).decode(), hash=hashed, signature=signature)
        session.add(row)
        session.flush()  # a concurrent writer of the same index fails here, before anything is released
        return Entry(**fields, hash=hashed, signature=signature)

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
        newest = session.scalar(select(LedgerRow.hash).order_by(LedgerRow.position.desc()).limit(1))
        return newest or GENESIS
