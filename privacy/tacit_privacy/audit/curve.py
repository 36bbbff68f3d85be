"""What a curve of (epsilon, delta) means for somebody who tries to tell: how often a test succeeds, at most.

Both hold for every mechanism that is (epsilon, delta)-DP in both directions at all the points given (Kairouz, Oh and
Viswanath 2015, Theorem 2.1), so they need no assumption about the shape of the curve.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from scipy.special import ndtri

from tacit_privacy.accounting.gaussian import delta_of

_LEAST, _MOST = 1e-15, 1 - 1e-9  # deltas between which a curve is asked


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a curve: (epsilon, delta)-DP holds."""

    epsilon: float
    delta: float


def detected(false_alarms: float, points: Iterable[Point]) -> float:
    """The most that a test with this rate of false alarms finds of what is there (its true positive rate)."""
    found = 1.0
    for point in points:
        if point.epsilon > 700:  # e^epsilon is no float, and says nothing
            continue
        found = min(
            found,
            point.delta + math.exp(point.epsilon) * false_alarms,
            1 - (1 - false_alarms - point.delta) * math.exp(-point.epsilon),
        )
    return found


def guessed(points: Iterable[Point]) -> float:
    """The most probability of a right guess between two cases that are equally likely beforehand; 1/2 is a coin."""
    found = 1.0
    for point in points:
        shrunk = math.exp(-point.epsilon)
        found = min(found, (1 + point.delta * shrunk) / (1 + shrunk))
    return found


def touching(mu: float, false_alarms: Iterable[float], epsilon_at: Callable[[float], float]) -> list[Point]:
    """Points at which ``detected`` meets the trade-off curve Phi(Phi^-1(a) + mu) of a Gaussian (Dong, Roth and Su 2022,
    Corollary 1), and one at which ``guessed`` meets Phi(mu / 2).

    ``epsilon_at`` is the epsilon that is charged at a delta: what arithmetic costs is in it. Edges: nothing moved
    is (0, 0); an infinite mu touches nowhere.
    """
    if mu == 0:
        return [Point(0.0, 0.0)]
    if not 0 < mu < math.inf:
        return []
    slopes = [0.0, *(abs(-mu * float(ndtri(alarms)) - mu * mu / 2) for alarms in false_alarms)]
    deltas = {min(max(delta_of(mu, slope) * (1 + 1e-9), _LEAST), _MOST) for slope in slopes}
    return [Point(epsilon_at(delta), delta) for delta in sorted(deltas)]
