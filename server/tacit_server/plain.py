"""A federation under Flower's own runtimes (``flwr run``): everything it needs from Flower's configuration.

The server's settings are tables of the app's configuration (``context.run_config``): ``federation.*``, ``privacy.*``
and ``training.*`` as in a scenario, ``joining.*``, and ``seed``, ``out``, ``signing-key``. The devices' settings stand
beside them: ``tacit_clients.plain`` reads those, and the server only knows their names.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from flwr.app import Context
from flwr.serverapp import Grid
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError, model_validator

from tacit_privacy.accounting.budget import Budget
from tacit_privacy.adapter_folder import save_adapter
from tacit_privacy.adapters import initial_vector
from tacit_privacy.contract import AdapterSpec, LocalTraining, canonical, digest
from tacit_privacy.errors import BadInput
from tacit_privacy.files import write_whole
from tacit_privacy.ledger.chain import Ledger
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.ledger.transfer import export
from tacit_privacy.mechanisms.noise import SeededNoise, SystemNoise
from tacit_privacy.wording import sentence
from tacit_server.buffered import BufferedCoordinator
from tacit_server.clock import WallClock
from tacit_server.config import FederationConfig, PrivacyConfig, check_together
from tacit_server.coordinator import Coordinator, Job
from tacit_server.grid_roster import GridRoster, JoiningConfig
from tacit_server.planning import begun_for, mechanism_for, policy_for, sampling_for
from tacit_server.rounds import RoundRecord
from tacit_server.sealing import told
from tacit_server.store import Store

DEVICE_KEYS = frozenset(
    {"model", "data", "data-settings", "devices"}
    | {"adapter-method", "adapter-rank", "adapter-alpha", "adapter-seed", "adapter-targets"}
)
_log = logging.getLogger("flwr")  # what Flower's runtimes show and stream
_NO_SEED = -1


class PlainSettings(BaseModel, frozen=True, extra="forbid"):
    """The server's part of the app's configuration."""

    seed: int = Field(default=_NO_SEED, ge=_NO_SEED, description="0 or more: a simulation, which protects nobody")
    out: str = Field(default="", description="folder of the run; the same one again goes on with it")
    signing_key: str = Field(default="", alias="signing-key", description="file of the server's key; default: its own")
    joining: JoiningConfig = JoiningConfig()
    federation: FederationConfig = FederationConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    training: LocalTraining = LocalTraining()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.privacy.enabled:
            raise ValueError("privacy.enabled = false belongs to comparisons in tacit simulate; leave it out")
        if self.privacy.canaries:
            raise ValueError("privacy.canaries belong to tacit simulate: a deployed device sends what it learnt")
        check_together(self.federation, self.privacy)
        return self

    @classmethod
    def of(cls, run_config: Mapping[str, Any]) -> Self:
        """From Flower's flat keys (``federation.rounds``). Raises BadInput, one sentence, on what it does not know."""
        tables: dict[str, Any] = {}
        for key, value in run_config.items():
            if key not in DEVICE_KEYS:
                _put(tables, key, value)
        try:
            return cls.model_validate(tables)
        except ValidationError as error:
            raise BadInput(f"the app's configuration: {sentence(error, cls)}") from error

    @property
    def simulated(self) -> bool:
        return self.seed != _NO_SEED


def _put(tables: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        tables = tables.setdefault(part, {})
        if not isinstance(tables, dict):
            raise BadInput(f"the app's configuration: {key} needs a table {part}, which is a value; remove one of them")
    tables[last] = value


class PlainFederation:
    """One run and its folder: ``run.db`` while it lasts; ledger, public key and adapter for whoever comes after."""

    def __init__(self, settings: PlainSettings, folder: Path, name: str) -> None:
        self._settings, self._folder, self._name = settings, folder, name
        self._clock = WallClock()
        self._key = self._signing_key()
        self._store = Store(f"sqlite:///{folder / 'run.db'}")
        self._ledger = Ledger(self._key.sign, self._clock.now)
        self._spec: AdapterSpec | None = None

    @classmethod
    def of(cls, context: Context) -> Self:
        """Raises BadInput before anything is written when the configuration cannot be read."""
        settings = PlainSettings.of(context.run_config)
        folder = Path(settings.out or f"runs/flower-{context.run_id}").absolute()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"cannot write to {folder}: {error.strerror}; choose another out") from error
        return cls(settings, folder, folder.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._store.close()

    def coordinator(self, grid: Grid, context: Context) -> Coordinator:
        """Gather the fleet and plan its budget.

        Raises FleetExhausted or BadInput as ``GridRoster.gather`` does, BadInput when the plan passes epsilon.
        """
        settings = self._settings
        federation, privacy = settings.federation, settings.privacy
        roster = GridRoster(grid, self._clock, self._store, settings.joining, federation.cohort)
        self._spec = roster.gather()
        mechanism = mechanism_for(privacy, federation, roster.population, self._spec.dimension)
        noise = SeededNoise.of_server(settings.seed) if settings.simulated else SystemNoise()
        event = mechanism.event(sampling_for(privacy, federation, roster.population))
        policy = policy_for(privacy, roster.population, event, federation.rounds)
        _log.info("Tacit: %s noise, multiplier %.4g, in %s", noise.name, mechanism.noise_multiplier, self._folder)
        kind = BufferedCoordinator if federation.policy == "buffered" else Coordinator
        job = self._job(self._spec)
        begun = begun_for(job.run, job.config_digest, mechanism, self._spec.dimension, noise)
        budget = Budget(policy, self._ledger, begun, noise, replay=settings.simulated)
        store, key = self._store, self._key
        return kind(job, grid, self._clock, roster, mechanism, budget, noise, store, key, self._tell)

    def export(self, adapter: NDArray[np.float32]) -> None:
        """Leave ``ledger.jsonl``, ``ledger.pub``, ``rounds.jsonl`` and ``adapter/``, and ``receipts.jsonl`` where the
        roster is open; ``adapter`` is (dimension,).
        """
        with self._store.begin() as session:
            export(session, self._folder, receipts=self._settings.privacy.roster == "open")
        sealed = self._settings.privacy.roster == "sealed"
        rounds = [canonical(told(record, sealed=sealed)).decode() for record in self._store.rounds()]
        write_whole(self._folder / "rounds.jsonl", "".join(line + "\n" for line in rounds))
        if self._spec is not None:
            save_adapter(self._folder / "adapter", self._spec, adapter)

    def _tell(self, record: RoundRecord, adapter: NDArray[np.float64]) -> None:
        said = f"epsilon {record.epsilon:.4g}" if record.epsilon is not None else "nothing released"
        who = ""
        if self._settings.privacy.roster == "open":
            who = f"{record.completed} of {record.sampled} updates, "
        _log.info("Tacit: round %s, %s%s", record.round, who, said)

    def _job(self, spec: AdapterSpec) -> Job:
        settings = self._settings
        learnt = settings.model_dump(mode="json", exclude={"out", "signing_key", "joining"})
        return Job(
            run=f"{self._name}-{self._key.public[:8]}",
            spec=spec,
            training=settings.training,
            federation=settings.federation,
            privacy=settings.privacy,
            initial=initial_vector(spec),
            config_digest=digest(canonical({"settings": learnt, "spec": spec.digest})),
            seed=settings.seed if settings.simulated else None,
        )

    def _signing_key(self) -> SigningKey:
        if self._settings.signing_key:
            return SigningKey.load(Path(self._settings.signing_key))
        if self._settings.simulated:
            return SigningKey.simulated(self._settings.seed)
        own = self._folder / "server.key"
        if not own.exists():
            SigningKey.generate().save(own)
        return SigningKey.load(own)
