"""The discrete Gaussian: its tables and decisions enumerated against the exact law, then its draws."""

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from tacit_privacy.errors import BadInput
from tacit_privacy.mechanisms import discrete
from tacit_privacy.mechanisms.discrete import CUT, LARGEST, arithmetic_error, coins
from tacit_privacy.mechanisms.noise import NoiseSource, SeededNoise, SystemNoise

SMALL = [0.02, 0.3, 0.5, 1.0, 1.36, 1.37, 3.0, 7.3]
LARGE = [1e3, 0.53 * 2**20, 1.3 * 2**30, 2.0**45, 2.0**50, LARGEST]


def power(exponent: Fraction) -> Fraction:
    """e^exponent to 80 digits."""
    with localcontext(prec=80):
        found = (Decimal(exponent.numerator) / Decimal(exponent.denominator)).exp()
        return Fraction(found)


def law(k: int, sigma: float) -> Fraction:
    """The discrete Gaussian, not normalised."""
    return power(-(Fraction(k) ** 2) / (2 * Fraction(sigma) ** 2))


def scripted(*answers: list[int]) -> Callable[[int], NDArray[np.uint64]]:
    """Words in a given order; a request of another length fails."""
    left = [np.array(answer, dtype=np.uint64) for answer in answers]

    def words(count: int) -> NDArray[np.uint64]:
        found = left.pop(0)
        assert len(found) == count
        return found

    return words


def first_refused(exponent: float) -> int:
    """How many of the 2^62 values of a decision accept: found by bisection of the decision itself."""
    accepted, refused = 0, 2**62
    if discrete._bernoulli(np.array([4 * (refused - 1)], dtype=np.uint64), np.array([exponent]))[0]:
        return refused
    while refused - accepted > 1:
        middle = (accepted + refused) // 2
        if discrete._bernoulli(np.array([4 * middle], dtype=np.uint64), np.array([exponent]))[0]:
            accepted = middle
        else:
            refused = middle
    return refused


def drawn_with(magnitude: int, proposal: discrete._Proposal) -> Fraction:
    """The exact probability that one attempt yields ``magnitude`` with a given sign."""
    scale, table = int(proposal.scale), [2**64, *discrete._POWERS.tolist()]

    def at_least(pieces: int) -> Fraction:
        return Fraction(table[16], 2**64) ** (pieces // 16) * Fraction(table[pieces % 16], 2**64)

    pieces, low = 2 * magnitude // scale, magnitude % max(1, scale // 2)
    more = 2 if scale == 1 else 1  # numbers of pieces that come to the same magnitude
    chance = (at_least(pieces) - at_least(pieces + more)) / max(1, scale // 2) / 2
    left = float(proposal.exponent(np.array([magnitude]), np.array([low]))[0])
    while True:
        chance *= Fraction(first_refused(left), 2**62)
        if left <= 6:
            return chance
        left -= 6


@pytest.mark.parametrize("sigma", SMALL)
def test_every_probability_is_within_the_error_that_is_charged(sigma: float) -> None:
    """All reachable integers, by the decisions that yield them, beside the law to 80 digits."""
    proposal, claimed = discrete._Proposal.of(sigma), arithmetic_error(sigma)
    support = range(min(proposal.reach, math.ceil(20 * proposal.sigma) + 2))  # what is left out is below 1e-80
    drawn, exact = [drawn_with(k, proposal) for k in support], [law(k, sigma) for k in support]
    all_drawn, all_exact = (2 * sum(chances) - chances[0] for chances in (drawn, exact))
    for k in support:
        if k <= CUT * sigma:
            assert abs(drawn[k] / all_drawn / (exact[k] / all_exact) - 1) <= claimed.relative
    for chances, total in ((drawn, all_drawn), (exact, all_exact)):
        assert 2 * sum(chances[k] for k in support if k > CUT * sigma) <= claimed.tail * total


@pytest.mark.parametrize("sigma", LARGE)
def test_at_any_scale_one_integer_has_its_probability(sigma: float) -> None:
    proposal = discrete._Proposal.of(sigma)
    width = int(proposal.scale) // 2
    attempt = (1 - power(Fraction(-1, 2))) / (2 * width) * power(-(Fraction(proposal.share) ** 2) / 2)
    rng = np.random.default_rng(1)
    edges = [0, 1, width - 1, width, int(proposal.sigma), int(CUT * sigma)]
    for k in [*edges, *(int(share * sigma) for share in rng.uniform(0, CUT, 40))]:
        assert abs(drawn_with(k, proposal) / (attempt * law(k, sigma)) - 1) <= arithmetic_error(sigma).relative


@pytest.mark.parametrize("sigma", [1e-300, *SMALL, *LARGE])
def test_the_error_is_small_enough_to_charge(sigma: float) -> None:
    error = arithmetic_error(sigma)
    assert 0 < error.relative <= 2.0**-44
    assert 2 * math.exp(-CUT * CUT / 2) <= error.tail <= 1e-22


def test_the_table_of_powers_is_exact() -> None:
    assert discrete._POWERS.tolist() == [int(power(Fraction(-j, 2)) * 2**64) for j in range(1, 17)]


@pytest.mark.parametrize("power_number", range(1, 17))
def test_pieces_are_counted_at_the_very_edge_of_the_table(power_number: int) -> None:
    edge = int(discrete._POWERS[power_number - 1])
    more = [[2**64 - 1]] * (power_number == 16)
    assert discrete._pieces(scripted([edge - 1, edge], *more), 2).tolist() == [power_number, power_number - 1]


def test_pieces_go_on_where_a_word_is_used_up() -> None:
    words = scripted([0, 2**64 - 1, 0], [0, int(discrete._POWERS[3])], [2**64 - 1])
    assert discrete._pieces(words, 3).tolist() == [32, 0, 19]


def test_a_large_exponent_is_decided_by_one_word_for_each_six() -> None:
    """13.5 takes three words: two of e^-6 and one of e^-1.5, and the first refusal ends it."""
    six, one, half = (4 * first_refused(exponent) for exponent in (6.0, 1.5, 0.5))
    exponents = np.array([0.5, 0.5, 7.5, 7.5, 13.5, 13.5, 13.5, 13.5])
    words = scripted(
        [half - 1, half, six - 1, six - 1, six, six - 1, six - 1, six - 1],
        [one - 1, one, six, six - 1, six - 1],
        [one - 1, one],
    )
    decision = words(8)
    assert discrete._accepted(words, decision, exponents).tolist() == [1, 0, 1, 0, 0, 0, 1, 0]


def test_at_scale_one_two_pieces_make_a_step() -> None:
    proposal, four = discrete._Proposal.of(1.0), int(discrete._POWERS[3]) - 1
    five = int(discrete._POWERS[4]) - 1
    assert proposal.scale == 1
    assert proposal.attempt(scripted([four, five, 2**64 - 1], [0, 1, 0]), 3).tolist() == [2, -2, 0]


def test_an_attempt_puts_pieces_low_bits_and_sign_together() -> None:
    proposal = discrete._Proposal.of(40.0)
    width = int(proposal.scale) // 2
    three, none = int(discrete._POWERS[2]) - 1, 2**64 - 1
    words = scripted([three, three, none, none, none], [5, width + 5, 0, 0, 7], [0, 1, 0, 1, 2**64 - 4])
    assert proposal.attempt(words, 5).tolist() == [3 * width + 5, -(3 * width + 5), 0]  # no negative zero; one refused


def test_proposals_are_bounded_whatever_the_words() -> None:
    proposal = discrete._Proposal.of(LARGEST)
    assert proposal.reach <= 2**60
    assert proposal.attempt(lambda count: np.zeros(count, dtype=np.uint64), 3).tolist() == []
    furthest = int(discrete._POWERS[14]) - 1  # 15 pieces, after seven words of 16
    found = proposal.attempt(scripted(*[[0]] * 7, [furthest], [2**64 - 1], *[[0]] * 2000), 1)
    assert found.tolist() == [proposal.reach - 1]


@given(st.floats(0, 6))
def test_exponentials_are_as_exact_as_the_error_assumes(exponent: float) -> None:
    exact = power(-Fraction(exponent))
    for count in (1, 64):  # alone and in vector registers
        found = Fraction(float(np.exp(-np.full(count, exponent))[-1]))
        assert abs(found - exact) <= 4 * Fraction(math.ulp(float(exact)))


@pytest.mark.parametrize("noise", [SeededNoise(11), SystemNoise()], ids=["seeded", "system"])
@pytest.mark.parametrize("sigma", [0.5, 3.0, 40.0])
def test_draws_follow_the_law(noise: NoiseSource, sigma: float) -> None:
    size = 200_000
    drawn = noise.discrete_gaussian(sigma, size, "law")
    edge = math.ceil(2.5 * sigma)
    support = np.arange(-60 * edge, 60 * edge + 1)
    weight = np.exp(-(support**2) / (2 * sigma**2))
    cells = np.clip(support, -edge, edge) + edge
    expected = np.bincount(cells, weight) * size / weight.sum()
    observed = np.bincount(np.clip(drawn, -edge, edge) + edge, minlength=2 * edge + 1)
    assert stats.chisquare(observed, expected).pvalue > 1e-7


@pytest.mark.parametrize("sigma", [0.53 * 2**20, 2.0**30, 1.35 * 2**45, LARGEST])
def test_large_draws_are_normal_and_even_in_their_last_bits(sigma: float) -> None:
    drawn = SeededNoise(12).discrete_gaussian(sigma, 200_000, "law")
    assert stats.kstest(drawn / sigma, "norm").pvalue > 1e-4
    assert stats.chisquare(np.bincount(drawn & 15, minlength=16)).pvalue > 1e-4
    assert stats.kstest(np.abs(drawn) / sigma, "halfnorm").pvalue > 1e-4
    assert drawn.std() == pytest.approx(sigma, rel=0.01)


def test_a_long_draw_is_whole_and_repeats() -> None:
    size = 3 * 2**15 + 17
    first, again = (SeededNoise(5).discrete_gaussian(1e9, size, "release 1") for _ in range(2))
    assert first.shape == (size,) and first.dtype == np.int64
    assert (first == again).all()
    assert len(np.unique(first)) > 0.99 * size


@pytest.mark.parametrize("size", [0, 1, 2])
def test_short_draws_have_their_length(size: int) -> None:
    assert SystemNoise().discrete_gaussian(2.0**20, size, "short").shape == (size,)
    assert SystemNoise().discrete_gaussian(0.0, size, "none").tolist() == [0] * size
    assert SystemNoise().coins(0.5, size, "few").shape == (size,)


def test_next_to_no_noise_is_none() -> None:
    assert not SystemNoise().discrete_gaussian(1e-300, 10_000, "none").any()
    assert arithmetic_error(0.0) == (0.0, 0.0)


@pytest.mark.parametrize("sigma", [-1.0, math.nan, math.inf, 2 * LARGEST])
def test_noise_that_no_integer_holds_is_refused(sigma: float) -> None:
    for use in (lambda: SystemNoise().discrete_gaussian(sigma, 1, "much"), lambda: arithmetic_error(sigma)):
        with pytest.raises(BadInput, match="grid steps"):
            use()


@given(st.floats(2.0**-11, 1, exclude_max=True))
def test_a_coin_has_its_rate_to_the_last_bit(rate: float) -> None:
    heads = Fraction(rate) * 2**64
    assert heads.denominator == 1
    assert coins(scripted([int(heads) - 1, int(heads)]), rate, 2).tolist() == [True, False]


@given(st.floats(0, 2.0**-11))
def test_a_rare_coin_is_never_more_likely_than_said(rate: float) -> None:
    heads = int(Fraction(rate) * 2**64)
    assert coins(scripted([max(heads - 1, 0), heads]), rate, 2).tolist() == [heads > 0, False]


def test_certain_coins_are_certain() -> None:
    assert coins(lambda count: np.full(count, 2**64 - 1, dtype=np.uint64), 1.0, 70_000).all()
    assert not coins(lambda count: np.zeros(count, dtype=np.uint64), 0.0, 70_000).any()


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan])
def test_a_coin_without_a_probability_is_refused(rate: float) -> None:
    with pytest.raises(BadInput, match="between 0 and 1"):
        SystemNoise().coins(rate, 1, "coin")
