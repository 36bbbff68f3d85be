"""One run of a deployment: a coordinator over the server's database, its ledger and whoever is enrolled."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import numpy as np
import structlog
from flwr.serverapp import Grid
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tacit_privacy.accounting.budget import Budget
from tacit_privacy.adapters import initial_vector
from tacit_privacy.contract import AdapterSpec, canonical, digest
from tacit_privacy.errors import FleetExhausted
from tacit_privacy.ledger.chain import Ledger
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.ledger.tables import LedgerRow
from tacit_privacy.mechanisms.noise import SystemNoise
from tacit_server.buffered import BufferedCoordinator
from tacit_server.clock import WallClock
from tacit_server.coordinator import STOPPED, Coordinator, Job, Pace
from tacit_server.deployment import adapters, audit, promise, runs
from tacit_server.deployment.directory import ServerDirectory
from tacit_server.deployment.roster import EnrolledRoster
from tacit_server.deployment.settings import DeploymentSettings, RunSettings
from tacit_server.planning import begun_for, mechanism_for, policy_for, sampling_for
from tacit_server.rounds import RoundRecord
from tacit_server.store import Checkpoint, Store
from tacit_server.store.tables import DeviceRow, RunRow

_POLL_S = 0.1
_log = structlog.get_logger("tacit.run")


class HeldStore(Store):
    """A run's part of the server's database, for as long as this process holds the run; and its adapters."""

    def __init__(self, url: str, run: str) -> None:
        super().__init__(url, run)
        self._holder: int | None = None

    def take_over(self) -> RunRow:
        """Become the run's only coordinator; returns the run as it is."""
        with super().begin() as session:
            self._holder = runs.take_over(session, self._run)
            row = runs.found(session, self._run)
            if not row.population:
                row.population = session.scalar(select(func.count()).select_from(DeviceRow)) or 0
            session.flush()
            session.expunge(row)
            return row

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """One transaction of whoever holds the run. Raises RunTakenOver, with nothing stored."""
        with super().begin() as session:
            if self._holder is not None:
                runs.check_holder(session, self._run, self._holder)
            yield session

    def save(self, session: Session, checkpoint: Checkpoint, record: dict[str, Any]) -> None:
        super().save(session, checkpoint, record)
        if not record["released"]:
            return
        before = adapters.newest(session, self._run)
        parent = before.digest if before is not None else ""
        entries = session.scalar(select(func.count()).select_from(LedgerRow)) or 0
        vector = checkpoint.arrays["adapter"]
        adapters.keep(session, self._run, checkpoint.round, checkpoint.steps, vector, parent, entries)

    def agree(self, spec: AdapterSpec) -> None:
        """Write down which adapter the run learns."""
        with self.begin() as session:
            runs.found(session, self._run).spec = spec.to_bytes().decode()

    def settle(self, state: str, reason: str = "") -> None:
        """Leave the run as ``state``."""
        with self.begin() as session:
            runs.settle(session, self._run, self._holder or 0, state, reason)

    def pace(self, waiting: str) -> Pace:
        """What an operator wants of the run; whoever looks at it is told what it waits for."""
        with self.begin() as session:
            row = runs.found(session, self._run)
            row.reason, wanted = waiting, row.wanted
        return "pause" if wanted == "pause" else "stop" if wanted == "stop" else "run"


class DeployedFederation:
    """What a ServerApp of a deployment runs. Context manager; ``run`` returns once the run has ended or rests."""

    def __init__(self, directory: ServerDirectory, run: str) -> None:
        self._settings: DeploymentSettings = directory.settings
        self._key = SigningKey.load(directory.signing_key)
        self._clock, self._run = WallClock(_POLL_S), run
        self._store = HeldStore(directory.database_url, run)
        self._ledger = Ledger(self._key.sign, self._clock.now)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store.close()

    def run(self, grid: Grid) -> None:
        """Take the run over and hold its rounds. Raises RunTakenOver where another process takes it over meanwhile."""
        row = self._store.take_over()
        settings = RunSettings.of_text(row.settings)
        with self._store.begin() as session:
            broken = promise.broken_by(session, self._settings)
        if broken:
            self._store.settle("paused", broken)
            return
        agreed = AdapterSpec.from_bytes(row.spec.encode()) if row.spec else None
        federation = settings.federation
        joining = self._settings.joining
        enrolled, pace = row.population, self._store.pace
        roster = EnrolledRoster(grid, self._clock, self._store, joining, federation.cohort, enrolled, agreed, pace)
        try:
            spec = roster.gather()
        except FleetExhausted as exhausted:
            told = {"run": ("paused", str(exhausted)), "pause": ("paused", ""), "stop": ("stopped", STOPPED)}
            self._store.settle(*told[pace("")])
            return
        self._store.agree(spec)
        coordinator = self._coordinator(settings, spec, roster, grid)
        try:
            coordinator.run()
        except FleetExhausted as exhausted:
            self._store.settle("paused", str(exhausted))
            return
        if coordinator.resting:
            self._store.settle("paused", coordinator.stopped)
        else:
            self._store.settle("stopped" if coordinator.stopped else "finished", coordinator.stopped)

    def _coordinator(self, settings: RunSettings, spec: AdapterSpec, roster: EnrolledRoster, grid: Grid) -> Coordinator:
        federation, planned = settings.federation, self._settings.fleet.devices
        privacy = settings.privacy.model_copy(update={"delta": settings.privacy.delta_for(planned)})
        mechanism = mechanism_for(privacy, federation, max(planned, roster.population), spec.dimension)
        noise = SystemNoise()
        told = settings.model_dump(mode="json")
        job = Job(
            run=f"{self._run}-{self._first_key()[:8]}",
            spec=spec,
            training=settings.training,
            federation=federation,
            privacy=privacy,
            initial=initial_vector(spec),
            config_digest=digest(canonical({"settings": told, "spec": spec.digest})),
            seed=None,
        )
        begun = begun_for(job.run, job.config_digest, mechanism, spec.dimension, noise)
        event = mechanism.event(sampling_for(privacy, federation, planned))
        # what the server promised when its first run began: the same for every run
        policy = policy_for(self._settings.privacy, planned, event, federation.rounds)
        budget = Budget(policy, self._ledger, begun, noise, replay=False, closes=False)
        kind = BufferedCoordinator if federation.policy == "buffered" else Coordinator
        return kind(
            job,
            grid,
            self._clock,
            roster,
            mechanism,
            budget,
            noise,
            self._store,
            self._key,
            self._tell,
            self._store.pace,
        )

    def _first_key(self) -> str:
        """The key that the ledger was opened with: a run stays the same run when the server's key is rotated."""
        with self._store.begin() as session:
            payload = session.scalar(select(LedgerRow.payload).where(LedgerRow.position == 0))
        return self._key.public if payload is None else str(json.loads(payload)["body"]["public_key"])

    def _tell(self, record: RoundRecord, adapter: NDArray[np.float64]) -> None:
        open_roster = self._settings.privacy.roster == "open"
        who = {"completed": record.completed, "sampled": record.sampled} if open_roster else {}
        _log.info("round", run=self._run, round=record.round, released=record.released, epsilon=record.epsilon, **who)


def note_crash(directory: ServerDirectory, run: str, holder: int, reason: str) -> None:
    """Say of a run that its coordinator ended badly, unless another one has taken it over since."""
    with Store(directory.database_url, run) as store, store.begin() as session:
        row = runs.found(session, run)
        if row.holder == holder and row.state == "running":
            row.reason = reason
            audit.record(session, audit.SERVER, "run.crash", run, refused=reason)
