"""Lower bounds on epsilon from one run with many canaries, each of them in or out by its own fair coin.

Steinke, Nasr and Jagielski 2023 (arXiv 2305.08846) bound how many coins any (epsilon, delta) mechanism lets anybody
guess; Mahloujifar, Melis and Chaudhuri 2024 (arXiv 2410.22235) do it for a whole trade-off curve, which is tighter.
Neither asks that canaries' scores be independent or of any shape: only the coins must be.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit, ndtr, ndtri
from scipy.stats import binom

from tacit_privacy.accounting.gaussian import check_delta, epsilon_of
from tacit_privacy.audit.empirical import check_confidence
from tacit_privacy.errors import BadInput
from tacit_privacy.randomness import stream

SHARES = (0.1, 0.25, 0.5, 1.0)  # of the canaries that are guessed; fixed beforehand, the doubt is split over them
_BEYOND = 1e4  # an epsilon or mu past which nothing is searched: no number of canaries shows more


@dataclass(frozen=True, slots=True)
class OneRun:
    """What one run proves, with ``confidence``. The two lower bounds may come from different numbers of guesses."""

    canaries: int
    included: int
    delta: float
    confidence: float
    guesses: int  # behind the bound for a Gaussian curve
    correct: int
    mu: float  # every smaller mu is refuted: the mechanism is not mu-GDP for any of them
    epsilon_gaussian: float  # of that curve, at delta: a bound for mechanisms whose claim is a Gaussian curve
    epsilon_any: float  # a bound for whatever claims (epsilon, delta)

    def as_json(self) -> dict[str, float | int]:
        return {name: getattr(self, name) for name in self.__slots__}


def one_run(
    scores: ArrayLike, included: ArrayLike, delta: float, confidence: float, shares: Sequence[float] = SHARES
) -> OneRun:
    """Guess the highest scores in and as many of the lowest out, abstain between, and bound epsilon by the hits.

    Shapes: ``(m,)`` scores, higher for canaries that seem to have taken part, and ``(m,)`` truth; the truth must be
    independent fair coins that nothing but the mechanism has seen. Every share of guesses is tried, the doubt split
    over them (Bonferroni), so the best may be taken. Raises BadInput on scores that are no numbers.
    """
    check_delta(delta)
    check_confidence(confidence)
    values, truth = _checked(scores, included)
    count = len(values)
    doubt = (1 - confidence) / max(1, len(shares))
    best, epsilon_any = OneRun(count, int(truth.sum()), delta, confidence, 0, 0, 0.0, 0.0, 0.0), 0.0
    order = _ranking(values)
    for guesses in sorted({2 * round(share * count / 2 - 1e-9) for share in shares} - {0}):
        if guesses > count:
            continue
        half = guesses // 2
        correct = int(np.count_nonzero(~truth[order[:half]]) + np.count_nonzero(truth[order[count - half :]]))
        mu = mu_refuted(count, guesses, correct, doubt)
        epsilon_any = max(epsilon_any, epsilon_refuted(count, guesses, correct, delta, doubt))
        if mu >= best.mu:
            gaussian = epsilon_of(mu, delta) if mu else 0.0
            best = OneRun(count, best.included, delta, confidence, guesses, correct, mu, gaussian, 0.0)
    return OneRun(
        count, best.included, delta, confidence, best.guesses, best.correct, best.mu, best.epsilon_gaussian, epsilon_any
    )


def _checked(scores: ArrayLike, included: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(included, dtype=np.bool_)
    if values.ndim != 1 or values.shape != truth.shape:
        raise BadInput(f"one score and one truth for every canary; got shapes {values.shape} and {truth.shape}")
    if np.isnan(values).any():
        raise BadInput("a score is not a number; leave out canaries that were not scored")
    return values, truth


def _ranking(values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Ascending. Equal scores in a shuffled order: that of a file may know what is to be guessed."""
    shuffled = stream(0, "ties", len(values)).permutation(len(values))
    return np.asarray(shuffled[np.argsort(values[shuffled], kind="stable")])


def chance_of(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """Most that an (epsilon, delta) mechanism allows the chance of so many right guesses (arXiv 2305.08846).

    P(Binomial(guesses, e^eps / (1 + e^eps)) >= correct), plus what delta may add to it.
    """
    right = float(expit(epsilon))
    tail = float(binom.sf(correct - 1, guesses, right))
    steps = np.arange(1, correct + 1)
    more = (binom.sf(correct - steps - 1, guesses, right) - tail) / steps
    return min(1.0, tail + 2 * canaries * delta * float(np.max(more, initial=0.0)))


def epsilon_refuted(canaries: int, guesses: int, correct: int, delta: float, doubt: float) -> float:
    """The largest epsilon at ``delta`` that so many right guesses refute at significance ``doubt``; 0 where none."""

    def excess(epsilon: float) -> float:
        return chance_of(canaries, guesses, correct, epsilon, delta) - doubt

    return _root(excess)


def curve_allows(canaries: int, guesses: int, correct: int, mu: float, doubt: float) -> float:
    """Positive where a mu-GDP mechanism cannot give so many right guesses with probability ``doubt`` or more.

    The recursion of arXiv 2410.22235 with abstention, for two alternatives: suppose that so many right guesses had
    probability ``doubt``; the trade-off curve then bounds from below the mass of every smaller number of right guesses,
    and all of it together must not pass the guesses there are. Returns that sum less what there is, over the canaries.
    """
    right, wrong = doubt * correct / canaries, doubt * (guesses - correct) / canaries
    for number in range(correct - 1, -1, -1):
        least = max(wrong, float(ndtr(ndtri(min(right, 1.0)) - mu)))
        if least == wrong:  # nothing can change any more
            break
        right = min(1.0, right + number / (guesses - number) * (least - wrong))
        wrong = least
    return right + wrong - guesses / canaries


def mu_refuted(canaries: int, guesses: int, correct: int, doubt: float) -> float:
    """The largest mu whose Gaussian trade-off curve so many right guesses refute at ``doubt``; 0 where none."""
    if 2 * correct <= guesses:
        return 0.0  # no better than coins
    return _root(lambda mu: -curve_allows(canaries, guesses, correct, mu, doubt))


def _root(excess: Callable[[float], float]) -> float:
    """Where a rising function passes 0, rounded down; 0 where it is never below."""
    if excess(0.0) >= 0:
        return 0.0
    low, high = 0.0, 1.0
    while excess(high) < 0:
        low, high = high, 2 * high
        if high > _BEYOND:
            return low
    root = float(brentq(excess, low, high, xtol=1e-9, rtol=1e-12))
    return max(0.0, root - 1e-8)
