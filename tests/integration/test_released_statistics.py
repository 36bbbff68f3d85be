"""Statistics through the real coordinator: the clip converges from both sides, and figures are released with noise."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from numpy.typing import NDArray
from replies import terms_of, update_for
from tiny import TINY

from tacit_privacy.contract import AdapterSpec, LinearSpec, LocalTraining, RoundTerms
from tacit_privacy.errors import BadInput
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.ledger.verify import verify
from tacit_privacy.mechanisms.gaussian import clip_to_grid
from tacit_privacy.mechanisms.joint import norm, to_slot
from tacit_privacy.mechanisms.noise import SeededNoise
from tacit_server.charging import NoBudget
from tacit_server.config import FederationConfig, PrivacyConfig
from tacit_server.coordinator import Coordinator, Job
from tacit_server.planning import mechanism_for
from tacit_server.store import Store
from tacit_simulations.clock import VirtualClock
from tacit_simulations.engines import RuntimeConfig, make_engine
from tacit_simulations.fleet.config import FleetConfig
from tacit_simulations.fleet.dispatch import Work
from tacit_simulations.fleet.emulator import Emulator
from tacit_simulations.fleet.roster import FleetRoster
from tacit_simulations.grid import Answer, Call, FleetGrid
from tacit_simulations.progress import Silent
from tacit_simulations.run import simulate
from tacit_simulations.scenario import load_scenario

SPEC = AdapterSpec(model="m", method="ffa", rank=2, alpha=2, seed=1, linear=(LinearSpec(name="w", rows=8, columns=4),))
DEVICES = 120
FLEET = FleetConfig(
    devices=DEVICES, mix={"mini-pc-n150": 1.0}, crash_rate=0.0, require_idle=False, require_charging=False
)
NORMS = np.random.default_rng(2).lognormal(0.0, 0.5, DEVICES)  # of the devices' updates, round by round the same
METRICS = np.linspace(0.0, 1.0, DEVICES)


def reply(terms: RoundTerms, device: int) -> NDArray[np.int32]:
    """An honest device's vector: an update of its own norm, in a direction of its own, and its numbers."""
    direction = np.random.default_rng(device).normal(size=SPEC.prefix(terms.rank))
    update = direction * (NORMS[device] / np.linalg.norm(direction))
    known = {"within_clip": float(norm(update) <= terms.clip_norm), "loss": 2.5, "metric": float(METRICS[device])}
    slots = [to_slot(statistic, known[statistic.name], terms.levels) for statistic in terms.statistics]
    return np.concatenate([clip_to_grid(update, terms.clip_norm, terms.levels), np.array(slots, np.int32)])


def answer(seen: list[RoundTerms], call: Call) -> Answer:
    terms = terms_of(call.message)
    seen.append(terms)
    return Answer(
        Message(update_for(call.message, call.device, reply(terms, call.device)), reply_to=call.message), call.state
    )


def run(folder: Path, rounds: int, **guarantee: Any) -> tuple[list[dict[str, Any]], list[RoundTerms]]:
    privacy = PrivacyConfig.model_validate({"epsilon": 1e6, "participations": rounds, **guarantee})
    federation = FederationConfig(rounds=rounds, cohort=50, deadline_s=900)
    emulator, clock = Emulator.of(1, FLEET, Work(64.0, 64.0, 1e6, 8.0, 1e6)), VirtualClock(FLEET.start)
    seen: list[RoundTerms] = []
    job = Job("test", SPEC, LocalTraining(), federation, privacy, np.zeros(16, np.float32), "0" * 64, 5)
    store = Store(f"sqlite:///{folder / 'run.db'}")
    with make_engine(RuntimeConfig(engine="inline")) as engine:
        Coordinator(
            job,
            FleetGrid(emulator, clock, engine, partial(answer, seen)),
            clock,
            FleetRoster(emulator, 2),
            mechanism_for(privacy, federation, DEVICES, SPEC.dimension),
            NoBudget(),
            SeededNoise(5),
            store,
            SigningKey.simulated(3),
        ).run()
    records = store.rounds()
    store.close()
    return records, seen


@pytest.mark.parametrize(("start", "quantile"), [(0.01, 0.5), (100.0, 0.5), (100.0, 0.8)])
def test_the_clip_converges_from_both_sides(tmp_path: Path, start: float, quantile: float) -> None:
    wanted = float(np.quantile(NORMS, quantile))
    adapts = {"clip_quantile": quantile, "clip_learning_rate": 1.0, "clip_least": 1e-4, "clip_limit": 1e4}
    records, seen = run(tmp_path, 32, clip_norm=start, noise_multiplier=0.5, **adapts)
    clips = [record["clip_norm"] for record in records]
    assert clips[0] == start and max(terms.clip_limit or 0.0 for terms in seen) == 1e4
    assert np.mean(np.log(clips[-8:])) == pytest.approx(np.log(wanted), abs=0.2)
    assert np.mean([record["within_clip"] for record in records[-8:]]) == pytest.approx(quantile, abs=0.1)
    by_round = {terms.round: terms.clip_norm for terms in seen}
    assert [by_round[record["round"]] for record in records] == clips  # devices clip to what the record says


def test_a_run_that_is_cut_off_goes_on_with_its_clip(tmp_path: Path) -> None:
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    adapts = {"clip_quantile": 0.5, "noise_multiplier": 0.5, "participations": 4}
    whole, _ = run(tmp_path / "whole", 4, **adapts)
    run(tmp_path / "cut", 2, **adapts)
    resumed, _ = run(tmp_path / "cut", 4, **adapts)
    keys = ("round", "clip_norm", "within_clip")
    assert [[row[key] for key in keys] for row in resumed] == [[row[key] for key in keys] for row in whole]


def test_figures_are_released_with_the_noise_that_was_asked_for(tmp_path: Path) -> None:
    records, _ = run(tmp_path, 16, metrics=True, metric_noise=0.01, noise_multiplier=0.5, largest_loss=5.0)
    told = {name: np.array([record[f"released_{name}"] for record in records]) for name in ("loss", "metric")}
    assert told["loss"].mean() == pytest.approx(2.5, abs=0.05)
    assert told["metric"].mean() == pytest.approx(0.5, abs=0.02)
    assert told["loss"].std() == pytest.approx(0.01 * 5.0, rel=0.5)  # all devices say the same: noise alone
    assert all(record["within_clip"] is None and record["clip_norm"] == 1.0 for record in records)


@pytest.mark.parametrize(
    ("guarantee", "setting"),
    [
        ({"clip_quantile": 0.5, "clip_bit_noise": 0.2}, "clip_bit_noise"),
        ({"metrics": True, "metric_noise": 0.0001}, "metric_noise"),
    ],
)
def test_too_little_noise_on_a_statistic_is_refused(guarantee: dict[str, Any], setting: str) -> None:
    with pytest.raises(BadInput, match=rf"raise .*privacy\.{setting}"):
        privacy = PrivacyConfig.model_validate(guarantee | {"noise_multiplier": 2.0, "epsilon": 1e3})
        mechanism_for(privacy, FederationConfig(cohort=20), 200, 16)


def test_a_simulated_run_charges_statistics_with_the_adapter(tmp_path: Path) -> None:
    """With real devices: events state their parts, and released figures stand beside the simulator's own."""
    scenario = load_scenario("home-quick", [*TINY, "privacy.metrics=true", "privacy.clip_quantile=0.5"])
    result = simulate(scenario, tmp_path / "run", resume=False, watch=Silent())
    lines = (tmp_path / "run" / "ledger.jsonl").read_text().splitlines()
    events = [json.loads(line)["body"]["event"] for line in lines if json.loads(line)["kind"] == "reserve"]
    for event in events:
        assert [part["name"] for part in event["parts"]] == ["adapter", "within_clip", "loss", "metric"]
        whole = sum(part["noise_multiplier"] ** -2 for part in event["parts"])
        assert whole == pytest.approx(event["noise_multiplier"] ** -2)
    assert verify(lines, (tmp_path / "run" / "ledger.pub").read_text().strip()).ok
    for row in result["rounds"]:
        assert (
            row["released_loss"] is not None and row["released_metric"] is not None and row["within_clip"] is not None
        )
    clips = [row["clip_norm"] for row in result["rounds"]]
    assert clips[0] == result["privacy"]["clip_norm"] != clips[1]
    plain = simulate(load_scenario("home-quick", TINY), tmp_path / "plain", resume=False, watch=Silent())
    assert all(row["released_loss"] is None for row in plain["rounds"])
    assert plain["privacy"]["epsilon"] == pytest.approx(
        result["privacy"]["epsilon"]
    )  # the same whole, shared otherwise
