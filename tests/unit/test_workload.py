"""What a device of a lower rank carries and holds is less, in result.json as on the wire."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import TINY

from tacit_privacy import cli
from tacit_privacy.errors import BadInput
from tacit_simulations.fleet.catalogue import TIERS
from tacit_simulations.progress import Silent
from tacit_simulations.run import Prepared, simulate
from tacit_simulations.scenario import load_scenario

MIXED = [
    *TINY,
    "fleet.devices=60",
    "fleet.mix=mixed",
    "federation.cohort=12",
    "federation.rounds=1",
    "adapter.rank=8",
]
LOW = {"hub": 1, "phone-low": 1, "phone-mid": 2, "phone-high": 2, "sbc": 1}
RANKS = ["adapter.tiers={" + ", ".join(f'"{tier}" = {rank}' for tier, rank in LOW.items() if tier in TIERS) + "}"]


def prepared(*more: str) -> Prepared:
    return Prepared.of(load_scenario("home-quick", [*MIXED, *more]))


def test_bytes_and_memory_follow_the_rank_of_the_tier() -> None:
    whole, tiered = prepared(), prepared(*RANKS)
    population, spec = tiered.emulator().population, tiered.spec
    every = np.arange(population.size)
    ranks = np.array([LOW.get(population.tier(int(device)), spec.rank) for device in every])
    assert len(set(ranks.tolist())) == 3
    expected = [4 * spec.prefix(int(rank)) + 2_048 for rank in ranks]
    np.testing.assert_array_equal(tiered.work.down(every), expected)
    np.testing.assert_array_equal(tiered.work.up(every), expected)
    assert whole.work.memory_bytes == pytest.approx(np.max(tiered.work.memory_bytes))
    less = (np.asarray(whole.work.memory_bytes) - tiered.work.memory_bytes).tolist()
    assert less == pytest.approx([16 * (spec.dimension - spec.prefix(int(rank))) for rank in ranks])
    assert tiered.work.flops_per_example == whole.work.flops_per_example


@pytest.mark.parametrize("bits", [8, 4])
def test_bytes_on_the_way_up_follow_the_bits_of_an_update(bits: int) -> None:
    whole, few = prepared(*RANKS), prepared(*RANKS, f"federation.update_bits={bits}")
    every = np.arange(whole.devices)
    np.testing.assert_array_equal(few.work.down(every), whole.work.down(every))
    np.testing.assert_array_equal(few.work.up(every) - 2_048, (whole.work.up(every) - 2_048) * bits / 32)
    plain = few.emulator(private=False).work
    np.testing.assert_array_equal(plain.up(every), whole.work.up(every))


def test_without_tiers_there_is_one_figure_for_all() -> None:
    work = prepared().work
    assert isinstance(work.bytes_down, float) and isinstance(work.memory_bytes, float)


@pytest.mark.parametrize("mode", ["train", "timing"])
def test_a_result_says_what_the_tiers_carried(tmp_path: Path, mode: str) -> None:
    def carried(name: str, *more: str) -> dict[str, Any]:
        scenario = load_scenario("home-quick", [*MIXED, f"mode={mode}", *more])
        return dict(simulate(scenario, tmp_path / name, False, Silent())["rounds"][0])

    whole, tiered = carried("whole"), carried("tiered", *RANKS)
    assert whole["sampled"] == tiered["sampled"]
    for way in ("bytes_down", "bytes_up"):
        assert 0 < tiered[way] < 0.8 * whole[way]


@pytest.mark.parametrize("mode", ["train", "timing"])
def test_a_result_says_what_updates_in_few_bits_carried(tmp_path: Path, mode: str) -> None:
    def carried(bits: int) -> dict[str, Any]:
        sets = [*MIXED, f"mode={mode}", f"federation.update_bits={bits}", "evaluation.compare=[]"]
        return dict(simulate(load_scenario("home-quick", sets), tmp_path / str(bits), False, Silent())["rounds"][0])

    whole, eight, four = carried(32), carried(8), carried(4)
    assert whole["sampled"] == eight["sampled"] == four["sampled"] and whole["bytes_down"] == four["bytes_down"]
    assert 0 < four["bytes_up"] < eight["bytes_up"] < 0.5 * whole["bytes_up"]


@pytest.mark.parametrize("mode", ["train", "timing"])
def test_few_bits_need_a_clip(tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: str) -> None:
    sets = ["federation.update_bits=8", "privacy.enabled=false", f"mode={mode}"]
    words = [word for each in sets for word in ("--set", each)]
    assert cli.main(["simulate", "home-quick", *words, "--out", str(tmp_path / "run")]) == 2
    assert "leave federation.update_bits out" in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["train", "timing"])
def test_a_tier_that_does_not_exist_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    words = ["--set", "adapter.tiers.wristwatch=1", "--set", f"mode={mode}", "--out", str(tmp_path / "run")]
    assert cli.main(["simulate", "home-quick", *words]) == 2
    assert "adapter.tiers names wristwatch; tiers are" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_fleet_whose_small_tier_alone_can_hold_its_part_is_emulated() -> None:
    """The roomiest device decides where all carry the same; else whoever can hold what is asked of it."""
    fleet = prepared(*RANKS).emulator()
    needed = np.asarray(fleet.work.memory_bytes)
    small = needed == needed.min()
    population = fleet.population
    population.memory[:] = np.where(small, needed + 1e3, needed - 1e6)
    type(fleet)(population, fleet.config, fleet.work)
    population.memory[:] = needed - 1e6
    with pytest.raises(BadInput, match="training needs"):
        type(fleet)(population, fleet.config, fleet.work)
