"""The timing-only rounds are the rounds of the coordinator over the emulated grid: same times and counts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from replies import update_for

from tacit_privacy.contract import (
    AdapterSpec,
    LinearSpec,
    LocalTraining,
)
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.mechanisms.gaussian import GaussianSum
from tacit_privacy.mechanisms.noise import SeededNoise
from tacit_server.buffered import BufferedCoordinator
from tacit_server.charging import NoBudget
from tacit_server.config import FederationConfig, PrivacyConfig
from tacit_server.coordinator import Coordinator, Job
from tacit_server.rounds import RoundRecord
from tacit_server.store import Store
from tacit_simulations.clock import VirtualClock
from tacit_simulations.engines.config import RuntimeConfig
from tacit_simulations.engines.inline import InlineEngine
from tacit_simulations.fleet.config import FleetConfig
from tacit_simulations.fleet.dispatch import Work
from tacit_simulations.fleet.emulator import Emulator
from tacit_simulations.fleet.roster import FleetRoster
from tacit_simulations.grid import Answer, Call, FleetGrid
from tacit_simulations.timing import TimingPlan, TimingSimulation

SEED = 4
SPEC = AdapterSpec(
    model="none", method="ffa", rank=1, alpha=1.0, seed=1, linear=(LinearSpec(name="q", rows=4, columns=4),)
)


def idle(call: Call) -> Answer:
    """A device that learns nothing, correctly."""
    update = update_for(call.message, call.device, np.zeros(4, dtype=np.int32), SEED)
    return Answer(Message(update, reply_to=call.message), call.state)


def emulator_of(**settings: Any) -> Emulator:
    config = FleetConfig.model_validate({"devices": 300, "mix": "mixed", **settings})
    return Emulator.of(SEED, config, Work.of_model(1.5e6, SPEC.dimension, 32, 400, config))


def coordinated(federation: FederationConfig, privacy: PrivacyConfig, folder: Path, **fleet: Any) -> list[RoundRecord]:
    emulator = emulator_of(**fleet)
    clock, records = VirtualClock(emulator.config.start), []
    grid = FleetGrid(emulator, clock, InlineEngine(RuntimeConfig()), idle)
    initial = np.zeros(SPEC.dimension, dtype=np.float32)
    job = Job("run", SPEC, LocalTraining(), federation, privacy, initial, "0" * 64, SEED)
    coordinator = BufferedCoordinator if federation.policy == "buffered" else Coordinator
    coordinator(
        job,
        grid,
        clock,
        FleetRoster(emulator, SPEC.rank),
        GaussianSum(1.0, 0.0),
        NoBudget(),
        SeededNoise.of_server(SEED),
        Store(f"sqlite:///{folder}/run.db"),
        SigningKey.simulated(SEED),
        lambda record, adapter: records.append(record),
    ).run()
    return records


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "over-selected": ({"cohort": 20, "over_selection": 1.5, "rounds": 8}, {"participations": 2}, {}),
    "by deadline": ({"cohort": 30, "deadline_s": 400.0, "rounds": 6}, {"participations": 8}, {}),
    # a fleet of one time zone by day: the coordinator waits for devices, several times
    "scarce": (
        {"cohort": 40, "over_selection": 1.2, "rounds": 6, "minimum_share": 0.9},
        {"participations": 1},
        {"mix": "phones", "time_zones": {0.0: 1.0}, "start_hour": 10.0},
    ),
    "buffered": ({"cohort": 15, "policy": "buffered", "deadline_s": 500.0, "rounds": 10}, {"participations": 3}, {}),
    "buffered, scarce": (
        {"cohort": 20, "policy": "buffered", "concurrency": 70, "deadline_s": 400.0, "rounds": 8},
        {"participations": 1},
        {"mix": "phones"},
    ),
    "resting": ({"cohort": 20, "over_selection": 1.3, "rounds": 9}, {"participations": 4, "separation": 4}, {}),
    "buffered, resting": (
        {"cohort": 10, "policy": "buffered", "deadline_s": 500.0, "rounds": 12},
        {"participations": 6, "separation": 3},
        {"devices": 120},
    ),
    "poisson, resting": (
        {"cohort": 60, "rounds": 8},
        {"sampling": "poisson", "participations": 8, "separation": 3},
        {"mix": "phones"},
    ),
    "poisson": ({"cohort": 25, "rounds": 6}, {"sampling": "poisson", "participations": 1}, {"mix": "phones"}),
    "poisson, capped": (
        {"cohort": 25, "rounds": 6},
        {"sampling": "poisson", "cohort_cap": 26, "participations": 6},
        {},
    ),
    "uniform": ({"cohort": 40, "rounds": 6}, {"sampling": "uniform", "participations": 2}, {"mix": "phones"}),
    # phones by day, in use and unplugged: coins fall for devices of which hardly one can be asked
    "poisson, nobody there": (
        {"cohort": 3, "rounds": 9, "deadline_s": 700.0},
        {"sampling": "poisson", "participations": 2},
        {"mix": "phones", "time_zones": {0.0: 1.0}, "start_hour": 12.0},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_equal_rounds(name: str, tmp_path: Path) -> None:
    rounds, guarantee, fleet = CASES[name]
    federation = FederationConfig.model_validate(rounds)
    privacy = PrivacyConfig.model_validate(guarantee | {"enabled": False})
    trained = coordinated(federation, privacy, tmp_path, **fleet)
    timed = TimingSimulation(emulator_of(**fleet), TimingPlan.of(federation, privacy), SEED).run()
    assert len(trained) == len(timed) == federation.rounds
    for record, timing in zip(trained, timed, strict=True):
        assert (record.sampled, record.completed) == (timing.sampled, timing.completed)
        # the difference of two clock readings is rounded, the readings are equal
        assert record.finished == pytest.approx(timing.virtual_start + timing.virtual_seconds, abs=1e-9)
        assert record.started == timing.virtual_start
        assert (record.staleness, record.staleness_max) == (timing.staleness, timing.staleness_max)
        assert (record.staleness is not None) == (federation.policy == "buffered")
        for reason in ("exhausted", "resting", "unavailable"):
            assert record.dropped.get(reason, 0) == timing.dropped.get(reason, 0)
    assert any(timing.dropped for timing in timed)


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith(("poisson", "uniform"))])
def test_a_round_of_a_secret_cohort_lasts_until_its_deadline_whoever_is_there(name: str, tmp_path: Path) -> None:
    """An empty round that took no time would let all rounds pass in one instant; a short one would tell who was in."""
    rounds, guarantee, fleet = CASES[name]
    federation = FederationConfig.model_validate(rounds)
    privacy = PrivacyConfig.model_validate(guarantee | {"enabled": False})
    trained = coordinated(federation, privacy, tmp_path, **fleet)
    assert {record.finished - record.started for record in trained} == {federation.deadline_s}
    assert any(not record.completed for record in trained) == (name == "poisson, nobody there")
    timed = TimingSimulation(emulator_of(**fleet), TimingPlan.of(federation, privacy), SEED).run()
    assert {timing.virtual_seconds for timing in timed} == {federation.deadline_s}
