"""The discrete Gaussian, coins and integers from uniform words, and how far from its law floating point takes it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.errors import BadInput

Words = Callable[[int], NDArray[np.uint64]]  # that many independent uniform 64-bit integers

CUT = 10.2  # standard deviations: what lies beyond goes to delta
FAR_CUT = 40.2  # the same where noise is so small that a device's data may carry that far
LARGEST = 2.0**53  # grid steps: a proposal is below 2^60, so that sums of noise and updates stay within int64
_SMALLEST = 2.0**-6  # less noise than this is drawn as this much: anything but 0 has probability below 1e-800
_BLOCK = 2**15  # attempts at a time: their arrays stay in cache, and memory does not grow with the size
_PIECES = 16  # pieces of e^(-1/2) that one word decides
_REDRAWS = 8  # words that may decide one proposal: beyond 128 pieces, 47 standard deviations, it is thrown away
_STEP = 6.0  # exponent that one word accepts: e^-6 > 2^-9 in 53 bits is a whole number of 2^-62
_FULL = 2.0**62


def _powers() -> NDArray[np.uint64]:
    """floor(2^64 e^(-j/2)) for j = 1 .. 16, exactly."""
    with localcontext(prec=60):
        return np.array([int((Decimal(-j) / 2).exp() * 2**64) for j in range(1, _PIECES + 1)], dtype=np.uint64)


_POWERS = _powers()


class Deviation(NamedTuple):
    """Up to the cut an integer's probability is exact up to ``relative``; the rest has ``tail``."""

    relative: float
    tail: float


def arithmetic_error(sigma: float, cut: float = CUT) -> Deviation:
    """How far one draw of ``discrete_gaussian`` is from its law: charge it, for the law itself is what is accounted.

    Guarantee: every integer k with |k| <= cut sigma has probability p(k) (1 + e), |e| <= ``relative`` (below 2^-44 for
    CUT, 2^-40 for FAR_CUT), with p the discrete Gaussian; all others together have at most ``tail`` (below 1e-22 for
    CUT), drawn or by p. Cuts go up to 46 standard deviations. Sigma 0 is exact.
    A mechanism that is (epsilon, delta) with n draws from the law is, with n of these, (epsilon + 2 n relative, e^(n
    relative) delta + (1 + e^(epsilon + n relative)) n tail): the law stands in on one side, then on the other.

    Why. With u = 2^-53, y = |k| / sigma, s = sigma / scale and x = y - s, an attempt yields k with a probability that
    is off by a factor whose logarithm is at most u times

    - y for the division (2y where k may be above 2^53 and is rounded first) and |x| for the subtraction; s is exact,
      as the scale is a power of 2. So x^2 / 2 is off by |x| (y + |x|), and by x^2 / 2 more for its own rounding;
    - a = x^2 / 2 + 1/2 for the addition that makes the exponent (low / scale <= 1/2 is exact);
    - 8 for each of at most a / 6 + 1 exponentials: they are assumed right to 4 units in the last place (NumPy states
      less than 1). Subtracting 6 is exact, the exponential is a whole number of 2^-62, and comparing it with 62 random
      bits is exact;
    - 2.3 for the last word of the pieces and 1.5 for each word before, the table being within 2^-64 of e^(-j/2).

    As |x| <= y + s, that is at most a polynomial in y of degree 2 with coefficients >= 0. The chance that an attempt
    yields anything is off by its mean, at most its value at y = 1, for E|y| <= 1 and E y^2 <= 1 (Canonne, Kamath and
    Steinke 2020, Cor. 9); dividing by that chance adds it to the worst within the cut. Squares of these terms, integers
    never proposed (beyond 47 sigma) and a sigma below 2^-6 drawn as 2^-6 are below a millionth of the rest. The tail:
    k is subgaussian, P(|k| >= c sigma) <= 2 e^(-c^2 / 2) (ibid.), and what is drawn there is off by less than that
    millionth.
    """
    if sigma == 0:
        return Deviation(0.0, 0.0)
    proposal = _Proposal.of(sigma)
    share, roundings = proposal.share, 1 if proposal.reach <= 2**53 else 2

    def units(x: float, y: float) -> float:
        exponent = x * x / 2 + 0.5
        words = 2 * y * share / _PIECES
        return x * (roundings * y + x) + x * x / 2 + exponent + 8 * (exponent / _STEP + 1) + 2.3 + 1.5 * words

    worst = units(max(cut - share, share), cut) + units(1 + share, 1.0)
    return Deviation(worst * 2.0**-53 * (1 + 1e-6), 2 * math.exp(-cut * cut / 2) * (1 + 1e-6))


@dataclass(frozen=True, slots=True)
class _Proposal:
    """Magnitude = pieces * scale / 2 + low: pieces geometric of ratio e^(-1/2), low uniform below scale / 2.

    At scale 1 half a step is rounded down and nothing is low: magnitudes are geometric of ratio 1 / e.
    """

    sigma: float
    scale: float  # of the Laplace distribution it steps along: a power of two
    share: float  # sigma / scale, exact

    @classmethod
    def of(cls, sigma: float) -> Self:
        """The scale between sigma / 1.36 and twice that, where between 53 % and 60 % are accepted; at least 1."""
        if not 0 <= sigma <= LARGEST:
            raise BadInput(f"noise of {sigma:.3g} grid steps cannot be drawn; take fewer levels or less noise")
        sigma = max(float(sigma), _SMALLEST)
        scale = 2.0 ** max(0, math.ceil(math.log2(sigma / 1.36)))
        return cls(sigma, scale, sigma / scale)

    @property
    def reach(self) -> int:
        """Every magnitude is below this."""
        return _PIECES * _REDRAWS * int(self.scale) // 2

    def attempt(self, words: Words, count: int) -> NDArray[np.int64]:
        """Between none and ``count`` draws, for as many attempts."""
        scale, width = int(self.scale), int(self.scale) // 2
        pieces = _pieces(words, count)
        low = (words(count) & np.uint64(width - 1)).view(np.int64) if width > 1 else np.zeros(count, dtype=np.int64)
        magnitude = (pieces.astype(np.int64) * scale >> 1) + low
        decision = words(count)
        kept = _accepted(words, decision, self.exponent(magnitude, low))
        negative = (decision & np.uint64(1)).view(np.int64)  # a bit that the decision leaves alone
        kept &= (pieces < _PIECES * _REDRAWS) & (magnitude >= negative)  # zero has one sign
        found = np.flatnonzero(kept)
        return np.asarray(magnitude[found] * (1 - 2 * negative[found]), dtype=np.int64)

    def exponent(self, magnitude: NDArray[np.int64], low: NDArray[np.int64]) -> NDArray[np.float64]:
        """What the proposal leaves to acceptance: k^2 / (2 sigma^2) + share^2 / 2 - pieces / 2, never negative."""
        distance = magnitude / self.sigma
        distance -= self.share
        distance *= distance
        distance *= 0.5
        distance += low / self.scale
        return np.asarray(distance, dtype=np.float64)


def discrete_gaussian(words: Words, sigma: float, size: int) -> NDArray[np.int64]:
    """Sample integers with probability proportional to exp(-k^2 / (2 sigma^2)), up to ``arithmetic_error(sigma)``.

    Shapes: ``(size,)``. Rejection from a discrete Laplace (Canonne, Kamath and Steinke 2020, Alg. 3), in whose place
    stand steps that uniform words decide exactly; only the exponent of the acceptance and its exponential are floats.
    Sigma 0 gives zeros. Raises BadInput for a sigma that is negative, not a number or above LARGEST.
    """
    drawn = np.zeros(size, dtype=np.int64)
    if sigma == 0:
        return drawn
    proposal, have = _Proposal.of(sigma), 0
    while have < size:
        found = proposal.attempt(words, min(_BLOCK, 2 * (size - have) + 16))[: size - have]
        drawn[have : have + len(found)] = found
        have += len(found)
    return drawn


def coins(words: Words, rate: float, size: int) -> NDArray[np.bool_]:
    """Independent coins, shape ``(size,)``, each true with probability floor(2^64 rate) / 2^64: never more than rate.

    That is the rate itself from 2^-11 on. Rates 0 and 1 are certain. Raises BadInput outside of 0 to 1.
    """
    if not 0 <= rate <= 1:
        raise BadInput(f"a coin has a probability between 0 and 1, not {rate}")
    fallen = np.ones(size, dtype=np.bool_)
    for start in range(0, size if rate < 1 else 0, _BLOCK):
        part = fallen[start : start + _BLOCK]
        np.less(words(len(part)), np.uint64(math.ldexp(rate, 64)), out=part)
    return fallen


def below(words: Words, bound: int, size: int) -> NDArray[np.int64]:
    """Independent integers, shape ``(size,)``, uniform from 0 to ``bound`` - 1, each chance right to 2^-38.

    The upper 38 bits of a word times the bound, cut to whole numbers (Lemire 2019, arXiv 1805.10941, without its
    rejection): nothing that protects anybody may rest on it. Raises BadInput for a bound outside of 1 to 2^26.
    """
    if not 1 <= bound <= 2**26:
        raise BadInput(f"integers are drawn below a bound between 1 and {2**26}, not {bound}")
    drawn = np.zeros(size, dtype=np.int64)
    for start in range(0, size if bound > 1 else 0, _BLOCK):
        part = drawn[start : start + _BLOCK].view(np.uint64)
        np.multiply(words(len(part)) >> np.uint64(26), np.uint64(bound), out=part)
        part >>= np.uint64(38)
    return drawn


def _pieces(words: Words, count: int) -> NDArray[np.uint8]:
    """Geometric: P(pieces >= j) = e^(-j/2) up to 128 of them. Having no memory, a word's worth is followed by more."""
    found = _below_powers(words(count))
    for redraw in range(1, _REDRAWS):
        more = np.flatnonzero(found == redraw * _PIECES)
        if len(more) == 0:
            break
        found[more] += _below_powers(words(len(more)))
    return found


def _below_powers(word: NDArray[np.uint64]) -> NDArray[np.uint8]:
    found = np.zeros(len(word), dtype=np.uint8)
    below = np.empty(len(word), dtype=np.bool_)
    for power in _POWERS:
        np.less(word, power, out=below)
        found += below.view(np.uint8)
    return found


def _accepted(words: Words, decision: NDArray[np.uint64], exponent: NDArray[np.float64]) -> NDArray[np.bool_]:
    """True with probability e^-exponent: factors of at least e^-6, a word each, so that none is small."""
    kept = _bernoulli(decision, exponent)
    undecided = np.flatnonzero(kept & (exponent > _STEP))
    left = exponent[undecided] - _STEP
    while len(undecided):
        passed = _bernoulli(words(len(undecided)), left)
        kept[undecided[~passed]] = False
        passed &= left > _STEP
        undecided, left = undecided[passed], left[passed] - _STEP
    return kept


def _bernoulli(word: NDArray[np.uint64], exponent: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether the upper 62 bits of a word are below e^-min(exponent, 6)."""
    probability = np.exp(-np.minimum(exponent, _STEP))
    return np.asarray((word >> np.uint64(2)).view(np.int64) < (probability * _FULL).astype(np.int64))
