"""Figures that laws compare with, by formulas of their own: nothing here is shared with any subject but SciPy."""

import math
from functools import lru_cache

from scipy.stats import beta, norm


def exact_gaussian(mu: float, delta: float) -> float:
    """epsilon of a mu-GDP mechanism at ``delta``: Balle and Wang 2018, Thm. 8, by bisection."""

    def delta_of(epsilon: float) -> float:
        tail = math.exp(epsilon + float(norm.logcdf(-mu / 2 - epsilon / mu)))
        return float(norm.cdf(mu / 2 - epsilon / mu)) - tail

    low, high = 0.0, 1.0
    while delta_of(high) > delta:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(middle) > delta else (low, middle)
    return high


@lru_cache
def attained_sampled(noise: float, rate: float, rounds: int, delta: float, grid: float) -> float:
    """What an adversary attains against (1 - q) N(0, z^2) + q N(1, z^2) and N(0, z^2), T-fold: a lower bound.

    By optimistic privacy loss distributions on a grid of that step (Doroshenko et al. 2022), the larger of both
    directions. At most T grid steps below the truth; a finer grid takes longer.
    """
    from dp_accounting.pld.privacy_loss_distribution import from_gaussian_mechanism

    one = from_gaussian_mechanism(
        noise,
        sampling_prob=rate,
        pessimistic_estimate=False,
        use_connect_dots=False,
        value_discretization_interval=grid,
    )
    return float(one.self_compose(rounds).get_epsilon_for_delta(delta))


def attained_by_attack(hits: int, false_alarms: int, trials: int, delta: float, error: float = 0.05) -> float:
    """Lower bound on epsilon from a test's hits and false alarms, by Clopper and Pearson at confidence 1 - ``error``.

    Jagielski, Ullman and Oprea 2020: TPR <= e^epsilon FPR + delta.
    """
    true = float(beta.ppf(error / 2, hits, trials - hits + 1)) if hits else 0.0
    false = float(beta.ppf(1 - error / 2, false_alarms + 1, trials - false_alarms)) if false_alarms < trials else 1.0
    return max(0.0, math.log((true - delta) / false)) if true > delta else 0.0
