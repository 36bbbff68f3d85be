"""Every bound whose assumption holds, with that assumption in words; the smallest under the named adjacency wins."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tacit_privacy.accounting.events import GaussianEvent
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


def bounds(
    events: Sequence[GaussianEvent], participations: int, delta: float, roster_sealed: bool
) -> tuple[Bound, ...]:
    """All bounds for the releases so far.

    ``participations`` is the most releases that any one device contributed to. Where the noise multipliers differ, the
    worst case is that a device took part in the least noisy ones. Poisson amplification is listed only while nobody
    but the server can see who took part (``roster_sealed``).
    """
    squares = sorted((_mu_squared(event) for event in events), reverse=True)
    poisson = roster_sealed and events and all(event.sampling.kind == "poisson" for event in events)
    amplified = [_poisson_bound(events, delta)] if poisson else []
    return (*_plain_bounds(sum(squares[:participations]), participations, delta), *amplified)


def bounds_repeated(
    event: GaussianEvent, rounds: int, participations: int, delta: float, roster_sealed: bool
) -> tuple[Bound, ...]:
    """``bounds`` of ``rounds`` equal releases, up to rounding, at a cost that does not grow with their number."""
    plain = _plain_bounds(min(participations, rounds) * _mu_squared(event), participations, delta)
    if not roster_sealed or event.sampling.kind != "poisson":
        return plain
    return (*plain, _amplified(PoissonRounds(event.noise_multiplier, event.sampling.rate, rounds), delta))


def _plain_bounds(mu_squared: float, participations: int, delta: float) -> tuple[Bound, Bound]:
    """Without amplification; ``mu_squared`` sums the 1 / z^2 of the releases that one device may have been in."""
    mu = math.sqrt(mu_squared)
    many = f"at most {participations} participation{'s' if participations != 1 else ''} of a device"
    return (
        Bound(f"no amplification, {many}", Adjacency.ZERO_OUT, epsilon_of(mu, delta), EXACT),
        Bound(f"no amplification, {many}", Adjacency.REPLACE_ONE, epsilon_of(2 * mu, delta), EXACT),
    )


def _poisson_bound(events: Sequence[GaussianEvent], delta: float) -> Bound:
    """Identical Poisson rounds compose exactly; different ones are covered by the worst of them."""
    counted = Counter((event.noise_multiplier, event.sampling.rate) for event in events)
    noise, rate = min(z for z, _ in counted), max(q for _, q in counted)
    return _amplified(PoissonRounds(noise, rate, len(events)), delta)


def _amplified(rounds: PoissonRounds, delta: float) -> Bound:
    epsilon = math.inf if rounds.noise_multiplier == 0 else epsilon_composed((rounds,), delta)
    assumption = f"Poisson sampling at rate {rounds.rate:.4g}, who took part stays sealed"
    return Bound(assumption, Adjacency.ZERO_OUT, epsilon, ACCOUNTANT if tractable((rounds,)) else EXACT)


def smallest(listed: Sequence[Bound], adjacency: Adjacency) -> Bound:
    """The tightest bound within ``adjacency``; bounds of another adjacency are shown, never chosen."""
    return min((bound for bound in listed if bound.adjacency == adjacency), key=lambda bound: bound.epsilon)


def _mu_squared(event: GaussianEvent) -> float:
    """1 / z^2; infinity where that is no float."""
    return math.inf if event.noise_multiplier == 0 else 1 / event.noise_multiplier / event.noise_multiplier
