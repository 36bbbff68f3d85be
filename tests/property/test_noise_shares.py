"""Laws of noise in shares: dropouts take theirs along, what is stated is what is left, and sums are nearly Gaussian."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tacit_privacy.accounting.events import Sampling
from tacit_privacy.errors import BadInput, FleetExhausted
from tacit_privacy.mechanisms.noise import SeededNoise
from tacit_privacy.mechanisms.shares import NoiseShares, tau

SAMPLING = Sampling(kind="fixed", cohort=10, population=1000)


@given(st.floats(0.05, 50), st.integers(1, 500), st.data())
def test_the_event_states_the_noise_that_is_left_and_nothing_below_the_floor(
    noise: float, planned: int, data: st.DataObject
) -> None:
    floor, survivors = data.draw(st.integers(1, planned)), data.draw(st.integers(0, planned + 5))
    colluding = data.draw(st.integers(0, 3))
    shares = NoiseShares(noise, planned, floor, 1000)
    left = min(survivors, planned) - colluding
    if left < floor:
        with pytest.raises(FleetExhausted, match="nothing is released"):
            shares.realised(survivors, SAMPLING, colluding)
        return
    stated = shares.realised(survivors, SAMPLING, colluding).noise_multiplier
    variance = left * shares.scale**2 / shares.levels**2
    assert stated**2 <= variance * (1 + 1e-12) and stated == pytest.approx(math.sqrt(variance), rel=1e-9)
    assert stated <= noise


def test_a_sum_of_shares_has_the_noise_that_its_event_states() -> None:
    shares = NoiseShares(2.0, 25, 5, 4000, levels=2**10)
    drawn = [shares.share(SeededNoise(device), "round 1") for device in range(25)]
    for survivors in (25, 16, 5):
        found = np.sum(drawn[:survivors], axis=0).std() / shares.levels
        assert found == pytest.approx(shares.realised(survivors, SAMPLING).noise_multiplier, rel=0.05)


def gaussian(scale: float, reach: int) -> NDArray[np.float64]:
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * scale * scale))
    return np.asarray(weights / weights.sum())


@pytest.mark.parametrize("scale", [0.5, 0.7, 1.0])
@pytest.mark.parametrize("shares", [2, 3, 6])
def test_tau_bounds_how_far_a_sum_is_from_one_discrete_gaussian(scale: float, shares: int) -> None:
    """By exact convolution, as far out as floating point carries the comparison."""
    reach = 60
    summed = np.array([1.0])
    for _ in range(shares):
        summed = np.convolve(summed, gaussian(scale, reach))
    middle, far = len(summed) // 2, round(5 * scale * math.sqrt(shares))
    one = gaussian(scale * math.sqrt(shares), 20 * far)
    seen = slice(middle - far, middle + far + 1)
    differ = np.abs(np.log(summed[seen] / one[19 * far : 21 * far + 1])).max()
    assert 0 < differ <= tau(scale, shares) + 1e-12


@given(st.floats(0.1, 3), st.integers(1, 60))
def test_tau_is_no_smaller_than_its_sum(scale: float, shares: int) -> None:
    terms = [math.exp(-2 * math.pi**2 * scale**2 * k / (k + 1)) for k in range(1, shares)]
    assert tau(scale, shares) >= 10 * sum(terms) * (1 - 1e-12)


def test_shares_too_coarse_to_add_up_are_refused() -> None:
    with pytest.raises(BadInput, match="too coarse"):
        NoiseShares(1.0, 10_000, 100, 10**6, levels=2**7)
    assert NoiseShares(1.0, 10_000, 100, 10**6).scale > 10_000
    with pytest.raises(BadInput, match="floor"):
        NoiseShares(1.0, 10, 11, 5)
