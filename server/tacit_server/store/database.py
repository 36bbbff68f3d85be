"""What a run leaves in a database, SQLite or PostgreSQL; a checkpoint and what it paid for share one transaction."""

import io
import json
import zipfile
import zlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from tacit_privacy.errors import BadInput
from tacit_privacy.ledger.database import begin, open_database
from tacit_server.store.tables import CheckpointRow, RoundRow

TABLES = (Path(__file__).parent / "migrations", "tacit_server_version")
_START_AGAIN = "restore its database from a copy or start again in an empty folder"
_KEPT = 2  # checkpoints that are kept; older ones are dropped as new ones are written


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
    """A run's part of a database. Raises BadInput with one sentence when it cannot be opened or written.

    ``run``: which run, where several share a database; empty: the only one.
    """

    def __init__(self, url: str, run: str = "") -> None:
        self._engine, self._run = open_database(url, TABLES), run

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def begin(self) -> AbstractContextManager[Session]:
        """One transaction: stored whole when the block ends, not at all when it raises."""
        return begin(self._engine)

    def save(self, session: Session, checkpoint: Checkpoint, record: dict[str, Any]) -> None:
        """A round's record and the state after it, inside the caller's transaction."""
        session.add(RoundRow(run=self._run, number=checkpoint.round, record=json.dumps(record)))
        session.add(CheckpointRow(run=self._run, round=checkpoint.round, state=checkpoint.pack()))
        old = CheckpointRow.run == self._run, CheckpointRow.round <= checkpoint.round - _KEPT
        session.execute(delete(CheckpointRow).where(*old))

    def newest(self) -> Checkpoint | None:
        """The state to go on from, None before the first round. Raises BadInput where it is damaged or gone."""
        own = select(CheckpointRow.state).where(CheckpointRow.run == self._run)
        counted = select(func.count()).select_from(RoundRow).where(RoundRow.run == self._run)
        with self.begin() as session:
            data = session.scalar(own.order_by(CheckpointRow.round.desc()).limit(1))
            rounds = session.scalar(counted) or 0
        if data is None and rounds:
            raise BadInput(f"the database has {rounds} rounds and no checkpoint; {_START_AGAIN}")
        return Checkpoint.unpack(data) if data is not None else None

    def rounds(self) -> list[dict[str, Any]]:
        """Records of all rounds, in order."""
        own = select(RoundRow.record).where(RoundRow.run == self._run).order_by(RoundRow.number)
        with self.begin() as session:
            return [json.loads(row) for row in session.scalars(own)]

    def close(self) -> None:
        self._engine.dispose()
