"""Fast accounting against slow oracles that share no code with it."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from scipy.stats import norm

from tacit_privacy.accounting.discrete import PROMISES, Promise
from tacit_privacy.accounting.events import Correlation, Exposure, GaussianEvent, Sampling
from tacit_privacy.accounting.filters import adaptive_bound, rdp_epsilon, rdp_order, renyi
from tacit_privacy.accounting.gaussian import epsilon_of
from tacit_privacy.accounting.matrix import (
    coefficients,
    least_error,
    pattern_sensitivity,
    peak,
    prefix_errors,
    sensitivity,
)
from tacit_privacy.accounting.sampled import SampledRounds, epsilon_sampled
from tacit_privacy.errors import BadInput
from tacit_privacy.mechanisms.discrete import CUT, FAR_CUT, arithmetic_error

Floats = NDArray[np.float64]
columns = st.lists(st.floats(0, 1), min_size=1, max_size=8).map(lambda xs: sorted([1.0, *xs], reverse=True))


def toeplitz(column: list[float] | Floats, rounds: int) -> Floats:
    found = np.zeros((rounds, rounds))
    for offset, value in enumerate(column[:rounds]):
        found += value * np.eye(rounds, k=-offset)
    return found


def patterns(rounds: int, participations: int, separation: int) -> list[tuple[int, ...]]:
    """Every set of rounds that one device may be in."""
    return [
        chosen
        for size in range(min(rounds, participations) + 1)
        for chosen in itertools.combinations(range(rounds), size)
        if all(after - before >= separation for before, after in itertools.pairwise(chosen))
    ]


@settings(max_examples=60, deadline=None)
@given(column=columns, rounds=st.integers(1, 9), participations=st.integers(1, 4), separation=st.integers(1, 5))
def test_sensitivity_is_the_worst_of_all_patterns(
    column: list[float], rounds: int, participations: int, separation: int
) -> None:
    matrix = toeplitz(column, rounds)
    allowed = patterns(rounds, participations, separation)
    norms = [float(np.linalg.norm(matrix[:, list(chosen)].sum(axis=1))) for chosen in allowed]
    assert sensitivity(column, rounds, participations, separation) == pytest.approx(max(norms), rel=1e-9)
    for chosen, expected in zip(allowed, norms, strict=True):
        assert pattern_sensitivity(column, rounds, chosen) == pytest.approx(expected, abs=1e-12)
    rows = [float(matrix[:, list(chosen)].sum(axis=1).max(initial=0)) for chosen in allowed]
    assert max(rows) <= peak(column, participations, separation) + 1e-12


@pytest.mark.parametrize("bands", [1, 3, 12])
def test_prefix_errors_are_those_of_the_matrices(bands: int) -> None:
    rounds, participations, separation = 12, 3, 4
    column = coefficients(Correlation(bands=bands, rounds=rounds))
    errors = np.tril(np.ones((rounds, rounds))) @ np.linalg.inv(toeplitz(column, rounds))
    scale = sensitivity(column, rounds, participations, separation)
    mean, largest = prefix_errors(column, rounds, participations, separation)
    assert mean == pytest.approx(scale * math.sqrt((errors**2).sum() / rounds))
    assert largest == pytest.approx(scale * np.linalg.norm(errors, axis=1).max())
    assert mean > least_error(rounds, participations, separation)


def test_the_square_root_is_the_square_root_of_prefix_sums() -> None:
    matrix = toeplitz(coefficients(Correlation(bands=30, rounds=30)), 30)
    assert matrix @ matrix == pytest.approx(np.tril(np.ones((30, 30))))
    singular = np.linalg.svd(np.tril(np.ones((30, 30))), compute_uv=False)
    assert least_error(30, 1, 30) == pytest.approx(singular.sum() / 30)


@pytest.mark.parametrize("column", [[], [0.0], [1.0, 1.1], [1.0, -0.1], [math.nan]])
def test_coefficients_for_which_the_sensitivity_is_not_exact_are_refused(column: list[float]) -> None:
    with pytest.raises(BadInput):
        sensitivity(column, 5, 2, 1)


@settings(max_examples=30, deadline=None)
@given(noise=st.floats(0.5, 20), rate=st.floats(0.001, 0.999), order=st.integers(2, 128))
def test_renyi_divergences_are_those_of_dp_accounting(noise: float, rate: float, order: int) -> None:
    from dp_accounting.rdp import rdp_privacy_accountant

    expected = rdp_privacy_accountant._compute_rdp_poisson_subsampled_gaussian(rate, noise, [order])[0]
    assert renyi(noise, rate, order) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def poisson(noise: float, cohort: int = 100) -> GaussianEvent:
    sampling = Sampling(kind="poisson", cohort=cohort, population=10_000)
    return GaussianEvent(noise_multiplier=noise, sampling=sampling)


def test_a_renyi_filter_is_above_the_exact_bound_and_below_none() -> None:
    order = rdp_order(poisson(1.0), 1000, 1e-6)
    found = rdp_epsilon({poisson(1.0): 1000}, order, 1e-6)
    assert 2.1245 < found == pytest.approx(2.44, abs=0.02)
    exposure = Exposure(1000, sealed=True)
    assert adaptive_bound({poisson(1.0): 1000}, exposure, 1e-6, None, order).epsilon == pytest.approx(found)
    unsampled = adaptive_bound({poisson(1.0): 1000}, exposure, 1e-6, None, None).epsilon
    assert unsampled == epsilon_of(math.sqrt(1000), 1e-6)


@settings(max_examples=30, deadline=None)
@given(first=st.floats(0.6, 5), second=st.floats(0.6, 5), more=st.integers(1, 50))
def test_filters_only_grow(first: float, second: float, more: int) -> None:
    exposure = Exposure(500, sealed=True)
    for order in (None, 8):
        before = adaptive_bound({poisson(first): 20}, exposure, 1e-6, None, order).epsilon
        after = adaptive_bound({poisson(first): 20 + more, poisson(second, 50): more}, exposure, 1e-6, None, order)
        assert before <= after.epsilon


def test_an_order_that_is_none_is_refused() -> None:
    with pytest.raises(BadInput, match="order"):
        adaptive_bound({poisson(1.0): 1}, Exposure(1, sealed=True), 1e-6, None, 1)


def _steps(noise: float, rate: float, moved: tuple[float, float], grid: float) -> tuple[int, Floats]:
    """The loss of one round in which the two worlds' contributions move the sum by ``moved``, on a grid.

    Between points of the grid the mass is divided so that neither world's total changes.
    """
    x = np.linspace(-12 * noise - 2, 12 * noise + 2, 200_001)
    laws = [(1 - rate) * norm.pdf(x, 0, noise) + rate * norm.pdf(x, shift, noise) for shift in moved]
    loss = np.log(laws[0] / laws[1]) / grid
    below = np.floor(loss).astype(int)
    left = (np.exp(-grid * (loss - below)) - math.exp(-grid)) / -math.expm1(-grid)
    lowest, size = int(below.min()), int(below.max() - below.min()) + 2
    mass = np.bincount(below - lowest, weights=laws[0] * left, minlength=size)
    mass += np.bincount(below - lowest + 1, weights=laws[0] * (1 - left), minlength=size)
    return lowest, mass / mass.sum()


def _adversary(rounds: int, epsilon: float, pairs: list[tuple[int, Floats]], grid: float) -> float:
    """delta at ``epsilon`` where, before every round, somebody picks the worst of ``pairs`` for what was seen."""
    half = int((epsilon + 60) / grid)
    loss = np.arange(-half, half + 1) * grid
    value = np.where(loss > epsilon, -np.expm1(np.minimum(epsilon - loss, 0)), 0.0)
    for _ in range(rounds):
        reached = []
        for lowest, mass in pairs:
            before, after = max(0, -lowest), max(0, lowest + len(mass))
            padded = np.concatenate([np.zeros(before), value, np.ones(after)])
            expected = fftconvolve(padded, mass[::-1], mode="valid")
            reached.append(expected[before + lowest : before + lowest + len(value)])
        value = np.clip(np.maximum.reduce(reached), 0, 1)
    return float(value[half])


def test_no_adversary_who_sees_the_releases_beats_the_bounds_of_fixed_size() -> None:
    """Replace-one: picking directions on the way beats one direction throughout, and not what is listed. Zero-out: what
    zeros leave to pick from stays far below one direction throughout.
    """
    noise, rate, rounds, delta, grid = 1.0, 0.1, 40, 1e-5, 4e-3
    sampling = Sampling(kind="uniform", cohort=1000, population=10_000)
    part = SampledRounds(noise, sampling, rounds)
    zero_out, replace_one = (epsilon_sampled((part,), 0.0, replaced, delta) for replaced in (False, True))
    one_way, either_way = [(2.0, 0.0)], [(2.0, 0.0), (0.0, 2.0), (1.0, -1.0)]
    zeros = [(2.0, 1.0), (1.0, 0.0), (0.0, 1.0), (1.5, 0.5), (0.5, -0.5), (0.0, -1.0), (-1.0, 0.0)]

    def reached(epsilon: float, moves: list[tuple[float, float]]) -> float:
        return _adversary(rounds, epsilon, [_steps(noise, rate, moved, grid) for moved in moves], grid)

    assert reached(zero_out, one_way) == pytest.approx(delta, rel=0.02)
    assert reached(zero_out, either_way) > 1.02 * delta
    assert reached(replace_one, either_way) < delta
    assert reached(zero_out, zeros) < delta / 10


def test_a_participation_cap_does_not_hurt_poisson_under_zero_out() -> None:
    """All ways the coins of three rounds fall, with one participation at most: delta of the mixture, by quadrature."""
    noise, rate, rounds = 1.0, 0.3, 3
    axis = np.linspace(-6.5, 7.5, 141)
    density = {shift: norm.pdf(axis, shift, noise) * (axis[1] - axis[0]) for shift in (0, 1)}
    with_device = np.zeros((len(axis),) * rounds)
    for coins in itertools.product((0, 1), repeat=rounds):
        first = coins.index(1) if 1 in coins else None
        chance = math.prod(rate if coin else 1 - rate for coin in coins)
        with_device += chance * np.einsum("i,j,k->ijk", *(density[int(number == first)] for number in range(rounds)))
    without = np.einsum("i,j,k->ijk", *(density[0] for _ in range(rounds)))
    sampling = Sampling(kind="poisson", cohort=3000, population=10_000)
    for delta in (1e-2, 1e-4):
        epsilon = epsilon_sampled((SampledRounds(noise, sampling, rounds),), 0.0, False, delta)
        for one, other in ((with_device, without), (without, with_device)):
            assert float(np.maximum(one - math.exp(epsilon) * other, 0).sum()) <= delta * 1.001


@pytest.mark.parametrize("sigma", [20.0, 50.0])
def test_the_discrete_gaussian_is_a_continuous_one_passed_on(sigma: float) -> None:
    """The convolution that ``discrete`` charges for, by quadrature, with s of four steps."""
    s, centre = 4.0, 3
    y = np.linspace(centre - 9 * sigma, centre + 9 * sigma, 40_001)
    outer = norm.pdf(y, centre, math.sqrt(sigma**2 - s**2)) * (y[1] - y[0])
    near = np.arange(-60, 61)
    base = np.rint(y)[:, None] + near
    inner = np.exp(-((base - y[:, None]) ** 2) / (2 * s**2))
    inner /= inner.sum(axis=1, keepdims=True)
    support = np.arange(int(centre - 5 * sigma), int(centre + 5 * sigma))
    passed_on = np.bincount((base - base.min()).astype(int).ravel(), weights=(outer[:, None] * inner).ravel())[
        support - int(base.min())
    ]
    everywhere = np.arange(int(-12 * sigma), int(12 * sigma))
    exact = np.exp(-((support - centre) ** 2) / (2 * sigma**2)) / np.exp(-(everywhere**2) / (2 * sigma**2)).sum()
    assert passed_on == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(("promise", "cut"), list(zip(PROMISES, (CUT, FAR_CUT), strict=True)))
def test_the_sampler_keeps_what_accounting_counts_on(promise: Promise, cut: float) -> None:
    for exponent in range(-4, 53):
        kept = arithmetic_error(2.0**exponent * 1.3, cut)
        assert kept.relative <= promise.relative
        assert 2 * norm.sf(promise.within) * (1 + 1e-9) + kept.tail < promise.tail
    assert promise.within < cut
