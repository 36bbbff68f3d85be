"""The server's own tables, on SQLite or PostgreSQL. ``migrations`` holds how they came about."""

from sqlalchemy import BigInteger, Float, Integer, LargeBinary, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class ServerTables(DeclarativeBase):
    """Tables that live beside the ledger's. Times are seconds since 1970; digests are SHA-256, in hexadecimal."""


class RoundRow(ServerTables):
    __tablename__ = "rounds"
    run: Mapped[str] = mapped_column(String(200), primary_key=True)  # empty where a database is of one run alone
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    record: Mapped[str] = mapped_column(Text)


class CheckpointRow(ServerTables):
    __tablename__ = "checkpoints"
    run: Mapped[str] = mapped_column(String(200), primary_key=True)
    round: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    state: Mapped[bytes] = mapped_column(LargeBinary)


class DeviceRow(ServerTables):
    """A device's number for as long as the database lives, whatever node it comes back as.

    What follows ``public_key`` is of deployments, where devices are enrolled before any run sees them.
    """

    __tablename__ = "devices"
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    identity: Mapped[str] = mapped_column(Text, unique=True)
    public_key: Mapped[str] = mapped_column(String(64))  # that its receipts are signed with; empty: it has none
    name: Mapped[str] = mapped_column(Text, default="")  # as its owner calls it
    state: Mapped[str] = mapped_column(String(20), default="admitted")  # admitted, revoked or left
    node_key: Mapped[str] = mapped_column(Text, default="")  # PEM, that it speaks to SuperLink with
    node_id: Mapped[str] = mapped_column(String(20), default="")  # its number at SuperLink; empty: not registered
    admitted: Mapped[float] = mapped_column(Float, default=0.0)
    seen: Mapped[float] = mapped_column(Float, default=0.0)  # when it last reported
    report: Mapped[str] = mapped_column(Text, default="")  # what it said of itself then, JSON


class ApplicantRow(ServerTables):
    """A device that asked to be let in without a token, until somebody decides."""

    __tablename__ = "applicants"
    public_key: Mapped[str] = mapped_column(String(64), primary_key=True)
    node_key: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    asked: Mapped[float] = mapped_column(Float)
    address: Mapped[str] = mapped_column(Text)


class TokenRow(ServerTables):
    """A one-time token, by its digest: the token itself is shown once and kept nowhere."""

    __tablename__ = "tokens"
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    note: Mapped[str] = mapped_column(Text)
    created: Mapped[float] = mapped_column(Float)
    expires: Mapped[float] = mapped_column(Float)
    device: Mapped[int | None] = mapped_column(
        Integer
    )  # the device that it brings back under new keys; None: a new one
    used: Mapped[float | None] = mapped_column(Float)
    used_by: Mapped[str] = mapped_column(Text, default="")  # identity


class RunRow(ServerTables):
    """A run of a deployment: what it is to learn, what is wanted of it, and how far it is."""

    __tablename__ = "runs"
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    settings: Mapped[str] = mapped_column(Text)  # JSON
    state: Mapped[str] = mapped_column(String(20))  # scheduled, running, paused, finished, stopped or failed
    wanted: Mapped[str] = mapped_column(String(20))  # run, pause or stop
    created: Mapped[float] = mapped_column(Float)
    starts: Mapped[float] = mapped_column(Float)  # not before
    started: Mapped[float | None] = mapped_column(Float)
    ended: Mapped[float | None] = mapped_column(Float)
    population: Mapped[int] = mapped_column(Integer, default=0)  # devices when it began; later ones wait for the next
    spec: Mapped[str] = mapped_column(Text, default="")  # of the adapter, JSON; empty before it began
    reason: Mapped[str] = mapped_column(Text, default="")  # why it is as it is, one sentence
    holder: Mapped[int] = mapped_column(BigInteger, default=0)  # grows with every coordinator that takes the run over


class AdapterRow(ServerTables):
    """An adapter that a round released."""

    __tablename__ = "adapters"
    run: Mapped[str] = mapped_column(String(200), primary_key=True)
    round: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    version: Mapped[int] = mapped_column(Integer)
    digest: Mapped[str] = mapped_column(String(64), index=True)  # of the vector
    parent: Mapped[str] = mapped_column(String(64))  # digest of what it was learnt from; empty: the untrained one
    created: Mapped[float] = mapped_column(Float)
    entries: Mapped[int] = mapped_column(Integer)  # length of the ledger when it was released
    vector: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)  # float32, little-endian; megabytes


class AuditRow(ServerTables):
    """Who did what at the server. Appended to, never changed."""

    __tablename__ = "audit"
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    time: Mapped[float] = mapped_column(Float)
    actor: Mapped[str] = mapped_column(Text)  # a user, "command line", "device ..." or "server"
    action: Mapped[str] = mapped_column(String(60))
    subject: Mapped[str] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(String(20))  # done or refused
    detail: Mapped[str] = mapped_column(Text)
    address: Mapped[str] = mapped_column(Text)


class UserRow(ServerTables):
    """Somebody who may log in to the console."""

    __tablename__ = "users"
    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    role: Mapped[str] = mapped_column(String(20))  # operator or auditor
    password: Mapped[str] = mapped_column(Text)  # scrypt: parameters, salt and key
    created: Mapped[float] = mapped_column(Float)
    failures: Mapped[int] = mapped_column(Integer, default=0)  # in a row
    locked: Mapped[float] = mapped_column(Float, default=0.0)  # until when


class SessionRow(ServerTables):
    """A log-in, by the digest of its cookie."""

    __tablename__ = "sessions"
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    user: Mapped[str] = mapped_column(String(60))
    created: Mapped[float] = mapped_column(Float)
    used: Mapped[float] = mapped_column(Float)
