"""What a federation's settings promise, and which of them are refused before the first round."""

from typing import Any

import pytest

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
