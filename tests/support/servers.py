"""A server's directory with devices, a run and a ledger that a coordinator would have left, and no process at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ledgers import Books, policy

from tacit_privacy.accounting.events import GaussianEvent, Sampling
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.ledger.verify import Verification, verify
from tacit_server.deployment import dumps
from tacit_server.deployment.database import ServerDatabase
from tacit_server.deployment.directory import ServerDirectory
from tacit_server.store import Checkpoint, Store
from tacit_server.store.tables import DeviceRow

DEVICES = 3
PROMISED: dict[str, Any] = {"epsilon": 100_000.0, "participations": 10_000}


def directory(path: Path, **settings: Any) -> ServerDirectory:
    made = ServerDirectory.create(path, {"fleet": {"devices": 10}, "privacy": PROMISED, **settings})
    ServerDatabase(made.database_url).close()
    return made


def lived(made: ServerDirectory, rounds: int = 2) -> None:
    """Devices, and ``rounds`` rounds with what they leave."""
    with ServerDatabase(made.database_url) as database:
        with database.begin() as session:
            for number in range(DEVICES):
                key = SigningKey.simulated(5, number).public
                session.add(
                    DeviceRow(number=number, identity=f"device-{number}", public_key=key, node_key=f"n{number}")
                )
        with books(made, database) as kept:
            for number in range(1, rounds + 1):
                kept.round(number, range(DEVICES))
    with Store(made.database_url, "first") as store, store.begin() as session:
        for number in range(1, rounds + 1):
            checkpoint = Checkpoint(number, float(number), {"adapter": np.arange(4.0)}, steps=number)
            store.save(session, checkpoint, {"round": number, "released": True})


@contextmanager
def books(made: ServerDirectory, database: ServerDatabase) -> Iterator[Books]:
    event = GaussianEvent(noise_multiplier=2.0, sampling=Sampling(kind="fixed", cohort=DEVICES, population=10))
    allowed = policy(population=10, delta=made.settings.privacy.delta_for(10), **PROMISED)
    key = SigningKey.load(made.signing_key)
    kept = Books(allowed, event, replay=False, database=database.engine, key=key, closes=False)
    try:
        yield kept
        kept.session.commit()
    finally:
        kept.session.close()


def ledger(made: ServerDirectory) -> Verification:
    """The server's ledger, by its own key."""
    with ServerDatabase(made.database_url) as database, database.begin() as session:
        lines = [entry.line() for entry in dumps.READER.entries(session)]
    return verify(lines, SigningKey.load(made.signing_key).public)
