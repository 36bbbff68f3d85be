"""Poisson-sampled runs through the code of ``tacit simulate``: amplification is listed for a sealed roster alone."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import TINY

from tacit_privacy.accounting.events import Sampling
from tacit_privacy.accounting.gaussian import epsilon_of
from tacit_privacy.accounting.poisson import epsilon_poisson
from tacit_privacy.errors import BadInput
from tacit_privacy.ledger.verify import verify
from tacit_simulations.progress import Silent
from tacit_simulations.run import simulate
from tacit_simulations.scenario import Scenario, load_scenario

DEVICES, COHORT, ROUNDS = 40, 8, 3
POISSON = [
    *TINY,
    f"fleet.devices={DEVICES}",
    f"federation.cohort={COHORT}",
    f"federation.rounds={ROUNDS}",
    "privacy.sampling=poisson",
    "privacy.participations=2",
]


def tiny(*more: str) -> Scenario:
    return load_scenario("home-quick", [*POISSON, *more])


def run(folder: Path, *more: str) -> dict[str, Any]:
    return simulate(tiny(*more), folder, resume=False, watch=Silent())


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Any]]]:
    """The same run twice: who took part stays sealed, or is open to anybody."""
    found = {}
    for roster in ("sealed", "open"):
        folder = tmp_path_factory.mktemp(roster) / "run"
        found[roster] = (folder, run(folder, f"privacy.roster={roster}", "privacy.noise_multiplier=1.5"))
    return found


Results = dict[str, tuple[Path, dict[str, Any]]]


def poisson(privacy: dict[str, Any]) -> list[dict[str, Any]]:
    return [bound for bound in privacy["bounds"] if bound["assumption"].startswith("Poisson")]


def test_the_amplified_bound_is_listed_only_while_the_roster_is_sealed(results: Results) -> None:
    sealed, opened = (results[roster][1]["privacy"] for roster in ("sealed", "open"))
    amplified, replaced = poisson(sealed)
    assert not poisson(opened)
    assert replaced["adjacency"] == "replace-one" and replaced["epsilon"] > amplified["epsilon"]
    assert amplified["adjacency"] == "zero-out" and amplified["accountant"] == "dp-accounting PLD"
    assert "sealed" in amplified["assumption"] and f"{COHORT / DEVICES:.4g}" in amplified["assumption"]
    assert sealed["epsilon"] == amplified["epsilon"] == sealed["bounds"][-2]["epsilon"]
    assert sealed["assumption"] == amplified["assumption"]
    assert opened["assumption"].startswith("no amplification")
    others = [bound for bound in sealed["bounds"] if bound not in poisson(sealed)]
    assert others == opened["bounds"]  # the rest does not depend on who is told what


def test_bounds_are_those_of_the_accountants(results: Results) -> None:
    folder, result = results["sealed"]
    delta, noise = result["privacy"]["delta"], result["privacy"]["noise_multiplier"]
    assert noise == 1.5 and delta == pytest.approx(DEVICES**-1.1)
    amplified, _ = poisson(result["privacy"])
    assert amplified["epsilon"] == pytest.approx(epsilon_poisson(noise, COHORT / DEVICES, ROUNDS, delta))
    (most,) = {body["participations"] for body in reserved(folder)}  # what the plan allows, not what came to pass
    plain = next(b for b in result["privacy"]["bounds"] if b["adjacency"] == "zero-out")
    assert most == 2 and plain["epsilon"] == pytest.approx(epsilon_of(math.sqrt(most) / noise, delta))
    assert amplified["epsilon"] < plain["epsilon"]


def reserved(folder: Path) -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    return [entry["body"] for entry in entries if entry["kind"] == "reserve"]


@pytest.mark.parametrize("roster", ["sealed", "open"])
def test_the_ledger_says_how_the_cohort_came_about(results: Results, roster: str) -> None:
    folder, result = results[roster]
    for body in reserved(folder):
        sampling = Sampling.model_validate(body["event"]["sampling"])
        assert sampling == Sampling(kind="poisson", cohort=COHORT, population=DEVICES)
    found = verify((folder / "ledger.jsonl").read_text().splitlines(), (folder / "ledger.pub").read_text().strip())
    assert found.ok and found.epsilon == result["privacy"]["epsilon"]


def test_cohorts_are_coins_and_not_a_count(results: Results) -> None:
    sealed, opened = (results[roster][1]["rounds"] for roster in ("sealed", "open"))
    sizes = [row["sampled"] for row in sealed]
    assert sizes == [row["sampled"] for row in opened]  # the roster's state changes a bound, never the draw
    assert len(set(sizes)) > 1
    spread = math.sqrt(DEVICES * 0.2 * 0.8)
    assert all(abs(size - COHORT) < 4 * spread for size in sizes)
    for row in sealed:
        assert row["released"] and row["completed"] + sum(row["dropped"].values()) == row["sampled"]
        assert row["noise_to_clip"] == pytest.approx(1.5 * math.sqrt(1024) / COHORT)  # over the rate, not who came


def test_a_sealed_roster_buys_less_noise(tmp_path: Path) -> None:
    """With the noise left to Tacit, both keep to epsilon; the sealed one needs less of it."""
    noise = {}
    for roster in ("sealed", "open"):
        result = run(tmp_path / roster, f"privacy.roster={roster}", "privacy.epsilon=0.15", "federation.rounds=2")
        assert 0.14 < result["privacy"]["epsilon"] <= 0.15
        noise[roster] = result["privacy"]["noise_multiplier"]
    assert noise["sealed"] < 0.8 * noise["open"]


@pytest.mark.parametrize("private", [True, False])
def test_an_empty_cohort_is_a_round_like_any_other(tmp_path: Path, private: bool) -> None:
    """Skipping it would tell who was not there; without privacy there is no mean of nobody to take."""
    more = ["federation.cohort=1", "federation.rounds=6", f"privacy.enabled={str(private).lower()}"]
    result = run(tmp_path / "run", *more, "privacy.participations=6")
    empty = [row for row in result["rounds"] if not row["completed"]]
    assert len(result["rounds"]) == 6 and empty
    assert all(row["released"] for row in result["rounds"])
    assert len(reserved(tmp_path / "run")) == 6 if private else not (tmp_path / "run" / "ledger.jsonl").exists()


def test_poisson_is_refused_where_its_cohorts_would_not_be_poisson() -> None:
    with pytest.raises(Exception, match=r'privacy\.sampling = "fixed"'):
        tiny("federation.policy=buffered")


def test_a_uniform_cohort_is_of_everybody_and_lasts_until_its_deadline(tmp_path: Path) -> None:
    """Who cannot be asked stays in it and contributes nothing; the cohort is the public constant that divides."""
    more = ["privacy.sampling=uniform", "privacy.roster=sealed", "privacy.noise_multiplier=1.5"]
    result = run(tmp_path / "run", *more)
    for body in reserved(tmp_path / "run"):
        sampling = Sampling.model_validate(body["event"]["sampling"])
        assert sampling == Sampling(kind="uniform", cohort=COHORT, population=DEVICES)
    for row in result["rounds"]:
        assert row["released"] and row["sampled"] == COHORT
        assert row["completed"] + sum(row["dropped"].values()) == COHORT
        assert row["virtual_seconds"] == pytest.approx(result["config"]["federation"]["deadline_s"])
        assert row["noise_to_clip"] == pytest.approx(1.5 * math.sqrt(1024) / COHORT)
    assert any(row["dropped"].get("unavailable") for row in result["rounds"])


def test_a_cap_is_stated_and_kept(tmp_path: Path) -> None:
    result = run(
        tmp_path / "run", f"privacy.cohort_cap={COHORT}", "privacy.noise_multiplier=1.5", "privacy.participations=99"
    )
    assert max(row["sampled"] for row in result["rounds"]) == COHORT  # seed 1 tosses larger ones
    for body in reserved(tmp_path / "run"):
        assert body["event"]["sampling"]["cap"] == COHORT


@pytest.mark.parametrize("more", [["privacy.cohort_cap=7"], ["privacy.cohort_cap=9", "privacy.sampling=uniform"]])
def test_a_cap_that_caps_nothing_or_too_much_is_refused(more: list[str]) -> None:
    with pytest.raises(BadInput, match=r"privacy\.cohort_cap"):
        tiny(*more)


def test_same_seed_same_poisson_run(results: Results, tmp_path: Path) -> None:
    folder, result = results["sealed"]
    again = run(tmp_path / "again", "privacy.roster=sealed", "privacy.noise_multiplier=1.5")
    assert again["rounds"] == result["rounds"]
    for name in ("ledger.jsonl", "adapter/adapter_model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    other = run(tmp_path / "other", "privacy.roster=sealed", "privacy.noise_multiplier=1.5", "seed=2")
    assert not np.array_equal([r["sampled"] for r in other["rounds"]], [r["sampled"] for r in result["rounds"]])
