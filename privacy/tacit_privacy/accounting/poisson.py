"""The Poisson-subsampled Gaussian by privacy loss distributions (dp-accounting's PLD accountant, pessimistic)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from tacit_privacy.accounting.gaussian import check_delta, epsilon_of

ACCOUNTANT = "dp-accounting PLD"
# Within them distributions take seconds and fit into memory.
_LEAST_NOISE, _MOST_NOISE, _WIDEST, _MOST_ROUNDS = 0.15, 1e6, 1e3, 1_000_000


@dataclass(frozen=True, slots=True)
class PoissonRounds:
    """``rounds`` equal releases, each of devices (or examples) that joined with probability ``rate``."""

    noise_multiplier: float  # noise std / L2 sensitivity, unitless, above 0
    rate: float
    rounds: int


def epsilon_poisson(noise_multiplier: float, rate: float, rounds: int, delta: float) -> float:
    """Upper bound on epsilon for ``rounds`` identical rounds in which a device joins with probability ``rate``."""
    return epsilon_composed((PoissonRounds(noise_multiplier, rate, rounds),), delta)


@lru_cache(maxsize=1024)
def epsilon_composed(parts: tuple[PoissonRounds, ...], delta: float) -> float:
    """Upper bound on epsilon at ``delta`` over everything in ``parts``; nothing is 0.

    Zero-out adjacency, which for this mechanism has the curve of add/remove (Zhu and Wang 2019). Cost does not depend
    on the number of rounds: equal ones are composed as one event (Koskela et al. 2020; Doroshenko et al. 2022).

    Edges: where the loss is spread so widely that distributions would not fit into memory (epsilon in the thousands),
    where there are more than a million rounds, and where there is next to no loss, the bound without sampling is given.
    It holds too: sampling is a channel that a release passes after everybody was in it.
    """
    check_delta(delta)
    parts = tuple(part for part in parts if part.rounds)
    if not tractable(parts):
        squares = (part.rounds / part.noise_multiplier / part.noise_multiplier for part in parts)
        return epsilon_of(math.sqrt(sum(squares)), delta)
    if not parts:
        return 0.0
    from dp_accounting import GaussianDpEvent, NeighboringRelation, PoissonSampledDpEvent, SelfComposedDpEvent
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE)
    for part in parts:
        one = PoissonSampledDpEvent(part.rate, GaussianDpEvent(part.noise_multiplier))
        accountant.compose(SelfComposedDpEvent(one, part.rounds))
    return float(accountant.get_epsilon(delta))


def tractable(parts: Sequence[PoissonRounds]) -> bool:
    """Whether ``epsilon_composed`` composes distributions; where not, it gives the bound without sampling."""
    within = all(_LEAST_NOISE <= part.noise_multiplier <= _MOST_NOISE for part in parts)
    few = sum(part.rounds for part in parts) <= _MOST_ROUNDS
    return within and few and _spread(parts) <= _WIDEST


def _spread(parts: Sequence[PoissonRounds]) -> float:
    """Roughly the largest loss: of as many rounds as a device may be in, or by the central limit, where that is less
    (Dong, Roth and Su 2022). It decides about effort alone, never about a bound.
    """
    likely = central = 0.0
    for part in parts:
        joined = part.rounds * part.rate
        likely += min(part.rounds, joined + 5 * math.sqrt(joined) + 5) / part.noise_multiplier**2
        central += joined * part.rate * math.expm1(min(part.noise_multiplier**-2, 700.0))
    mu = math.sqrt(min(likely, central))
    return mu * (mu / 2 + 5)
