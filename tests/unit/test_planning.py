"""What a federation's settings promise, and which of them are refused before the first round."""

from typing import Any

import pytest

from tacit_privacy.accounting.matrix import column_norm
from tacit_privacy.errors import BadInput
from tacit_server.config import FederationConfig, PrivacyConfig
from tacit_server.planning import noise_for


def plan(population: int, rounds: dict[str, Any], **guarantee: Any) -> float:
    return noise_for(PrivacyConfig.model_validate(guarantee), FederationConfig.model_validate(rounds), population)


@pytest.mark.parametrize(("population", "fits"), [(60, True), (59, False)])
def test_pauses_that_a_fleet_is_too_small_for_are_refused(population: int, fits: bool) -> None:
    rounds = {"cohort": 30, "minimum_share": 0.5, "rounds": 9}
    if fits:
        assert plan(population, rounds, separation=4) > 0
    else:
        with pytest.raises(BadInput, match="needs 60 devices"):
            plan(population, rounds, separation=4)


def test_pauses_longer_than_the_run_need_no_more_devices_than_the_run() -> None:
    assert plan(30, {"cohort": 10, "rounds": 3, "minimum_share": 1.0}, separation=50) > 0


def test_correlated_noise_is_planned_for_what_a_participation_moves() -> None:
    rounds = {"cohort": 10, "rounds": 12}
    apart = {"separation": 4, "participations": 3}
    plain = plan(400, rounds, **apart)
    for bands in (2, 4):
        correlated = plan(400, rounds, noise="correlated", bands=bands, **apart)
        assert correlated == pytest.approx(plain * column_norm(bands))
        assert plan(400, rounds, noise="correlated", bands=bands, noise_multiplier=correlated, **apart) == correlated
        with pytest.raises(BadInput, match="would end at epsilon"):
            plan(400, rounds, noise="correlated", bands=bands, noise_multiplier=plain, **apart)


@pytest.mark.parametrize(
    "guarantee",
    [
        {"separation": 1},
        {"separation": 3, "bands": 4},
        {"separation": 3, "bands": 1},
        {"separation": 3, "sampling": "poisson"},
    ],
)
def test_correlated_noise_needs_its_pauses(guarantee: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="correlated noise"):
        PrivacyConfig.model_validate(guarantee | {"noise": "correlated"})
