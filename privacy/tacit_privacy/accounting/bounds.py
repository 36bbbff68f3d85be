"""Every bound whose assumption holds, with that assumption in words; the smallest under the named adjacency wins."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tacit_privacy.accounting.events import Arithmetic, Exposure, GaussianEvent, Tally
from tacit_privacy.accounting.gaussian import epsilon_of
from tacit_privacy.accounting.poisson import ACCOUNTANT, PoissonRounds, epsilon_composed, tractable

EXACT = "exact Gaussian"


class Adjacency(StrEnum):
    """Which two fleets must be hard to tell apart."""

    ZERO_OUT = "zero-out"  # one device's contributions are replaced by zeros
    REPLACE_ONE = "replace-one"  # one device's contributions are replaced by any others


@dataclass(frozen=True, slots=True)
class Bound:
    """An upper bound on epsilon and what it rests on."""

    assumption: str
    adjacency: Adjacency
    epsilon: float
    accountant: str

    def as_json(self) -> dict[str, str | float]:
        return {
            "assumption": self.assumption,
            "adjacency": str(self.adjacency),
            "epsilon": self.epsilon,
            "accountant": self.accountant,
        }


def bounds(tally: Tally, exposure: Exposure, delta: float, arithmetic: Arithmetic | None = None) -> tuple[Bound, ...]:
    """All bounds for the releases of ``tally``, at a cost that does not grow with the number of equal ones.

    Where the noise multipliers differ, the worst case is that a device took part in the least noisy releases. Poisson
    amplification is listed only while nobody but the server can see who took part. ``arithmetic`` None: the noise is
    continuous.
    """
    plain = without_amplification(tally, exposure, delta, arithmetic)
    poisson = exposure.sealed and tally and all(event.sampling.kind == "poisson" for event in tally)
    return (*plain, _poisson_bound(tally, delta)) if poisson else plain


def without_amplification(
    tally: Tally, exposure: Exposure, delta: float, arithmetic: Arithmetic | None = None
) -> tuple[Bound, ...]:
    """The bounds that claim nothing from sampling: quick, and valid however the releases were chosen on the way."""
    many = f"at most {exposure.participations} participation{'s' if exposure.participations != 1 else ''} of a device"
    mu = math.sqrt(_worst(tally, exposure.participations))
    return (
        Bound(f"no amplification, {many}", Adjacency.ZERO_OUT, epsilon_of(mu, delta), EXACT),
        Bound(f"no amplification, {many}", Adjacency.REPLACE_ONE, epsilon_of(2 * mu, delta), EXACT),
    )


def _worst(tally: Tally, participations: int) -> float:
    """The sum of 1 / z^2 over as many of the least noisy releases as one device may have been in."""
    total, left = 0.0, participations
    for event, count in sorted(tally.items(), key=lambda item: item[0].noise_multiplier):
        if min(count, left) > 0:
            total += min(count, left) * mu_squared(event)
            left -= min(count, left)
    return total


def _poisson_bound(tally: Tally, delta: float) -> Bound:
    """Identical Poisson rounds compose exactly; different ones are covered by the worst of them."""
    noise = min(event.noise_multiplier for event in tally)
    rate = max(event.sampling.rate for event in tally)
    return _amplified(PoissonRounds(noise, rate, sum(tally.values())), delta)


def _amplified(rounds: PoissonRounds, delta: float) -> Bound:
    epsilon = math.inf if rounds.noise_multiplier == 0 else epsilon_composed((rounds,), delta)
    assumption = f"Poisson sampling at rate {rounds.rate:.4g}, who took part stays sealed"
    return Bound(assumption, Adjacency.ZERO_OUT, epsilon, ACCOUNTANT if tractable((rounds,)) else EXACT)


def smallest(listed: Sequence[Bound], adjacency: Adjacency) -> Bound:
    """The tightest bound within ``adjacency``; bounds of another adjacency are shown, never chosen."""
    return min((bound for bound in listed if bound.adjacency == adjacency), key=lambda bound: bound.epsilon)


def mu_squared(event: GaussianEvent) -> float:
    """1 / z^2; infinity where that is no float."""
    return math.inf if event.noise_multiplier == 0 else 1 / event.noise_multiplier / event.noise_multiplier
