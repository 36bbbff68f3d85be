"""Laws of a round's cohort: uniform over the eligible, never above the cap, and honest coins for Poisson sampling."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tacit_privacy.mechanisms.noise import SeededNoise, SystemNoise
from tacit_server.roster import Bools, Devices, Identity
from tacit_server.sampling import fixed_cohort, poisson_cohort, rested, secret_cohort

LEAST = 1e-4  # p-value below which a draw with a fixed seed counts as wrong


@dataclass
class Fleet:
    """A roster whose eligible devices are given, and which remembers whom it was asked about."""

    good: Bools
    asked: int = 0

    @property
    def population(self) -> int:
        return len(self.good)

    def eligible(self, devices: Devices, now: float) -> Bools:
        self.asked += len(devices)
        return np.asarray(self.good[devices])

    def node_id(self, device: int) -> int:
        return device + 1

    def identity(self, device: int) -> Identity:
        return Identity(f"device {device}")

    def rank(self, device: int) -> int:
        return 1

    def tier(self, device: int) -> str:
        return "phone-mid"


def uniform(hits: np.ndarray, draws: int, size: int) -> float:
    """p-value of equal chances for every device, each draw being ``size`` of ``len(hits)`` without replacement.

    Counts of draws without replacement vary less than a multinomial's: by (n - size) / (n - 1).
    """
    n = len(hits)
    expected = draws * size / n
    statistic = float(((hits - expected) ** 2).sum() / (expected * (n - size) / (n - 1)))
    return float(stats.chi2.sf(statistic, n - 1))


@given(
    st.integers(1, 800), st.integers(0, 120), st.floats(0, 1), st.integers(1, 4), st.floats(0, 1), st.integers(0, 2**32)
)
@settings(max_examples=80, deadline=None)
def test_a_fixed_cohort_is_distinct_eligible_and_below_the_cap(
    population: int, count: int, share: float, cap: int, used_up: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    fleet = Fleet(rng.random(population) < share)
    taken = np.where(rng.random(population) < used_up, cap, rng.integers(0, cap + 1, population)).astype(np.uint16)
    before = taken.copy()
    cohort = fixed_cohort(rng, fleet, taken, cap, count, 0.0)
    allowed = fleet.good & (taken < cap)
    assert len(set(cohort.tolist())) == len(cohort) == min(count, int(allowed.sum()))
    assert allowed[cohort].all()
    np.testing.assert_array_equal(taken, before)  # who takes part is counted when a round ends, not here


@pytest.mark.parametrize(("population", "size"), [(90, 10), (90, 40), (90, 59), (3000, 40)])
def test_a_fixed_cohort_is_uniform_over_who_may(population: int, size: int) -> None:
    """Chi-square over the devices; the number of those that may not, and where they are, changes no chance."""
    draws = 2500
    fleet = Fleet(np.arange(population) % 6 != 1)
    taken = (np.arange(population) % 6 == 4).astype(np.uint16)
    rng, hits = np.random.default_rng(12), np.zeros(population)
    for _ in range(draws):
        hits[fixed_cohort(rng, fleet, taken, 1, size, 0.0)] += 1
    may = fleet.good & (taken < 1)
    assert hits[~may].sum() == 0
    assert uniform(hits[may], draws, size) > LEAST


def test_the_check_of_uniformity_can_fail() -> None:
    """Devices that are twice as likely as others do not pass."""
    rng, draws, size, n = np.random.default_rng(0), 2500, 10, 60
    hits = np.zeros(n)
    for _ in range(draws):
        weight = np.linspace(1, 2, n)
        hits[rng.choice(n, size, replace=False, p=weight / weight.sum())] += 1
    assert uniform(hits, draws, size) < LEAST


def test_pairs_meet_as_often_as_they_should() -> None:
    """Uniform over devices is not yet uniform over cohorts: neighbours must not come together."""
    draws, n, size = 4000, 24, 6
    rng, fleet, taken = np.random.default_rng(3), Fleet(np.ones(n, np.bool_)), np.zeros(n, np.uint16)
    together = np.zeros((n, n))
    for _ in range(draws):
        cohort = fixed_cohort(rng, fleet, taken, 1, size, 0.0)
        together[np.ix_(cohort, cohort)] += 1
    pairs = together[np.triu_indices(n, 1)]
    expected = draws * size * (size - 1) / (n * (n - 1))
    assert stats.chi2.sf(((pairs - expected) ** 2 / expected).sum(), len(pairs) - 1) > LEAST


def test_the_order_of_a_cohort_is_random_too() -> None:
    """Who is asked first would be over-selected where the first replies close a round."""
    rng, fleet, taken = np.random.default_rng(8), Fleet(np.ones(40, np.bool_)), np.zeros(40, np.uint16)
    first = np.zeros(40)
    for _ in range(3000):
        first[fixed_cohort(rng, fleet, taken, 1, 30, 0.0)[0]] += 1
    assert stats.chisquare(first).pvalue > LEAST


def test_a_run_of_rounds_uses_every_device_as_often_as_it_may_and_no_more() -> None:
    rng, fleet, taken = np.random.default_rng(5), Fleet(np.arange(100) % 5 > 0), np.zeros(100, np.uint16)
    sizes = []
    for _ in range(20):
        cohort = fixed_cohort(rng, fleet, taken, 2, 12, 0.0)
        taken[cohort] += 1
        sizes.append(len(cohort))
    assert sum(sizes) == 160 and sizes[:13] == [12] * 13  # 80 devices, twice each
    assert (taken == np.where(fleet.good, 2, 0)).all()


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=60), st.integers(1, 31), st.integers(1, 9), st.integers(0, 2**32)
)
@settings(max_examples=80, deadline=None)
def test_a_cohort_has_rested(last: list[int], after: int, separation: int, seed: int) -> None:
    number = max(last) + after
    fleet, known = Fleet(np.ones(len(last), np.bool_)), np.array(last, dtype=np.int32)
    free = rested(known, number, separation)
    cohort = fixed_cohort(np.random.default_rng(seed), fleet, np.zeros(len(last), np.uint16), 1, len(last), 0.0, free)
    may = {device for device, newest in enumerate(last) if newest == 0 or number - newest >= separation}
    assert set(cohort.tolist()) == may


def test_devices_that_are_used_up_are_not_even_looked_at() -> None:
    fleet, taken = Fleet(np.ones(500, np.bool_)), np.ones(500, np.uint16)
    assert len(fixed_cohort(np.random.default_rng(0), fleet, taken, 1, 20, 0.0)) == 0
    assert fleet.asked == 0


@pytest.mark.parametrize("rate", [0.004, 0.1, 0.5, 0.97])
def test_a_poisson_cohort_has_binomial_size(rate: float) -> None:
    population, draws = 400, 3000
    noise = SeededNoise(21)
    sizes = np.array([len(poisson_cohort(noise, population, rate, number)) for number in range(draws)])
    law = stats.binom(population, rate)
    edges = np.unique(law.ppf(np.linspace(0.05, 0.95, 13)))
    edges = np.concatenate([[-1.0], edges, [float(population)]])
    observed = np.histogram(sizes, bins=edges + 0.5)[0]
    expected = draws * np.diff(law.cdf(edges))
    kept = expected > 0
    assert stats.chisquare(observed[kept], expected[kept] * observed[kept].sum() / expected[kept].sum()).pvalue > LEAST
    assert observed[~kept].sum() == 0


@pytest.mark.parametrize("rate", [0.1, 0.6])
def test_poisson_coins_are_fair_and_independent(rate: float) -> None:
    """Each device's own share of rounds is the rate, and no two devices' coins know of each other."""
    population, draws = 40, 6000
    noise = SeededNoise(4)
    joined = np.zeros((draws, population))
    for number, row in enumerate(joined):
        row[poisson_cohort(noise, population, rate, number)] = 1
    spread = (joined.sum(0) - draws * rate) / np.sqrt(draws * rate * (1 - rate))
    assert stats.chi2.sf(float((spread**2).sum()), population) > LEAST
    correlations = np.atleast_2d(np.corrcoef(joined.T))[np.triu_indices(population, 1)] * np.sqrt(draws)
    assert stats.kstest(correlations, "norm").pvalue > LEAST
    one_round_to_the_next = stats.pearsonr(joined[:-1].ravel(), joined[1:].ravel()).statistic
    assert abs(one_round_to_the_next) * np.sqrt((draws - 1) * population) < 4


@given(st.integers(1, 3000), st.floats(0, 1), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_a_poisson_cohort_is_sorted_and_distinct(population: int, rate: float, seed: int) -> None:
    cohort = poisson_cohort(SeededNoise(seed), population, rate, 1)
    assert (np.diff(cohort) > 0).all()
    assert not len(cohort) or (cohort[0] >= 0 and cohort[-1] < population)


@given(st.integers(1, 300), st.floats(0, 1), st.integers(0, 2**32), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_uniform_cohort_has_its_size_whatever_happens(population: int, share: float, seed: int, real: bool) -> None:
    size = max(1, round(share * population))
    noise = SystemNoise() if real else SeededNoise(seed)
    cohort = secret_cohort(noise, "uniform", population, size, None, 1)
    assert len(cohort) == size and (np.diff(cohort) > 0).all() and 0 <= cohort[0] <= cohort[-1] < population


def test_a_uniform_cohort_is_uniform_over_devices_and_pairs() -> None:
    draws, n, size = 4000, 24, 6
    noise, together = SeededNoise(3), np.zeros((n, n))
    for number in range(draws):
        cohort = secret_cohort(noise, "uniform", n, size, None, number)
        together[np.ix_(cohort, cohort)] += 1
    assert uniform(np.diag(together), draws, size) > LEAST
    pairs = together[np.triu_indices(n, 1)]
    expected = draws * size * (size - 1) / (n * (n - 1))
    assert stats.chi2.sf(((pairs - expected) ** 2 / expected).sum(), len(pairs) - 1) > LEAST


def test_a_cap_cuts_larger_cohorts_and_no_other_uniformly() -> None:
    n, cap, draws = 60, 14, 4000
    noise, hits, cut = SeededNoise(5), np.zeros(n), 0
    for number in range(draws):
        whole, capped = poisson_cohort(noise, n, 0.2, number), secret_cohort(noise, "poisson", n, 12, cap, number)
        assert set(capped.tolist()) <= set(whole.tolist()) and len(capped) == min(len(whole), cap)
        hits[capped[: cap if len(whole) > cap else 0]] += 1
        cut += len(whole) > cap
    assert 0 < cut < draws and uniform(hits, cut, cap) > LEAST


def test_certain_and_impossible_coins() -> None:
    for noise in (SeededNoise(0), SystemNoise()):
        assert len(poisson_cohort(noise, 70, 0.0, 1)) == 0
        np.testing.assert_array_equal(poisson_cohort(noise, 70, 1.0, 1), np.arange(70))


DRAWS: dict[str, Callable[[np.random.Generator], Devices]] = {
    "fixed": lambda rng: fixed_cohort(rng, Fleet(np.ones(300, np.bool_)), np.zeros(300, np.uint16), 1, 30, 0.0),
    "poisson": lambda rng: poisson_cohort(SeededNoise(int(rng.integers(2**31))), 300, 0.1, 1),
}


@pytest.mark.parametrize("kind", DRAWS)
def test_the_seed_decides_the_cohort(kind: str) -> None:
    draw = DRAWS[kind]
    one, again, other = (draw(np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert one.tolist() != other.tolist()
