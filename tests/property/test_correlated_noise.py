"""Laws of correlated noise: exact integers, what a device moves, and where it is worth its price."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import toeplitz
from scipy.special import binom

from tacit_privacy.accounting.events import Correlation
from tacit_privacy.accounting.matrix import LATTICE, band, column_norm
from tacit_privacy.errors import BadInput
from tacit_privacy.mechanisms.correlated import MOST_BANDS, CorrelatedNoise
from tacit_privacy.mechanisms.noise import SeededNoise


def prefix_noise(bands: int, rounds: int) -> NDArray[np.float64]:
    """Standard deviation of the noise in the sum of the first 1, 2, ... ``rounds`` releases, where that of fresh noise
    is 1: shape ``(rounds,)``. Independent noise gives the square roots of 1, 2, ...
    """
    inverse, own = np.zeros(rounds), band(bands)
    inverse[0] = 1.0
    for row in range(1, rounds):
        reach = min(row, bands - 1)
        inverse[row] = -np.dot(own[1 : reach + 1], inverse[row - 1 :: -1][:reach])
    sums = np.cumsum(inverse)  # what z_s weighs in the sum of the rounds s to s + j
    return np.asarray(np.sqrt(np.cumsum(sums**2)))


def correlated(bands: int) -> CorrelatedNoise:
    return CorrelatedNoise(Correlation(bands=bands, rounds=100))


def matrix(bands: int, rounds: int) -> NDArray[np.float64]:
    """C, written down entry by entry."""
    column = np.zeros(rounds)
    column[: min(bands, rounds)] = band(bands)[:rounds]
    return np.tril(toeplitz(column))


class Given:
    """A noise source whose fresh noise is known: row t of ``drawn``."""

    name = "given"

    def __init__(self, drawn: NDArray[np.int64]) -> None:
        self.drawn = list(drawn)

    def discrete_gaussian(self, sigma: float, size: int, label: str) -> NDArray[np.int64]:
        row: NDArray[np.int64] = self.drawn.pop(0)
        return row

    def coins(self, rate: float, size: int, label: str) -> NDArray[np.bool_]:
        raise NotImplementedError

    def below(self, bound: int, size: int, label: str) -> NDArray[np.int64]:
        raise NotImplementedError

    def salt(self, label: str) -> bytes:
        raise NotImplementedError


def added(bands: int, fresh: NDArray[np.int64], skipped: frozenset[int] = frozenset()) -> NDArray[np.int64]:
    """What each round adds, (rounds, d), for fresh noise (rounds, d); ``skipped`` rounds release nothing."""
    mechanism, found = correlated(bands), []
    rows, source = mechanism.start(fresh.shape[1]), Given(fresh)
    for number in range(len(fresh)):
        drawn = mechanism.draw(rows, 1.0, source, "")
        found.append(np.zeros_like(drawn) if number in skipped else drawn)
        rows = mechanism.after(rows, None if number in skipped else drawn)
    return np.stack(found)


def test_coefficients_are_those_of_the_inverse_square_root() -> None:
    """(1 - x)^(-1/2) = sum of binom(2j, j) (x / 4)^j, and its square is 1 / (1 - x): all ones."""
    own = band(MOST_BANDS)
    np.testing.assert_allclose(own[:60], [binom(2 * j, j) / 4.0**j for j in range(60)], rtol=1e-12)
    np.testing.assert_allclose(np.convolve(own, own)[:MOST_BANDS], 1.0, rtol=1e-12)
    assert column_norm(1) == 1.0 and column_norm(2) == pytest.approx(math.sqrt(1.25))


@given(st.integers(1, 12), st.integers(1, 30), st.integers(0, 2**32))
def test_the_rows_add_up_to_fresh_noise_but_for_rounding(bands: int, rounds: int, seed: int) -> None:
    """C y = z within half a lattice step a row: what was cut off the coefficients is far below that here."""
    fresh = np.random.default_rng(seed).integers(-2000, 2000, (rounds, 5))
    back = matrix(bands, rounds) @ added(bands, fresh)
    assert np.abs(back - fresh).max() <= 0.5 + bands * 2000 * bands / 2**16


moves = st.lists(st.integers(-(2**20), 2**20), min_size=4, max_size=4)


@given(st.integers(2, 6), st.integers(0, 5), st.integers(0, 6), moves, moves, st.integers(0, 2**32))
def test_what_a_device_moves_is_what_is_charged(
    bands: int, first: int, more: int, move: list[int], again: list[int], seed: int
) -> None:
    """For the same releases, two participations ``bands`` or more rounds apart ask for fresh noise that differs by at
    most ||c|| times their norm, and one lattice step per entry for rounding: the law that accounting rests on.
    """
    second = first + bands + more
    rounds = second + bands + 2
    fresh = np.random.default_rng(seed).integers(-(2**34), 2**34, (rounds, 4))
    noise = added(bands, fresh)
    other = noise.copy()  # the noise with which the neighbour's sums would give the same releases
    other[first] += np.array(move) * LATTICE
    other[second] += np.array(again) * LATTICE
    moved = unnoised(bands, other) - unnoised(bands, noise)
    bound = column_norm(bands) * math.hypot(*move, *again) * LATTICE + math.sqrt(moved.size)
    assert np.linalg.norm(moved.astype(np.float64)) <= bound * (1 + 1e-12)


def unnoised(bands: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The fresh noise that gives ``rows``: the mechanism is one-to-one."""
    mechanism, fresh = correlated(bands), []
    before = mechanism.start(rows.shape[1])
    for row in rows:
        taken_back = mechanism.draw(before, 1.0, Given(np.zeros((1, rows.shape[1]), np.int64)), "")
        fresh.append(row - taken_back)
        before = mechanism.after(before, row)
    return np.stack(fresh)


@given(st.integers(1, 6), st.integers(1, 12), st.integers(0, 2**32))
def test_the_mechanism_is_one_to_one(bands: int, rounds: int, seed: int) -> None:
    fresh = np.random.default_rng(seed).integers(-(2**40), 2**40, (rounds, 3))
    np.testing.assert_array_equal(unnoised(bands, added(bands, fresh)), fresh)


@given(st.integers(2, 6), st.sets(st.integers(0, 11)), st.integers(0, 11))
def test_rounds_that_release_nothing_raise_no_columns_norm(bands: int, skipped: set[int], column: int) -> None:
    """Of moves so large that rounding is nothing: each column of C keeps a part of its entries."""
    rounds, unit = 12, 2**30
    rows = np.zeros((rounds, 1), dtype=np.int64)
    if column not in skipped:
        rows[column] = unit
    mechanism, before, moved = correlated(bands), correlated(bands).start(1), []
    for number, row in enumerate(rows):
        taken_back = mechanism.draw(before, 1.0, Given(np.zeros((1, 1), np.int64)), "")
        if number not in skipped:
            moved.append(float((row - taken_back)[0]) / unit)
        before = mechanism.after(before, None if number in skipped else row)
    assert np.linalg.norm(moved) <= column_norm(bands) + 1e-4


def test_to_leave_a_round_out_would_cost_more_than_is_charged() -> None:
    """The tempting shortcut after a crash, going on from the checkpoint's rows, moves two rows by c_1."""
    mechanism, unit = correlated(3), 2**30
    rows = mechanism.after(mechanism.start(1), np.array([unit]))
    twice = [float(-mechanism.draw(rows, 1.0, Given(np.zeros((1, 1), np.int64)), "")[0]) / unit for _ in range(2)]
    rest = band(3)[2]
    assert math.sqrt(1 + twice[0] ** 2 + twice[1] ** 2 + rest**2) > column_norm(3) * 1.05


def test_prefix_noise_is_that_of_the_inverse() -> None:
    for bands, rounds in ((1, 7), (3, 20), (16, 64)):
        sums = np.tril(np.ones((rounds, rounds))) @ np.linalg.inv(matrix(bands, rounds))
        np.testing.assert_allclose(prefix_noise(bands, rounds), np.linalg.norm(sums, axis=1), rtol=1e-9)
    np.testing.assert_allclose(prefix_noise(1, 9), np.sqrt(np.arange(1, 10)))


def test_the_noise_in_the_model_is_as_computed() -> None:
    fresh = SeededNoise(3).discrete_gaussian(1000.0 * LATTICE, 32 * 4000, "z").reshape(32, 4000)
    sums = np.cumsum(added(8, fresh), axis=0)
    np.testing.assert_allclose(sums.std(axis=1) / (1000.0 * LATTICE), prefix_noise(8, 32), rtol=0.05)


@pytest.mark.parametrize(("rounds", "bands", "gain"), [(64, 16, 2.1), (512, 64, 3.9)])
def test_at_equal_epsilon_the_model_has_less_noise(rounds: int, bands: int, gain: float) -> None:
    """A participation costs ||c|| times as much, whatever their number; the sum of all rounds has less noise still."""
    independent = math.sqrt(rounds)
    assert independent / (prefix_noise(bands, rounds)[-1] * column_norm(bands)) > gain


def test_where_it_is_not_worth_it() -> None:
    """A single round, and the first few, have more noise than independent noise gives at the same epsilon."""
    for bands in (2, 8, 64):
        price = prefix_noise(bands, 200) * column_norm(bands) / np.sqrt(np.arange(1, 201))
        assert price[0] == pytest.approx(column_norm(bands)) and price[0] > 1 > price[-1]


def test_noise_that_does_not_fit_is_refused() -> None:
    mechanism = correlated(4)
    with pytest.raises(BadInput, match="64 bits"):
        mechanism.draw(mechanism.start(2), 1e12, SeededNoise(1), "release")
    with pytest.raises(BadInput, match="bands"):
        correlated(MOST_BANDS + 1)
