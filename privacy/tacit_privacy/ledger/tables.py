"""The ground floor's tables, on SQLite or PostgreSQL. ``migrations`` holds how they came about."""

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer, LargeBinary, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


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
    """How many releases of a run a device has contributed to, and in which round last."""

    __tablename__ = "participations"
    __table_args__ = (
        Index("participations_of_device", "device"),
        Index("participations_most", "run", "count"),
        Index("participations_most_recent", "run", "period", "recent"),
    )

    run: Mapped[str] = mapped_column(String(200), primary_key=True)
    device: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    count: Mapped[int] = mapped_column(Integer)  # ever
    period: Mapped[int] = mapped_column(Integer)  # the newest budget period it took part in
    recent: Mapped[int] = mapped_column(Integer)  # in that period
    last_round: Mapped[int] = mapped_column(Integer)
    newest: Mapped[int | None] = mapped_column(ForeignKey("ledger.index"))


class LimitRow(PrivacyTables):
    """What one device, or its owner, allows less than the policy does."""

    __tablename__ = "limits"

    device: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    participations: Mapped[int | None] = mapped_column(Integer)  # ever
    epsilon: Mapped[float | None] = mapped_column(Float)  # ever, at the policy's delta
    spent: Mapped[float] = mapped_column(Float)  # sum of mu^2 over its releases, those before the limit at the dearest


class ReservedRow(PrivacyTables):
    """Whom a reservation may be released to, until it is settled."""

    __tablename__ = "reserved"

    reservation: Mapped[str] = mapped_column(String(40), primary_key=True)
    devices: Mapped[bytes] = mapped_column(LargeBinary)  # int64


class LeafRow(PrivacyTables):
    """A leaf of a round's Merkle tree: the server's own secret, kept so that it can be opened later."""

    __tablename__ = "receipts"

    reservation: Mapped[str] = mapped_column(String(40), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    salt: Mapped[bytes] = mapped_column(LargeBinary(32))
    payload: Mapped[bytes] = mapped_column(LargeBinary)  # empty: padding
    signature: Mapped[bytes] = mapped_column(LargeBinary(64))
