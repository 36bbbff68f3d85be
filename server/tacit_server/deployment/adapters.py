"""The registry of adapters: what every round released, from what it was learnt, and the word that devices trust."""

import hashlib
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tacit_privacy.enrolment import AdapterManifest
from tacit_privacy.errors import BadInput
from tacit_privacy.ledger.keys import SigningKey
from tacit_server.store.tables import AdapterRow, RunRow


@dataclass(frozen=True, slots=True)
class Lineage:
    """An adapter's place among the others."""

    run: str
    round: int
    version: int
    digest: str
    parent: str
    created: float
    entries: int


def digest_of(vector: NDArray[np.floating]) -> str:
    """SHA-256 of the vector as it travels: float32, little-endian."""
    return hashlib.sha256(_bytes(vector)).hexdigest()


def keep(
    session: Session, run: str, number: int, version: int, vector: NDArray[np.floating], parent: str, entries: int
) -> str:
    """Add what round ``number`` released, (dimension,); returns its digest. A round that is held again replaces its."""
    data = _bytes(vector)
    row = session.get(AdapterRow, (run, number)) or AdapterRow(run=run, round=number)
    row.version, row.digest, row.parent = version, hashlib.sha256(data).hexdigest(), parent
    row.created, row.entries, row.vector = time.time(), entries, data
    session.add(row)
    return row.digest


def newest(session: Session, run: str | None = None) -> AdapterRow | None:
    """The adapter that was released last, of all runs or of one."""
    query = select(AdapterRow).order_by(AdapterRow.entries.desc(), AdapterRow.round.desc()).limit(1)
    return session.scalar(query if run is None else query.where(AdapterRow.run == run))


def by_digest(session: Session, digest: str) -> AdapterRow | None:
    return session.scalar(select(AdapterRow).where(AdapterRow.digest == digest).limit(1))


def lineage(session: Session, run: str | None = None) -> list[Lineage]:
    """All that were released, the newest first, without their weights."""
    columns = [getattr(AdapterRow, name) for name in Lineage.__dataclass_fields__]
    query = select(*columns).order_by(AdapterRow.entries.desc(), AdapterRow.round.desc())
    return [Lineage(*row) for row in session.execute(query if run is None else query.where(AdapterRow.run == run))]


def manifest(session: Session, row: AdapterRow, key: SigningKey) -> tuple[bytes, bytes]:
    """What a device is told of an adapter, as canonical bytes, and the server's signature over them."""
    run = session.get(RunRow, row.run)
    if run is None or not run.spec:
        raise BadInput(f"run {row.run} of the adapter is not known; restore the database from a copy")
    told = AdapterManifest(
        run=row.run,
        round=row.round,
        version=row.version,
        vector=row.digest,
        parent=row.parent,
        spec=run.spec,
        size=size_of(session, row),
        entries=row.entries,
    ).to_bytes()
    return told, key.sign(AdapterManifest.signed(told))


def size_of(session: Session, row: AdapterRow) -> int:
    """Bytes of the vector, which are not read for it."""
    own = AdapterRow.run == row.run, AdapterRow.round == row.round
    return int(session.scalars(select(func.length(AdapterRow.vector)).where(*own)).one())


def vector_of(row: AdapterRow) -> NDArray[np.float32]:
    return np.frombuffer(row.vector, dtype="<f4").astype(np.float32)


def _bytes(vector: NDArray[np.floating]) -> bytes:
    return np.ascontiguousarray(vector, dtype="<f4").tobytes()
