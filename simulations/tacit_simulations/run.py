"""The road of ``tacit simulate``: prepare, run the private federation and what is set beside it, write the folder."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Context, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from tacit_clients.slm.adapters import build_spec, initial_vector
from tacit_clients.slm.models import LanguageModel, load
from tacit_privacy.accounting.budget import Budget
from tacit_privacy.accounting.policy import BudgetPolicy
from tacit_privacy.adapter_folder import save_adapter
from tacit_privacy.audit.canaries import claim_of
from tacit_privacy.contract import LEVELS, AdapterSpec
from tacit_privacy.errors import BadInput
from tacit_privacy.ledger.chain import Ledger
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.ledger.transfer import export
from tacit_privacy.mechanisms.gaussian import GaussianSum
from tacit_privacy.mechanisms.joint import JointSum
from tacit_privacy.mechanisms.noise import SeededNoise
from tacit_server.app import make_server_app, outcome_of
from tacit_server.buffered import BufferedCoordinator
from tacit_server.charging import NoBudget
from tacit_server.coordinator import Coordinator, Job
from tacit_server.planning import begun_for, mechanism_for, policy_for, sampling_for
from tacit_server.rounds import RoundRecord
from tacit_server.store import Store
from tacit_simulations.canaries import Canaries, CanaryWatch
from tacit_simulations.canaries import lines as canary_lines
from tacit_simulations.clock import VirtualClock
from tacit_simulations.data.sources import build_source
from tacit_simulations.devices import DeviceSetup, run_device
from tacit_simulations.engines import Engine, make_engine
from tacit_simulations.evaluation.example_level import example_level
from tacit_simulations.evaluation.study import Study, check_source
from tacit_simulations.fleet.catalogue import TIERS
from tacit_simulations.fleet.dispatch import Work
from tacit_simulations.fleet.emulator import Dispatch, Emulator
from tacit_simulations.fleet.figures import costs, turnout
from tacit_simulations.fleet.outcomes import Outcome
from tacit_simulations.fleet.population import Population
from tacit_simulations.fleet.roster import FleetRoster
from tacit_simulations.grid import RUN_ID, SERVER_NODE, FleetGrid
from tacit_simulations.outputs import Journal, OutputFolder, finite, to_json, write_whole
from tacit_simulations.progress import Watcher
from tacit_simulations.result import assemble, compare
from tacit_simulations.scenario import Scenario
from tacit_simulations.workload import work_of

_OPEN = JointSum(1.0, 0.0)  # stands where nothing is private
_UNCLIPPED = 64.0  # the arm without privacy clips this many times higher: in effect never


@dataclass
class Trained:
    """What an arm ends with."""

    vector: NDArray[np.float32]
    rounds: list[dict[str, Any]]
    journal: Journal
    stopped: str
    trainings: int  # of this process: a resumed run goes on with what others trained
    seconds: float


def simulate(scenario: Scenario, out: Path, resume: bool, watch: Watcher) -> dict[str, Any]:
    """Run a scenario and leave its folder; returns the result. Raises BadInput, with nothing written.

    The result depends on the scenario alone, never on engine, workers or interruptions, but for its wall times.
    """
    if scenario.mode == "timing":
        from tacit_simulations.timing_run import simulate_timing

        return simulate_timing(scenario, out, resume, watch)
    began = time.monotonic()
    prepared = Prepared.of(scenario)
    folder = OutputFolder(out)
    with folder.claimed(scenario.digest, resume), make_engine(scenario.runtime) as engine:
        arm = prepared.arm(engine, folder, private=scenario.privacy.enabled, watch=watch)
        plain = None
        scored = scenario.evaluation.devices > 0
        if scored and scenario.privacy.enabled and "federated" in scenario.evaluation.compare:
            plain = prepared.arm(engine, folder, private=False, watch=watch)
        evaluation = compare(prepared.study(engine), scenario, arm, plain, prepared.emulator().population, watch)
    result = assemble(scenario, prepared, arm, evaluation, folder)
    seconds = arm.seconds + (plain.seconds if plain else 0.0)
    trained = arm.trainings + (plain.trainings if plain else 0)
    result["wall_seconds"] = round(time.monotonic() - began, 3)
    result["client_trainings_per_second"] = round(trained / seconds, 3) if seconds else None
    save_adapter(out / "adapter", prepared.spec, arm.vector)
    _write_report(out, result)
    return result


def _write_report(out: Path, result: dict[str, Any]) -> None:
    from tacit_simulations.report import report

    write_whole(out / "report.html", report(result))
    write_whole(out / "result.json", to_json(result))


@dataclass
class Prepared:
    """A scenario with everything derived from it, checked before anything is written."""

    scenario: Scenario
    model: LanguageModel
    spec: AdapterSpec
    devices: int
    work: Work
    private: JointSum
    delta: float
    key: SigningKey
    config_digest: str
    left_out: set[int] = field(default_factory=set)  # panel devices that hung or crashed twice
    # for studies: sees every round's released adapter, and number 0 the untouched one
    after_round: Callable[[int, NDArray[np.float32]], None] | None = None

    @classmethod
    def of(cls, scenario: Scenario) -> "Prepared":
        """Load the model, count the data, calibrate the noise, and refuse what cannot work."""
        source = build_source(scenario.data, scenario.seed, scenario.fleet.devices)
        devices = source.devices
        if scenario.privacy.canaries > devices:
            raise BadInput(
                f"privacy.canaries is {scenario.privacy.canaries} but the data has {devices} devices; ask for fewer"
            )
        check_source(source, scenario.evaluation, Canaries(scenario.seed, devices, scenario.privacy.canaries))
        if scenario.federation.cohort > devices:
            raise BadInput(f"federation.cohort is {scenario.federation.cohort} but the data has {devices} devices")
        model, chosen = load(scenario.model.name), scenario.adapter
        spec = build_spec(
            model, chosen.method, chosen.rank, chosen.alpha, chosen.seed, chosen.targets, len(source.labels)
        )
        population = Population.of(scenario.seed, scenario.fleet.model_copy(update={"devices": devices}))
        examples = np.array([len(source.device(i).train) for i in range(devices)])
        work = work_of(scenario, model, spec, population, examples)
        delta = scenario.privacy.delta_for(devices)
        private = _OPEN
        if scenario.privacy.enabled:
            private = mechanism_for(scenario.privacy, scenario.federation, devices, spec.dimension)
        key = SigningKey.simulated(scenario.seed)
        prepared = cls(scenario, model, spec, devices, work, private, delta, key, scenario.digest)
        prepared.emulator()  # refuses a model that no device of the fleet can hold
        return prepared

    def budget(self, ledger: Ledger) -> Budget:
        """The run's budget; seeded noise, so an open reservation is replayed."""
        mechanism, noise = self.mechanism(private=True), self.noise()
        begun = begun_for(self.run_name(private=True), self.config_digest, mechanism, self.spec.dimension, noise)
        return Budget(self.policy(), ledger, begun, noise, replay=True)

    def emulator(self, private: bool = True) -> Emulator:
        """The fleet. Without privacy an update travels whole: it is as large on the way up as the adapter was down."""
        fleet = self.scenario.fleet.model_copy(update={"devices": self.devices})
        work = self.work if private else replace(self.work, bytes_up=self.work.bytes_down)
        return Emulator.of(self.scenario.seed, fleet, work)

    def setup(self, canaries: bool = True) -> DeviceSetup:
        """Whatever devices are. Canaries belong to the private run alone: without a guarantee they measure nothing."""
        scenario, count = self.scenario, self.scenario.privacy.canaries if canaries else 0
        return DeviceSetup(self.spec, scenario.data, self.devices, scenario.seed, self.key.public, count)

    def study(self, engine: Engine, canaries: bool = True) -> Study:
        return Study(self.scenario, self.setup(canaries), engine, self.left_out)

    @property
    def noise_multiplier(self) -> float:
        return self.private.noise_multiplier

    def mechanism(self, private: bool) -> GaussianSum:
        if private:
            return self.private
        return GaussianSum(self.scenario.privacy.clip_norm * _UNCLIPPED, 0.0, LEVELS * int(_UNCLIPPED))

    def noise(self) -> SeededNoise:
        return SeededNoise.of_server(self.scenario.seed)

    def policy(self) -> BudgetPolicy:
        privacy, federation = self.scenario.privacy, self.scenario.federation
        event = self.mechanism(private=True).event(sampling_for(privacy, federation, self.devices))
        return policy_for(privacy, self.devices, event, federation.rounds)

    def run_name(self, private: bool) -> str:
        return f"{self.scenario.name}-{self.scenario.seed}-{'private' if private else 'plain'}"

    def arm(self, engine: Engine, folder: OutputFolder, private: bool, watch: Watcher) -> Trained:
        """One federation over the emulated fleet, resumed from its checkpoint where it has one."""
        name = "private" if private else "plain"
        journal = Journal(folder.state / f"{name}.jsonl")
        with Store(f"sqlite:///{folder.state / name}.db") as store:
            return self._federate(store, journal, engine, folder, private, watch)

    def _federate(
        self, store: Store, journal: Journal, engine: Engine, folder: OutputFolder, private: bool, watch: Watcher
    ) -> Trained:
        began = time.monotonic()
        emulator, clock = self.emulator(private), VirtualClock(self.scenario.fleet.start)
        fleet = FleetGrid(emulator, clock, engine, partial(run_device, self.setup(canaries=private)))
        trained: list[int] = []

        def note(group: str, dispatch: Dispatch) -> None:
            trained.append(int(dispatch.completes.sum()))
            _note_dispatch(journal, emulator, group, dispatch)

        fleet.on_dispatch = note
        ledger = Ledger(self.key.sign, clock.now)
        budget = self.budget(ledger) if private else None
        roster = FleetRoster(emulator, self.spec.rank, self.scenario.adapter.tiers)
        canaries = self._canary_watch(store, journal, roster) if private else None
        study = self.study(engine, canaries=private)
        buffered = self.scenario.federation.policy == "buffered"

        def coordinator_of(grid: Grid, context: Context) -> Coordinator:
            return (BufferedCoordinator if buffered else Coordinator)(
                self._job(private),
                grid,
                clock,
                roster,
                self.mechanism(private),
                budget or NoBudget(),
                self.noise(),
                store,
                self.key,
                partial(self._observe, study, journal, watch, canaries),
            )

        watch.stage("Private federation" if private else "Federation without privacy", self.scenario.federation.rounds)
        self._score_untouched(study, journal)
        context = Context(run_id=RUN_ID, node_id=SERVER_NODE, node_config={}, state=RecordDict(), run_config={})
        make_server_app(coordinator_of)(fleet, context)
        outcome = outcome_of(context)
        second = self.scenario.training.example_dp
        if second is not None and private == self.scenario.privacy.enabled:
            journal.put("example_level", example_level(fleet.states.values(), second))
        if canaries:
            self._tell_canaries(canaries, outcome.adapter, journal, folder)
        with store.begin() as session:
            if budget:
                _export(budget, session, folder, journal)
        seconds = time.monotonic() - began
        return Trained(outcome.adapter, store.rounds(), journal, outcome.stopped, sum(trained), seconds)

    def _job(self, private: bool) -> Job:
        scenario = self.scenario
        return Job(
            run=self.run_name(private),
            spec=self.spec,
            training=scenario.training,
            federation=scenario.federation,
            privacy=scenario.privacy if private else scenario.privacy.model_copy(update={"enabled": False}),
            initial=initial_vector(self.spec),
            config_digest=self.config_digest,
            seed=scenario.seed,
        )

    def _score_untouched(self, study: Study, journal: Journal) -> None:
        if journal.get("score/0") is None and self.scenario.evaluation.devices:
            _note_score(journal, 0, study, initial_vector(self.spec))

    def _canary_watch(self, store: Store, journal: Journal, roster: FleetRoster) -> CanaryWatch | None:
        """Who scores the canaries, from where the run starts or goes on; None where there is none."""
        canaries = Canaries(self.scenario.seed, self.devices, self.scenario.privacy.canaries)
        if not canaries.count:
            return None
        newest = store.newest()
        adapter = newest.arrays["adapter"] if newest else initial_vector(self.spec).astype(np.float64)
        return CanaryWatch(canaries, self.spec, roster.rank, journal, adapter)

    def _tell_canaries(
        self, canaries: CanaryWatch, adapter: NDArray[np.float32], journal: Journal, folder: OutputFolder
    ) -> None:
        privacy = self.scenario.privacy
        moved = adapter.astype(np.float64) - initial_vector(self.spec)
        rows = canaries.finish(moved, claim_of(privacy.sampling, privacy.roster))
        journal.put("canaries", rows)
        write_whole(folder.path / "canaries.jsonl", canary_lines(rows))

    def _observe(
        self,
        study: Study,
        journal: Journal,
        watch: Watcher,
        canaries: CanaryWatch | None,
        record: RoundRecord,
        adapter: NDArray[np.float64],
    ) -> None:
        if canaries:
            canaries.see(record, adapter)
        last = record.round == self.scenario.federation.rounds
        if self.scenario.evaluation.devices and (last or record.round % self.scenario.evaluation.every == 0):
            _note_score(journal, record.round, study, adapter.astype(np.float32))
        if self.after_round is not None:
            self.after_round(record.round, adapter.astype(np.float32))
        metric = (journal.get(f"score/{record.round}") or {}).get("metric")
        watch.step("" if metric is None else f"metric {metric:.3f}")


def _note_score(journal: Journal, number: int, study: Study, vector: NDArray[np.float32]) -> None:
    score = study.curve_point(vector)
    journal.put(f"score/{number}", {"round": number, "loss": finite(score.loss), "metric": finite(score.metric)})


def _note_dispatch(journal: Journal, emulator: Emulator, group: str, dispatch: Dispatch) -> None:
    tiers = emulator.population.tiers(dispatch.device)
    lost = {int(d): Outcome(int(code)).word for d, code in zip(dispatch.device, dispatch.outcome, strict=True) if code}
    row = turnout(dispatch.outcome, tiers) | costs(dispatch)
    row |= {"lost": {str(d): word for d, word in lost.items()}}
    row["asked"] = {str(int(d)): TIERS[int(tier)] for d, tier in zip(dispatch.device, tiers, strict=True)}
    journal.put(f"dispatch/{group}", row)


def _export(budget: Budget, session: Session, folder: OutputFolder, journal: Journal) -> None:
    export(session, folder.path, receipts=not budget.policy.roster_sealed)
    spent = budget.spent(session)
    bounds = [bound.as_json() for bound in budget.listed(session)]
    journal.put("privacy", {"epsilon": spent.epsilon, "assumption": spent.assumption, "bounds": bounds})
    journal.put("ledger_head", budget.head(session)[0])
