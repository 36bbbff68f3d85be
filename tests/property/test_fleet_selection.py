"""Laws of the cohort draw and of trace replay against slow oracles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tacit_server.sampling import Selector
from tacit_simulations.fleet.hashing import hash64, key_of, part, wide
from tacit_simulations.fleet.links import LINK_INDEX
from tacit_simulations.fleet.network import TraceNetwork


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 400), st.floats(0, 1), st.integers(0, 2**32), st.booleans())
def test_a_draw_is_distinct_eligible_and_as_large_as_possible(
    population: int, count: int, share: float, seed: int, twice: bool
) -> None:
    rng = np.random.default_rng(seed)
    good = rng.random(population) < share
    selector = Selector(population)
    for _ in range(2 if twice else 1):  # a selector keeps nothing of earlier draws
        drawn = selector.draw(rng, count, lambda devices: good[devices])
        assert len(set(drawn.tolist())) == len(drawn) == min(count, int(good.sum()))
        assert good[drawn].all()


@pytest.mark.parametrize(("population", "count"), [(60, 20), (60, 55), (2000, 30)])
def test_every_eligible_device_has_the_same_chance(population: int, count: int) -> None:
    rng = np.random.default_rng(7)
    good = np.arange(population) % 3 > 0
    selector, hits = Selector(population), np.zeros(population)
    for _ in range(3000):
        hits[selector.draw(rng, count, lambda devices: good[devices])] += 1
    drawn = hits[good]
    if drawn.min() == drawn.max():
        return  # everybody, every time
    share = drawn.sum() / len(drawn) / 3000
    statistic = (
        float(((drawn - drawn.mean()) ** 2).sum() / (3000 * share * (1 - share))) * (len(drawn) - 1) / len(drawn)
    )
    assert stats.chi2.sf(statistic, len(drawn) - 1) > 1e-4


def test_the_cost_of_a_draw_does_not_follow_the_population() -> None:
    tested = {}
    for population in (20_000, 200_000, 2_000_000):
        seen: list[int] = []

        def eligible(devices: np.ndarray, seen: list[int] = seen) -> np.ndarray:
            seen.append(len(devices))
            return np.asarray(devices % 2 == 0)

        Selector(population).draw(np.random.default_rng(1), 500, eligible)
        tested[population] = sum(seen)
    assert max(tested.values()) < 3000


def transfer_by_hand(knots: np.ndarray, rates: np.ndarray, offset: float, megabits: float) -> float:
    """Seconds to move ``megabits`` from ``offset`` on, one segment after the other, round and round."""
    length = float(knots[-1])
    at, spent = offset % length, 0.0
    row = min(int(np.searchsorted(knots, at, side="right")) - 1, len(rates) - 1)
    while True:
        room = (knots[row + 1] - at) * rates[row]
        if room >= megabits:
            return float(spent + megabits / rates[row])
        megabits, spent = megabits - room, spent + knots[row + 1] - at
        row = (row + 1) % len(rates)
        at = float(knots[row])


traces = st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.05, 20)), min_size=1, max_size=8)


@settings(max_examples=100, deadline=None)
@given(st.lists(traces, min_size=1, max_size=4), st.floats(0, 1e5), st.floats(1, 3e7))
def test_replayed_transfers_match_integration_by_hand(
    recorded: list[list[tuple[float, float]]], begin: float, size: float
) -> None:
    key, devices = key_of(3, "trace"), np.arange(6)
    pairs = [(np.append(0.0, np.cumsum([t for t, _ in rows])), np.array([r for _, r in rows])) for rows in recorded]
    network = TraceNetwork.of(pairs, key, rescale=False)
    link = np.full(6, LINK_INDEX["cellular-3g"], dtype=np.uint8)
    found = network.seconds(devices, np.full(6, begin), np.full(6, size), np.ones(6), link)
    h = hash64(key, devices, 0)
    for row in range(6):
        knots, rates = pairs[int(wide(h, 0)[row] * len(pairs))]
        offset = begin + wide(h, 1)[row] * knots[-1]
        assert found[row] == pytest.approx(transfer_by_hand(knots, rates, offset, size * 8e-6), rel=1e-5, abs=1e-4)


def test_hashed_numbers_are_uniform_and_uncorrelated() -> None:
    h = hash64(key_of(1, "habits"), np.arange(200_000), 17)
    columns = np.array([part(h, index) for index in range(5)])
    for column in columns:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    beside = np.array(
        [
            part(hash64(key_of(1, "habits"), np.arange(200_000), 18), 0),
            part(hash64(key_of(1, "use"), np.arange(200_000), 17), 0),
        ]
    )
    correlations = np.corrcoef(np.vstack([columns, beside, columns[0][np.newaxis, ::-1]]))
    assert np.max(np.abs(correlations - np.eye(len(correlations)))) < 0.012
