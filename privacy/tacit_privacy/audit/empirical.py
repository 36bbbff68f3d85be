"""Epsilon from what an attacker sees: intervals of proportions, the best threshold, and two Gaussians.

A lower bound holds with a confidence and speaks of the attack that was tried: it never shows that a mechanism is
private.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import betaincinv, log_ndtr, ndtri
from scipy.stats import chi2, t

from tacit_privacy.accounting.gaussian import check_delta
from tacit_privacy.errors import BadInput

F64 = NDArray[np.float64]
_TAIL = 12  # thresholds are tried down to 2^-12 of the scores on either side, and at both ends
_WIDTHS = 33  # standard deviations tried within their interval


def check_confidence(confidence: float) -> None:
    """Raise BadInput unless 0 < confidence < 1."""
    if not 0 < confidence < 1:
        raise BadInput(f"confidence must lie between 0 and 1, got {confidence}")


def clopper_pearson(successes: ArrayLike, trials: int, doubt: float) -> tuple[F64, F64]:
    """One-sided bounds below and above the probability of a success (Clopper and Pearson 1934).

    Shapes: ``successes`` of any shape, ``(low, high)`` of the same. Guarantee: of independent trials, each bound alone
    is wrong with probability at most ``doubt``. Edges: 0 successes give low 0, all successes high 1; no trial, 0 and 1.
    Raises BadInput on counts that cannot be.
    """
    return _beta_bounds(successes, trials, doubt, 0.0)


def jeffreys(successes: ArrayLike, trials: int, doubt: float) -> tuple[F64, F64]:
    """As ``clopper_pearson``, by the Beta(1/2, 1/2) prior: shorter, right on average and not for every probability."""
    return _beta_bounds(successes, trials, doubt, 0.5)


def _beta_bounds(successes: ArrayLike, trials: int, doubt: float, prior: float) -> tuple[F64, F64]:
    check_confidence(1 - doubt)
    k = np.asarray(successes, dtype=np.float64)
    if trials < 0 or (k < 0).any() or (k > trials).any():
        raise BadInput(f"successes lie between 0 and the number of trials, {trials}; got {k.tolist()}")
    rest, first, second = trials - k, prior or 1.0, prior
    low = np.where(k > 0, betaincinv(np.maximum(k + second, 0.5), rest + first, doubt), 0.0)
    high = np.where(rest > 0, betaincinv(k + first, np.maximum(rest + second, 0.5), 1 - doubt), 1.0)
    return low, high


def epsilon_from_rates(true_rate: ArrayLike, false_rate: ArrayLike, delta: float) -> F64:
    """The least epsilon that allows an event of these probabilities under two neighbours (Kairouz et al. 2015).

    (epsilon, delta)-DP means P(E) <= e^epsilon Q(E) + delta for an event and for its complement, either way round.
    Shapes: any, broadcast. At least 0; infinity where the event tells the neighbours apart for certain.
    """
    hit, alarm = np.broadcast_arrays(np.asarray(true_rate, np.float64), np.asarray(false_rate, np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        event = np.log(np.maximum(hit - delta, 0.0)) - np.log(alarm)
        complement = np.log(np.maximum(1 - alarm - delta, 0.0)) - np.log1p(-hit)
    return np.asarray(np.fmax(np.fmax(event, complement), 0.0), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Counted:
    """An event that was counted under two neighbours, and the epsilon it proves. Bounds are of ``clopper_pearson``."""

    true_positives: int
    positives: int
    false_positives: int
    negatives: int
    true_rate: float  # at least this, under the one neighbour
    false_rate: float  # at most this, under the other
    epsilon: float

    @property
    def mu(self) -> float:
        """The least mu whose Gaussian trade-off curve allows both rates (Dong, Roth and Su 2022), at least 0."""
        if self.true_rate <= self.false_rate:
            return 0.0
        return float(ndtri(self.true_rate) - ndtri(self.false_rate))


def epsilon_lower_bound(
    true_positives: int, positives: int, false_positives: int, negatives: int, delta: float, confidence: float
) -> Counted:
    """Epsilon at ``delta`` that an event proves, with ``confidence``, half of the doubt spent on either rate.

    For one event that was fixed before these counts were seen. Raises BadInput on counts that cannot be.
    """
    check_confidence(confidence)
    doubt = (1 - confidence) / 2
    low = float(clopper_pearson(true_positives, positives, doubt)[0])
    high = float(clopper_pearson(false_positives, negatives, doubt)[1])
    epsilon = float(epsilon_from_rates(low, high, delta))
    return Counted(true_positives, positives, false_positives, negatives, low, high, epsilon)


def at_thresholds(
    seen: F64, unseen: F64, thresholds: Sequence[float], delta: float, confidence: float
) -> tuple[Counted, ...]:
    """The bounds of the events "score at or above the threshold", all true at once with ``confidence`` (Bonferroni).

    The thresholds must not come from these scores.
    """
    each = 1 - (1 - confidence) / max(1, len(thresholds))
    return tuple(
        epsilon_lower_bound(int((seen >= cut).sum()), len(seen), int((unseen >= cut).sum()), len(unseen), delta, each)
        for cut in thresholds
    )


def candidate_thresholds(seen: F64, unseen: F64) -> F64:
    """Thresholds worth a try: quantiles of all scores, closer together towards both ends."""
    tails = 2.0 ** -np.arange(1, _TAIL + 1)
    levels = np.unique(np.concatenate([tails, 1 - tails, np.linspace(0.02, 0.98, 49)]))
    pooled = np.concatenate([seen, unseen])
    return np.unique(np.quantile(pooled, levels, method="lower")) if len(pooled) else pooled


def best_thresholds(seen: F64, unseen: F64, delta: float) -> tuple[float, ...]:
    """The thresholds that promise most on these scores: for epsilon at ``delta``, and for a Gaussian's mu.

    Shapes: ``(n,)`` and ``(m,)``. The promise is judged by Clopper-Pearson bounds, so that a handful of extreme scores
    is not mistaken for evidence. To be used on other scores than these: see ``held_out``.
    """
    cuts = candidate_thresholds(seen, unseen)
    if not len(seen) or not len(unseen):
        return ()
    hits = len(seen) - np.searchsorted(np.sort(seen), cuts, side="left")
    alarms = len(unseen) - np.searchsorted(np.sort(unseen), cuts, side="left")
    low = clopper_pearson(hits, len(seen), 1e-3)[0]
    high = clopper_pearson(alarms, len(unseen), 1e-3)[1]
    with np.errstate(invalid="ignore"):
        mu = np.where(low > high, ndtri(low) - ndtri(high), 0.0)
    promised = epsilon_from_rates(low, high, delta)
    return tuple({float(cuts[int(np.argmax(promised))]): None, float(cuts[int(np.argmax(mu))]): None})


def held_out(seen: ArrayLike, unseen: ArrayLike, delta: float, confidence: float) -> tuple[Counted, ...]:
    """Choose thresholds on every other score, count on the rest: what is chosen never sees what it is judged on.

    Shapes: ``(n,)`` scores under the one neighbour, ``(m,)`` under the other, each independent. All returned bounds are
    true at once with ``confidence``; the largest may therefore be taken.
    """
    first, second = np.asarray(seen, np.float64), np.asarray(unseen, np.float64)
    chosen = best_thresholds(first[::2], second[::2], delta)
    return at_thresholds(first[1::2], second[1::2], chosen, delta, confidence)


def log_delta_two_gaussians(mu1: float, sd1: float, mu2: float, sd2: float, epsilon: float) -> float:
    """Logarithm of the delta at ``epsilon`` of N(mu1, sd1^2) against N(mu2, sd2^2): P(L > eps) - e^eps Q(L > eps).

    The privacy loss L is quadratic in the outcome, so its upper set is a half line, an interval or its complement.
    -inf where delta is 0.
    """
    a = (sd2**-2 - sd1**-2) / 2
    b = mu1 / sd1**2 - mu2 / sd2**2
    c = ((mu2 / sd2) ** 2 - (mu1 / sd1) ** 2) / 2 + math.log(sd2) - math.log(sd1) - epsilon
    if abs(a) * max(sd1, sd2) ** 2 < 1e-12:  # equal widths: the loss is linear
        if b == 0:
            return -math.inf
        root, sign = -c / b, math.copysign(1.0, b)
        first, second = (float(log_ndtr(sign * (mu - root) / sd)) for mu, sd in ((mu1, sd1), (mu2, sd2)))
        return _log_difference(first, epsilon + second)
    square = b * b - 4 * a * c
    if square <= 0:  # the loss is above epsilon everywhere (impossible beside delta > 0) or nowhere
        return -math.inf
    half = -(b + math.copysign(math.sqrt(square), b)) / 2  # the root that nothing cancels in
    low, high = sorted((half / a, c / half))
    inside = _log_outside if a > 0 else _log_within
    return _log_difference(inside(low, high, mu1, sd1), epsilon + inside(low, high, mu2, sd2))


def _log_outside(low: float, high: float, mu: float, sd: float) -> float:
    return float(np.logaddexp(log_ndtr((low - mu) / sd), log_ndtr((mu - high) / sd)))


def _log_within(low: float, high: float, mu: float, sd: float) -> float:
    left, right = (low - mu) / sd, (high - mu) / sd
    if left > 0:  # the lower tail is the exact one
        left, right = -right, -left
    return _log_difference(float(log_ndtr(right)), float(log_ndtr(left)))


def _log_difference(first: float, second: float) -> float:
    """log(e^first - e^second), -inf where that is not positive."""
    return first + math.log1p(-math.exp(second - first)) if first > second else -math.inf


def epsilon_two_gaussians(mu1: float, sd1: float, mu2: float, sd2: float, delta: float) -> float:
    """The epsilon at ``delta`` that tells two Gaussians apart, either way round (Andrew et al. 2023, arXiv 2302.03098).

    With equal widths it is that of a Gaussian mechanism of mu = |mu1 - mu2| / sd. At least 0. Raises BadInput unless
    both widths are positive and all numbers finite.
    """
    check_delta(delta)
    if not (sd1 > 0 and sd2 > 0 and all(map(math.isfinite, (mu1, sd1, mu2, sd2)))):
        raise BadInput(f"a Gaussian needs a finite mean and a positive width, got N({mu1}, {sd1}^2), N({mu2}, {sd2}^2)")
    wanted = math.log(delta)

    def excess(epsilon: float) -> float:
        there = log_delta_two_gaussians(mu1, sd1, mu2, sd2, epsilon)
        back = log_delta_two_gaussians(mu2, sd2, mu1, sd1, epsilon)
        return max(there, back, -1e300) - wanted

    if excess(0.0) <= 0:
        return 0.0
    high = 1.0
    while excess(high) > 0:
        high *= 2
    return float(brentq(excess, 0.0, high, xtol=1e-9, rtol=1e-12))


@dataclass(frozen=True, slots=True)
class Estimate:
    """The one-shot estimate and what it rests on. Not a bound: it is as likely above the truth as below."""

    epsilon: float
    low: float  # of the estimate's own sampling error, not of the mechanism's epsilon
    high: float
    mean: float  # of the scores of canaries that took part, in standard deviations of those that did not
    deviation: float
    count: int


def one_shot_estimate(scores: ArrayLike, delta: float, confidence: float) -> Estimate | None:
    """Epsilon as if scores were N(0, 1) without and N(mean, deviation^2) with a canary (Andrew et al. 2023).

    ``scores`` (n,) of canaries that took part, in units of their null distribution: for a random direction of p
    dimensions sqrt(p) times its cosine with what was released, since a cosine with anything that does not depend on the
    direction is N(0, 1/p). The interval is Student's for the mean and chi-squared for the deviation, together at
    ``confidence``, for independent Gaussian scores. None where fewer than three scores or no spread allow no estimate.
    """
    check_confidence(confidence)
    values = np.asarray(scores, dtype=np.float64)
    if len(values) < 3 or not np.isfinite(values).all() or float(np.std(values)) == 0.0:
        return None
    mean, deviation, count = float(np.mean(values)), float(np.std(values, ddof=1)), len(values)
    doubt = (1 - confidence) / 2
    margin = float(t.ppf(1 - doubt / 2, count - 1)) * deviation / math.sqrt(count)
    widths = [deviation * math.sqrt((count - 1) / float(chi2.ppf(p, count - 1))) for p in (1 - doubt / 2, doubt / 2)]
    equal = min(max(1.0, widths[0]), widths[1])  # equal widths tell least
    tried = [*np.geomspace(widths[0], widths[1], _WIDTHS).tolist(), equal]
    nearest = max(0.0, abs(mean) - margin)
    least = min(epsilon_two_gaussians(0.0, 1.0, nearest, width, delta) for width in tried)
    most = max(epsilon_two_gaussians(0.0, 1.0, abs(mean) + margin, width, delta) for width in tried)
    epsilon = epsilon_two_gaussians(0.0, 1.0, mean, deviation, delta)
    return Estimate(epsilon, least, most, mean, deviation, count)
