"""The device catalogue and what a scenario may say about a fleet."""

import csv
import json
import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from tacit_privacy.errors import BadInput
from tacit_simulations.fleet.catalogue import MIXES, TIERS, catalogue, profile, weights_of
from tacit_simulations.fleet.config import FleetConfig
from tacit_simulations.fleet.dispatch import Work


def test_every_tier_has_a_profile_and_names_are_unique() -> None:
    names = [entry.name for entry in catalogue()]
    assert len(names) == len(set(names)) <= 255  # the profile index of a population is one byte
    assert {entry.tier for entry in catalogue()} == set(TIERS)


def test_the_smallest_gateway_cannot_hold_the_smallest_model_and_a_board_can() -> None:
    work = Work.of_model(1.5e6, 8192, 32, 48, FleetConfig())
    assert profile("esp32-s3-hub").memory_bytes < work.memory_bytes < profile("pi-4-2gb").memory_bytes


@pytest.fixture
def data() -> Path:
    if "TACIT_DATA" not in os.environ:
        pytest.skip("TACIT_DATA is not set: it names the folder that holds edge_llm_speed and flash_devices")
    return Path(os.environ["TACIT_DATA"])


def test_measured_generation_speeds_are_those_of_their_source(data: Path) -> None:
    systems = {
        "pi-4-4gb": "Pi 400 - 4GB",
        "pi-5-8gb": "Pi 5 - 8GB",
        "mini-pc-n150": "GMKtec G3 Plus (Intel N150) - 16GB",
    }
    systems |= {"mac-mini-m4": "M4 Mac mini (10 core - 32GB)", "workstation-rtx4090": "Ryzen 9 7900X (Nvidia 4090)"}
    with (data / "edge_llm_speed" / "edge_llm_speed.csv").open() as file:
        speed = {r["system"]: float(r["tokens_per_s"]) for r in csv.DictReader(file) if r["model"] == "Llama 3.2:3b"}
    for name, system in systems.items():
        assert "tokens_per_s" not in profile(name).estimated
        assert profile(name).tokens_per_s == pytest.approx(speed[system], abs=0.06)


def test_speeds_of_phones_follow_the_scores_that_their_source_names(data: Path) -> None:
    phones = json.loads((data / "flash_devices" / "raw_ai_benchmark_list.json").read_text())
    published = {int(phone["CPU_F_AI_Score"]) for phone in phones if phone["CPU_F_AI_Score"].isdigit()}
    checked = 0
    for entry in catalogue():
        if score := re.search(r"AI-Benchmark float CPU ([\d,]+)", entry.source):
            points = int(score[1].replace(",", ""))
            assert points in published
            assert entry.gflops == pytest.approx(8e-3 * points, rel=0.01)
            checked += 1
    assert checked >= 8


@pytest.mark.parametrize("name", MIXES)
def test_a_named_mix_is_a_distribution_over_known_profiles(name: str) -> None:
    weights = weights_of(name)
    assert sum(weights.values()) == pytest.approx(1.0)
    assert min(weights.values()) > 0


@pytest.mark.parametrize(
    ("mix", "says"),
    [
        ("castle", "household, phones"),
        ({"pi-9": 1.0}, "pi-9"),
        ({"pi-5-8gb": -1.0}, "-1.0"),
        ({"pi-5-8gb": 0.0}, "positive weight"),
    ],
)
def test_a_bad_mix_is_refused_with_what_to_write_instead(mix: str | dict[str, float], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        weights_of(mix)
    with pytest.raises(ValidationError, match=says):
        FleetConfig(mix=mix)


@pytest.mark.parametrize(
    "settings",
    [
        {"device": 5},
        {"devices": 0},
        {"crash_rate": 1.5},
        {"time_zones": {30.0: 1.0}},
        {"time_zones": {1.0: 0.0}},
        {"price_per_gb": {"pigeon": 1.0}},
        {"outages": {"regions": 1000}},
    ],
)
def test_unknown_keys_and_impossible_values_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FleetConfig.model_validate(settings)


def test_the_configuration_survives_json() -> None:
    config = FleetConfig(mix={"pi-5-8gb": 2.0}, time_zones={5.5: 1.0, -3.0: 2.0})
    assert FleetConfig.model_validate_json(config.model_dump_json()) == config
