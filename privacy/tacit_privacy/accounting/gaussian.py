"""The exact privacy curve of composed Gaussian releases (Balle and Wang 2018; Dong, Roth and Su 2022, mu-GDP)."""

import math
from collections.abc import Callable
from functools import lru_cache

from scipy.special import log_ndtr, ndtr, ndtri

from tacit_privacy.errors import BadInput

_ROUND_UP = 1 + 1e-9  # far above the root finder's tolerance, far below the digits shown
_WIDE = 1e5  # a mu beyond which the curve's second term is nothing (1e-9 of epsilon) and drowns in rounding


def delta_of(mu: float, epsilon: float) -> float:
    """delta(epsilon) of a mu-GDP mechanism: Phi(mu/2 - eps/mu) - e^eps Phi(-mu/2 - eps/mu). mu 0 gives 0."""
    if mu == 0:
        return 0.0
    tail = math.exp(epsilon + float(log_ndtr(-mu / 2 - epsilon / mu)))
    return max(0.0, float(ndtr(mu / 2 - epsilon / mu)) - tail)


@lru_cache(maxsize=4096)
def epsilon_of(mu: float, delta: float) -> float:
    """The smallest epsilon with delta_of(mu, epsilon) <= delta, rounded up. mu 0 gives 0, infinity infinity."""
    check_delta(delta)
    if mu > _WIDE:  # without the second term: an upper bound; a product too large for a float is infinity
        return mu * (mu / 2 - float(ndtri(delta))) * _ROUND_UP
    if mu == 0 or delta_of(mu, 0.0) <= delta:
        return 0.0
    high = 1.0
    while delta_of(mu, high) > delta:
        high *= 2
    return _root(lambda epsilon: delta_of(mu, epsilon) - delta, 0.0, high) * _ROUND_UP


def mu_for(epsilon: float, delta: float) -> float:
    """The largest mu whose curve passes (epsilon, delta), rounded down: the inverse of ``epsilon_of``."""
    check_delta(delta)
    if not 0 < epsilon < math.inf:
        raise BadInput(f"epsilon must be a positive number, got {epsilon}")
    if epsilon > _WIDE**2 / 2:
        tail = float(ndtri(delta))
        return (math.sqrt(tail * tail + 2 * epsilon) + tail) / _ROUND_UP**2
    high = 1.0
    while delta_of(high, epsilon) <= delta:
        high *= 2
    return _root(lambda mu: delta_of(mu, epsilon) - delta, 1e-12, high) / _ROUND_UP**2


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import brentq  # not with the module: commands that compute no bound would wait for it

    return float(brentq(function, low, high, xtol=1e-12, rtol=1e-12))


def check_delta(delta: float) -> None:
    """Raise BadInput unless 0 < delta < 1."""
    if not 0 < delta < 1:
        raise BadInput(f"delta must lie between 0 and 1, got {delta}")
