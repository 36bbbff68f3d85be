"""SQLAlchemy tables of a run, on SQLite or PostgreSQL; a checkpoint and what it paid for share one transaction."""

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Integer, LargeBinary, Text, create_engine, delete, event, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from tacit_privacy.errors import BadInput
from tacit_privacy.ledger.chain import PrivacyTables

SCHEMA = 1
_START_AGAIN = "restore its database from a copy or start again in an empty folder"
_KEPT = 2  # checkpoints that are kept; older ones are dropped as new ones are written


class ServerTables(DeclarativeBase):
    """The server's own tables."""


class SchemaRow(ServerTables):
    __tablename__ = "schema_version"
    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)


class RoundRow(ServerTables):
    __tablename__ = "rounds"
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    record: Mapped[str] = mapped_column(Text)


class CheckpointRow(ServerTables):
    __tablename__ = "checkpoints"
    round: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    state: Mapped[bytes] = mapped_column(LargeBinary)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything a round starts from. ``arrays`` by name; ``grid`` is opaque."""

    round: int
    time: float
    arrays: dict[str, NDArray[Any]]
    steps: int
    grid: bytes = b""

    def pack(self) -> bytes:
        head = {"round": self.round, "time": self.time, "steps": self.steps}
        extra = {
            "head": np.frombuffer(json.dumps(head).encode(), dtype=np.uint8),
            "grid": np.frombuffer(self.grid, dtype=np.uint8),
        }
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **{f"a/{name}": array for name, array in self.arrays.items()}, **extra)
        return buffer.getvalue()

    @classmethod
    def unpack(cls, data: bytes) -> "Checkpoint":
        """The inverse of ``pack``. Raises BadInput on damaged bytes; refuses pickled content."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                found = dict(archive)  # reads everything, and so checks every sum
            head = json.loads(found.pop("head").tobytes())
            grid = found.pop("grid").tobytes()
        except (zipfile.BadZipFile, zlib.error, AttributeError, EOFError, KeyError, OSError, ValueError) as error:
            raise BadInput(f"the newest checkpoint is damaged ({type(error).__name__}); {_START_AGAIN}") from error
        arrays = {name.removeprefix("a/"): array for name, array in found.items()}
        return cls(head["round"], head["time"], arrays, head["steps"], grid)


class Store:
    """A run's database. Raises BadInput with one sentence when it cannot be opened or written."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _prepare_sqlite)
        with self._explained():
            PrivacyTables.metadata.create_all(self._engine)
            ServerTables.metadata.create_all(self._engine)
        with self.begin() as session:
            version = session.scalar(select(SchemaRow.version))
            if version is None:
                session.add(SchemaRow(version=SCHEMA))
            elif version > SCHEMA:
                raise BadInput(f"the database has schema {version}, this Tacit knows {SCHEMA}; upgrade Tacit")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """One transaction: stored whole when the block ends, not at all when it raises."""
        with self._explained(), Session(self._engine) as session, session.begin():
            yield session

    def save(self, session: Session, checkpoint: Checkpoint, record: dict[str, Any]) -> None:
        """A round's record and the state after it, inside the caller's transaction."""
        session.add(RoundRow(number=checkpoint.round, record=json.dumps(record)))
        session.add(CheckpointRow(round=checkpoint.round, state=checkpoint.pack()))
        session.execute(delete(CheckpointRow).where(CheckpointRow.round <= checkpoint.round - _KEPT))

    def newest(self) -> Checkpoint | None:
        """The state to go on from, None before the first round. Raises BadInput where it is damaged or gone."""
        with self.begin() as session:
            data = session.scalar(select(CheckpointRow.state).order_by(CheckpointRow.round.desc()).limit(1))
            rounds = session.scalar(select(func.count()).select_from(RoundRow)) or 0
        if data is None and rounds:
            raise BadInput(f"the database has {rounds} rounds and no checkpoint; {_START_AGAIN}")
        return Checkpoint.unpack(data) if data is not None else None

    def rounds(self) -> list[dict[str, Any]]:
        """Records of all rounds, in order."""
        with self.begin() as session:
            return [json.loads(row) for row in session.scalars(select(RoundRow.record).order_by(RoundRow.number))]

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise BadInput(
                f"the run's database cannot be used: {reason}; check the disk and who else has it"
            ) from error


def _prepare_sqlite(connection: Any, record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
