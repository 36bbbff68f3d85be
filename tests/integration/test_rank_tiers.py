"""Tiers of different adapter rank in one fleet: real ClientApps, one exact sum, and less to carry for small devices."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from tacit_clients.slm.adapters import AdaptedModel, build_spec, initial_vector
from tacit_clients.slm.models import NANO, load
from tacit_clients.training.local import evaluate, train
from tacit_privacy.contract import RECORD_ADAPTER, RECORD_TERMS, RECORD_UPDATE, AdapterSpec, LocalTraining, RoundTerms
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.mechanisms.gaussian import GaussianSum, clip_to_grid
from tacit_privacy.mechanisms.noise import SeededNoise
from tacit_privacy.randomness import stream
from tacit_server.charging import NoBudget
from tacit_server.config import FederationConfig, PrivacyConfig
from tacit_server.coordinator import Coordinator, Job
from tacit_server.store import Store
from tacit_simulations.clock import VirtualClock
from tacit_simulations.data.config import DataConfig
from tacit_simulations.devices import DeviceSetup, resident, run_device
from tacit_simulations.engines import RuntimeConfig, make_engine
from tacit_simulations.fleet.config import FleetConfig
from tacit_simulations.fleet.dispatch import Work
from tacit_simulations.fleet.emulator import Emulator
from tacit_simulations.fleet.roster import FleetRoster
from tacit_simulations.grid import Answer, Call, FleetGrid

RANK, COHORT, DEVICES = 4, 9, 30
TIERS = {"sbc": 1, "phone-mid": 2}  # laptops hold the whole adapter
FLEET = FleetConfig(
    devices=DEVICES,
    mix={"pi-5-8gb": 1.0, "tablet-mid": 1.0, "mini-pc-n150": 1.0},
    crash_rate=0.0,
    require_idle=False,
    require_charging=False,
    require_unmetered=False,
    min_battery=0.0,
)
KEY = SigningKey.simulated(3)


@dataclass
class Seen:
    """One device's part in a round, as it crossed the grid."""

    device: int
    terms: RoundTerms
    start: NDArray[np.float32]
    update: NDArray[np.int32]


@dataclass
class Run:
    spec: AdapterSpec
    roster: FleetRoster
    records: list[dict[str, Any]]
    adapters: list[NDArray[np.float64]] = field(default_factory=list)  # after every round
    seen: list[Seen] = field(default_factory=list)

    def of(self, number: int) -> list[Seen]:
        """Who is in the sum of a round."""
        accepted = set(self.records[number - 1]["accepted"])
        return [seen for seen in self.seen if seen.terms.round == number and seen.device in accepted]


def federate(folder: Path, tiers: dict[str, int], rounds: int = 2, noise: float = 0.0, clip: float = 0.5) -> Run:
    """A federation over the fleet with ``tiers``, private in form: one planned denominator, noise where asked for."""
    spec = the_spec()
    setup = DeviceSetup(spec, DataConfig(train_per_device=8, test_per_device=2), DEVICES, 1, KEY.public)
    emulator, clock = Emulator.of(1, FLEET, Work(64.0, 64.0, 1e6, 8.0, 1e6)), VirtualClock(FLEET.start)
    store, roster = Store(f"sqlite:///{folder / 'run.db'}"), FleetRoster(emulator, RANK, tiers)
    found = Run(spec, roster, [])
    job = Job(
        run="tiers",
        spec=spec,
        training=LocalTraining(optimizer="sgd", learning_rate=1.0, batch_size=8, max_steps=1),
        federation=FederationConfig(rounds=rounds, cohort=COHORT, deadline_s=3600.0, learning_rate=1.0),
        privacy=PrivacyConfig(participations=rounds),
        initial=initial_vector(spec),
        config_digest="0" * 64,
        seed=5,
    )

    def note(call: Call) -> Answer:
        answer = run_device(setup, call)
        content = call.message.content
        payload = content.config_records[RECORD_TERMS]["payload"]
        assert isinstance(payload, bytes)
        found.seen.append(
            Seen(
                call.device,
                RoundTerms.from_bytes(payload),
                array(content.array_records[RECORD_ADAPTER]),
                array(answer.reply.content.array_records[RECORD_UPDATE]),
            )
        )
        return answer

    with make_engine(RuntimeConfig(engine="inline")) as engine:
        coordinator = Coordinator(
            job,
            FleetGrid(emulator, clock, engine, note),
            clock,
            roster,
            GaussianSum(clip, noise),
            NoBudget(),
            SeededNoise(5),
            store,
            KEY,
            lambda record, adapter: found.adapters.append(adapter.copy()),
        )
        coordinator.run()
    found.records = store.rounds()
    store.close()
    return found


def array(record: ArrayRecord) -> NDArray[Any]:
    (value,) = record.to_numpy_ndarrays()
    return np.asarray(value)


def the_spec() -> AdapterSpec:
    return build_spec(load(NANO), "ffa", RANK, 8.0, 7, ("o_proj", "down_proj"))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    yield federate(tmp_path_factory.mktemp("tiers"), TIERS)
    resident.cache_clear()


def test_every_tier_takes_part_at_its_own_rank(mixed: Run) -> None:
    assert {seen.terms.rank for seen in mixed.seen} == {1, 2, RANK}
    for record in mixed.records:
        assert record["released"] and COHORT - 2 <= record["completed"] <= COHORT
    for seen in mixed.seen:
        tier = mixed.roster.tier(seen.device)
        assert seen.terms.rank == TIERS.get(tier, RANK)
        assert seen.update.shape == seen.start.shape == (mixed.spec.prefix(seen.terms.rank),)
        assert seen.terms.spec == mixed.spec  # the scale stays alpha / full rank, for every tier
        assert np.linalg.norm(seen.update.astype(np.float64)) > 0


def test_the_sum_is_exact(mixed: Run) -> None:
    """Each round moves the adapter by the sum of zero-padded updates over the planned cohort, to the last bit."""
    before = np.zeros(mixed.spec.dimension)
    for number, after in enumerate(mixed.adapters, 1):
        total = np.zeros(mixed.spec.dimension, dtype=np.int64)
        for seen in mixed.of(number):
            total += np.pad(seen.update.astype(np.int64), (0, mixed.spec.dimension - len(seen.update)))
        expected = before + total * (0.5 / seen.terms.levels / COHORT)
        np.testing.assert_array_equal(after, expected)
        before = after


def test_columns_that_few_tiers_hold_are_divided_by_the_same_constant(mixed: Run) -> None:
    """Dividing by those who sent a column would tell who was there, and is not done."""
    (last,) = {len(seen.update) for seen in mixed.of(1) if seen.terms.rank == RANK}
    full = [seen.update for seen in mixed.of(1) if seen.terms.rank == RANK]
    assert 0 < len(full) < COHORT and last == mixed.spec.dimension
    beyond = slice(mixed.spec.prefix(2), None)
    expected = sum(update[beyond].astype(np.int64) for update in full) * (0.5 / mixed.seen[0].terms.levels / COHORT)
    np.testing.assert_allclose(mixed.adapters[0][beyond], expected, rtol=0, atol=1e-15)
    assert np.abs(expected).max() > 0


def test_the_second_round_starts_from_what_the_first_one_learnt(mixed: Run) -> None:
    learnt = mixed.adapters[0].astype(np.float32)
    for seen in mixed.seen:
        expected = learnt if seen.terms.round == 2 else np.zeros_like(learnt)
        np.testing.assert_array_equal(seen.start, expected[: len(seen.start)])


def test_smaller_tiers_carry_less(mixed: Run) -> None:
    per_rank = 4 * mixed.spec.width
    for number, record in enumerate(mixed.records, 1):
        ranks = [seen.terms.rank for seen in mixed.of(number)]
        assert record["bytes_up"] == sum(ranks) * per_rank
        assert record["bytes_up"] <= record["bytes_down"] < COHORT * RANK * per_rank  # what lost devices were sent, too
    sizes = {seen.terms.rank: seen.update.nbytes for seen in mixed.seen}
    assert sizes[1] * RANK == sizes[2] * 2 == sizes[RANK]


def test_a_tier_learns_what_its_part_of_the_model_can(mixed: Run) -> None:
    """A device's update is that of training the adapter cut down to its rank: same frozen rows, same scale."""
    setup = DeviceSetup(mixed.spec, DataConfig(train_per_device=8, test_per_device=2), DEVICES, 1, KEY.public)
    seen = next(seen for seen in mixed.of(1) if seen.terms.rank == 1)
    cut = mixed.spec.model_copy(update={"rank": 1, "alpha": mixed.spec.alpha / RANK})
    resident.cache_clear()
    source = setup.source()
    alone = AdaptedModel(load(NANO), cut)
    rng = stream(1, "device", seen.device, "round", 1)
    data = source.device(seen.device).train
    delta = train(alone, data, source.task, initial_vector(cut), 1, seen.terms.training, rng).delta
    np.testing.assert_array_equal(seen.update, clip_to_grid(delta, 0.5, seen.terms.levels))


def test_every_column_is_noised_even_where_nobody_sent_it(tmp_path: Path) -> None:
    tiers = {"sbc": 1, "phone-mid": 1, "laptop": 1}
    quiet, loud = (federate(folder(tmp_path, str(z)), tiers, rounds=1, noise=z) for z in (0.0, 1.0))
    edge = quiet.spec.prefix(1)
    assert {seen.terms.rank for seen in loud.seen} == {1}
    assert not quiet.adapters[0][edge:].any()
    noise = loud.adapters[0] - quiet.adapters[0]
    for part in (noise[:edge], noise[edge:]):
        assert np.std(part) == pytest.approx(0.5 / COHORT, rel=0.15)
    assert loud.adapters[0][edge:].all()  # every single one


def folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


def test_a_fleet_of_tiers_learns(mixed: Run, tmp_path: Path) -> None:
    """The shared loss falls, for a model of full rank and for the part of it that the smallest tier holds."""
    run = federate(tmp_path, TIERS, rounds=2, clip=50.0)
    setup = DeviceSetup(run.spec, DataConfig(train_per_device=8, test_per_device=2), DEVICES, 1, KEY.public)
    here = resident(setup)
    examples = [e for device in range(DEVICES) for e in here.source.device(device).test]

    def loss(rank: int, vector: NDArray[Any]) -> float:
        here.adapted.load_vector(vector[: run.spec.prefix(rank)].astype(np.float32), rank)
        return evaluate(here.adapted, examples, here.source.task, 48).loss

    for rank in (1, RANK):
        assert loss(rank, run.adapters[-1]) < 0.95 * loss(rank, np.zeros(run.spec.dimension))
