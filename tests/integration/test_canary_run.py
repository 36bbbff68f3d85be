"""Canaries in runs of ``tacit simulate``: what they prove of a private run, and of one with hardly any noise."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import content
from tiny import TINY

from tacit_privacy.cli import main
from tacit_privacy.contract import AdapterSpec, LinearSpec, LocalTraining, RoundTerms
from tacit_privacy.errors import BadInput
from tacit_privacy.ledger.verify import verify
from tacit_privacy.mechanisms.gaussian import clip_to_grid
from tacit_server.plain import PlainSettings
from tacit_simulations.canaries import Canaries
from tacit_simulations.evaluation.study import panel_of
from tacit_simulations.progress import Silent
from tacit_simulations.run import Prepared, simulate
from tacit_simulations.scenario import Scenario, load_scenario

DEVICES, CANARIES = 60, 48
SETTINGS = [
    *TINY,
    f"fleet.devices={DEVICES}",
    "federation.cohort=24",
    "federation.rounds=2",
    "privacy.delta=0.001",
    f"privacy.canaries={CANARIES}",
]
LOUD = ["privacy.noise_multiplier=0.05", "privacy.epsilon=1e9"]  # of the canaries, that is: hardly any noise


def scenario(*more: str) -> Scenario:
    return load_scenario("home-quick", [*SETTINGS, *more])


def run(folder: Path, *more: str) -> dict[str, Any]:
    return simulate(scenario(*more), folder, resume=False, watch=Silent())


Runs = dict[str, tuple[Path, dict[str, Any]]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    found = {}
    for name, more in {"private": [], "loud": LOUD, "twice": ["privacy.participations=2", *LOUD]}.items():
        folder = tmp_path_factory.mktemp(name) / "run"
        found[name] = (folder, run(folder, *more))
    return found


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "canaries.jsonl").read_text().splitlines()]


def test_of_a_private_run_they_prove_less_than_it_claims(runs: Runs) -> None:
    folder, result = runs["private"]
    privacy, shown = result["privacy"], result["privacy"]["empirical"]
    assert 0 <= privacy["empirical_lower_bound"] <= privacy["epsilon"] <= 8.0
    assert privacy["empirical_lower_bound"] == shown["lower_bound"] == shown["one_run"]["epsilon_gaussian"]
    assert (shown["delta"], shown["confidence"], shown["claim"]) == (privacy["delta"], 0.95, "gaussian")
    assert shown["planned"] == CANARIES and shown["simulator_only"]
    asked = [row for row in rows(folder) if row["participations"]]
    assert shown["asked"] == shown["canaries"] == len(asked) > 10
    assert shown["included"] == sum(row["included"] for row in asked)
    assert shown["null"] == "closed form"  # with one participation each, a score left out is N(0, 1) by construction
    assert verify((folder / "ledger.jsonl").read_text().splitlines(), (folder / "ledger.pub").read_text().strip()).ok


def test_of_a_run_with_hardly_any_noise_they_prove_much(runs: Runs) -> None:
    _, result = runs["loud"]
    shown = result["privacy"]["empirical"]
    one_run = shown["one_run"]
    # as many are guessed in as out, which the coins need not be; beyond that all guesses are right
    assert one_run["guesses"] - one_run["correct"] <= abs(2 * one_run["included"] - one_run["canaries"])
    assert shown["estimate"] > 20 and shown["estimate_low"] > 10
    assert shown["lower_bound"] > 1.0
    quiet = runs["private"][1]["privacy"]["empirical"]
    assert shown["lower_bound"] > quiet["lower_bound"] and shown["estimate"] > quiet["estimate"]


def test_scores_follow_the_mathematics_of_random_directions(runs: Runs) -> None:
    """Left out: N(0, 1). In, without noise: sqrt(p) over the norm of a sum of nearly orthogonal unit vectors."""
    folder, result = runs["loud"]
    found = [row for row in rows(folder) if row["participations"]]
    out = [row["score"] for row in found if not row["included"]]
    assert abs(float(np.mean(out))) < 4 / math.sqrt(len(out)) and max(map(abs, out)) < 4
    dimension = result["adapter"]["dimension"]
    in_it = [row["score"] for row in found if row["included"]]
    least = math.sqrt(dimension / 24) - 5  # at most a cohort of unit vectors; learners' updates are shorter
    assert min(in_it) > least > 1


def test_participations_are_those_of_the_rounds(runs: Runs) -> None:
    for name, most in (("private", 1), ("twice", 2)):
        folder, _ = runs[name]
        journal = [json.loads(line) for line in (folder / "state" / "private.jsonl").read_text().splitlines()]
        seen = [device for key, row in journal if key.startswith("canary/") for device in row]
        assert {row["device"]: row["participations"] for row in rows(folder)} == {
            row["device"]: seen.count(str(row["device"])) for row in rows(folder)
        }
        assert max(row["participations"] for row in rows(folder)) == most
    assert runs["twice"][1]["privacy"]["empirical"]["null"] == "scores of those left out"


class Stops(Silent):
    """Ends the process, as far as a run can tell, after a round was seen and before it was committed."""

    def __init__(self, after: int) -> None:
        self._left = after

    def step(self, note: str = "") -> None:
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [1, 2])
def test_a_resumed_run_measures_the_same(runs: Runs, tmp_path: Path, after: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        simulate(scenario(), tmp_path / "run", resume=False, watch=Stops(after))
    simulate(scenario(), tmp_path / "run", resume=True, watch=Silent())
    assert content(tmp_path / "run") == content(runs["private"][0])
    assert (tmp_path / "run" / "canaries.jsonl").read_bytes() == (runs["private"][0] / "canaries.jsonl").read_bytes()


def test_another_engine_measures_the_same(runs: Runs, tmp_path: Path) -> None:
    run(tmp_path / "run", "runtime.engine=pool", "runtime.workers=2")
    assert content(tmp_path / "run") == content(runs["private"][0])
    assert rows(tmp_path / "run") == rows(runs["private"][0])


def test_a_sealed_draw_is_measured_without_knowing_who_took_part(tmp_path: Path) -> None:
    sealed = ["privacy.sampling=poisson", "privacy.roster=sealed", "privacy.participations=2"]
    result = run(tmp_path / "run", *sealed)
    shown = result["privacy"]["empirical"]
    assert result["privacy"]["assumption"].startswith("Poisson")
    assert shown["claim"] == "any" and shown["canaries"] == CANARIES > shown["asked"]
    assert shown["lower_bound"] == shown["one_run"]["epsilon_any"] <= result["privacy"]["epsilon"]
    assert all(row["score"] != 0 for row in rows(tmp_path / "run"))  # also of those who were never asked


def test_buffered_rounds_and_momentum_are_measured_too(tmp_path: Path) -> None:
    """An update that is late counts for less and momentum blurs it: less is proved, never more than is claimed."""
    blurred = ["federation.policy=buffered", "federation.cohort=12", "federation.optimizer=fedavgm"]
    result = run(tmp_path / "run", *blurred, "privacy.participations=2")
    shown = result["privacy"]["empirical"]
    assert shown["asked"] > 5 and shown["lower_bound"] <= result["privacy"]["epsilon"]


def test_the_command_reads_what_the_run_wrote(runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, result = runs["loud"]
    assert main(["audit", "canary", str(folder), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    shown = result["privacy"]["empirical"]
    assert said["ok"] and said["claimed_epsilon"] == result["privacy"]["epsilon"]
    assert {key: said[key] for key in ("estimate", "lower_bound", "one_run")} == {
        key: shown[key] for key in ("estimate", "lower_bound", "one_run")
    }
    lie = tmp_path / "lie"
    lie.mkdir()
    (lie / "canaries.jsonl").write_bytes((folder / "canaries.jsonl").read_bytes())
    claims = {**result, "privacy": {**result["privacy"], "epsilon": 0.5}}
    (lie / "result.json").write_text(json.dumps(claims))
    assert main(["audit", "canary", str(lie)]) == 1
    assert "REFUTED" in capsys.readouterr().out


def test_without_canaries_nothing_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(tmp_path / "run", "privacy.canaries=0")
    assert result["privacy"]["empirical_lower_bound"] is None and "empirical" not in result["privacy"]
    assert not (tmp_path / "run" / "canaries.jsonl").exists()
    assert main(["audit", "canary", str(tmp_path / "run")]) == 2
    assert "privacy.canaries" in capsys.readouterr().err


def test_where_nobody_is_asked_there_is_no_number(tmp_path: Path) -> None:
    result = run(tmp_path / "run", "privacy.canaries=1", "federation.cohort=2", "federation.rounds=1", "seed=3")
    shown = result["privacy"]["empirical"]
    assert shown["asked"] == 0 and shown["lower_bound"] is result["privacy"]["empirical_lower_bound"] is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["privacy.enabled=false"], "privacy.enabled = false has none"),
        (["mode=timing"], "set privacy.canaries = 0"),
        ([f"privacy.canaries={DEVICES + 1}"], f"privacy.canaries is {DEVICES + 1} but fleet.devices is {DEVICES}"),
        (["privacy.canaries=-1"], "privacy.canaries"),
    ],
)
def test_what_cannot_be_measured_is_refused(settings: list[str], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        scenario(*settings)


def test_a_deployment_has_no_canaries() -> None:
    with pytest.raises(BadInput, match="a deployed device sends what it learnt"):
        PlainSettings.of({"privacy.canaries": 3})


def test_canaries_are_no_learners() -> None:
    prepared = Prepared.of(scenario("evaluation.devices=12"))
    canaries = Canaries(prepared.scenario.seed, DEVICES, CANARIES)
    source = prepared.setup().source()
    panel = panel_of(source, 12, canaries)
    assert panel and not set(panel) & set(canaries.members)
    assert sorted([*canaries.others, *canaries.members]) == list(range(DEVICES))
    nobody = Canaries(prepared.scenario.seed, DEVICES, 0)
    assert panel_of(source, 12, nobody) == np.linspace(0, DEVICES - 1, 12).astype(int).tolist()


def test_a_canary_sends_its_direction_at_full_length_or_zeros() -> None:
    linear = LinearSpec(name="m", rows=50, columns=7)
    spec = AdapterSpec(model="x", method="ffa", rank=4, alpha=1.0, seed=0, linear=(linear,))
    canaries = Canaries(3, 40, 20)
    assert {canaries.included(device) for device in canaries.members} == {True, False}
    for device in canaries.members:
        for rank in (1, 4):
            terms = RoundTerms(
                run="r", round=2, version=0, spec=spec, rank=rank, clip_norm=0.3, training=LocalTraining(),
                participations=1, deadline=1.0, ledger_head="0" * 64, ledger_length=1,
            )  # fmt: skip
            sent = clip_to_grid(canaries.contribution(device, terms), terms.clip_norm, terms.levels)
            assert len(sent) == spec.prefix(rank)
            norm = float(np.linalg.norm(sent.astype(np.float64))) / terms.levels
            assert norm == (pytest.approx(1.0, abs=1e-4) if canaries.included(device) else 0.0)
    first, second = (canaries.direction(device, 2000) for device in canaries.members[:2])
    assert abs(float(first @ second)) < 5 / math.sqrt(2000) and float(first @ first) == pytest.approx(1.0)
