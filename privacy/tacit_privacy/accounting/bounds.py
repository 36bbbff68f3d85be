"""Every bound whose assumption holds, with that assumption in words; the smallest under the named adjacency wins."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tacit_privacy.accounting.discrete import Drawn, charged, effective
from tacit_privacy.accounting.events import Adjacency, Arithmetic, Exposure, GaussianEvent, Tally
from tacit_privacy.accounting.gaussian import epsilon_of
from tacit_privacy.accounting.poisson import ACCOUNTANT
from tacit_privacy.accounting.sampled import SampledRounds, epsilon_sampled, fits
from tacit_privacy.accounting.worst import Moved, moved

EXACT = "exact Gaussian"


@dataclass(frozen=True, slots=True)
class Bound:
    """An upper bound on epsilon and what it rests on."""

    assumption: str
    adjacency: Adjacency
    epsilon: float
    accountant: str

    def as_json(self) -> dict[str, str | float | None]:
        """``epsilon`` is null where nothing is bounded."""
        return {
            "assumption": self.assumption,
            "adjacency": str(self.adjacency),
            "epsilon": self.epsilon if math.isfinite(self.epsilon) else None,
            "accountant": self.accountant,
        }


def bounds(
    tally: Tally,
    exposure: Exposure,
    delta: float,
    arithmetic: Arithmetic | None = None,
    within: Adjacency | None = None,
) -> tuple[Bound, ...]:
    """All bounds for the releases of ``tally``, at a cost that does not grow with the number of equal ones.

    Amplification by sampling is listed only while nobody but the server can see who took part; different releases then
    compose exactly, as long as all were fixed before the first (``filters`` is for those that were not). ``arithmetic``
    None: the noise is continuous. ``within``: of one adjacency only.
    """
    plain = without_amplification(tally, exposure, delta, arithmetic)
    listed = (*plain, *_with_amplification(tally, exposure, delta, arithmetic, within))
    return tuple(bound for bound in listed if within in (None, bound.adjacency))


def without_amplification(
    tally: Tally,
    exposure: Exposure,
    delta: float,
    arithmetic: Arithmetic | None = None,
    within: Adjacency | None = None,
) -> tuple[Bound, ...]:
    """The bounds that claim nothing from sampling: quick, and valid however the releases were chosen on the way.

    Where the noise multipliers differ, the worst case is that a device took part in the least noisy releases.
    ``within``: of one adjacency only.
    """
    many = f"at most {exposure.participations} participation{'s' if exposure.participations != 1 else ''} of a device"
    if any(event.correlation for event in tally):
        apart = f"{exposure.separation} round{'s' if exposure.separation != 1 else ''}"
        assumption = f"correlated noise, {many}, at least {apart} apart"
    else:
        assumption = f"no amplification, {many}"

    def bound(adjacency: Adjacency) -> Bound:
        worst = moved(tally, exposure, _reach(adjacency), arithmetic)
        return Bound(assumption, adjacency, _plain_epsilon(worst, delta), EXACT)

    return tuple(bound(adjacency) for adjacency in Adjacency if within in (None, adjacency))


def smallest(listed: Sequence[Bound], adjacency: Adjacency) -> Bound:
    """The tightest bound within ``adjacency``; bounds of another adjacency are shown, never chosen."""
    return min((bound for bound in listed if bound.adjacency == adjacency), key=lambda bound: bound.epsilon)


def _reach(adjacency: Adjacency) -> float:
    """How far a device moves a sum, in its clip norm."""
    return 2.0 if adjacency is Adjacency.REPLACE_ONE else 1.0


def _plain_epsilon(worst: Moved, delta: float) -> float:
    return charged(lambda left: epsilon_of(worst.mu, left) if left > 0 else math.inf, delta, worst.drawn)


def _with_amplification(
    tally: Tally, exposure: Exposure, delta: float, arithmetic: Arithmetic | None, within: Adjacency | None
) -> tuple[Bound, ...]:
    """One bound of each adjacency, where something was sampled in secret; what was not is composed with the rest."""
    exhaustible = exposure.participations < sum(tally.values()) or exposure.separation > 1
    sampled = {event: count for event, count in tally.items() if count and _amplified(event, exhaustible)}
    if not exposure.sealed or not sampled:
        return ()
    rest = {event: count for event, count in tally.items() if event not in sampled}
    assumption = _sampling_in_words(sampled, rest, exposure)

    def bound(adjacency: Adjacency) -> Bound:
        beside = moved(rest, exposure, _reach(adjacency), arithmetic)
        parts = tuple(
            SampledRounds(effective(event, arithmetic), event.sampling, count, exhaustible)
            for event, count in sorted(sampled.items(), key=lambda item: item[0].model_dump_json())
        )
        accountant = ACCOUNTANT if fits(parts, beside.mu) else EXACT
        if not all(part.noise_multiplier > 0 for part in parts):
            return Bound(assumption, adjacency, math.inf, accountant)
        drawn = _drawn(sampled, _reach(adjacency), arithmetic, beside.drawn)
        replaced = adjacency is Adjacency.REPLACE_ONE

        def sampled_epsilon(left: float) -> float:
            return epsilon_sampled(parts, beside.mu, replaced, left) if left > 0 else math.inf

        epsilon = charged(sampled_epsilon, delta, drawn)
        return Bound(assumption, adjacency, epsilon, accountant)

    return tuple(bound(adjacency) for adjacency in Adjacency if within in (None, adjacency))


def _amplified(event: GaussianEvent, exhaustible: bool) -> bool:
    """Whether the sampling of this event bounds anything: cohorts chosen in any way, and those of a fixed size once
    participations may run out, do not."""
    if event.correlation is not None or event.sampling.kind == "fixed":
        return False
    return event.sampling.kind == "poisson" or not exhaustible


def _sampling_in_words(sampled: Tally, rest: Tally, exposure: Exposure) -> str:
    def words(event: GaussianEvent) -> str:
        sampling = event.sampling
        if sampling.kind == "uniform":
            return f"uniform cohorts of fixed size, {sampling.cohort} of {sampling.population}"
        capped = f" with at most {sampling.cap} at once" if sampling.cap is not None else ""
        return f"Poisson sampling at rate {sampling.rate:.4g}{capped}"

    kinds = sorted({words(event) for event in sampled})
    listed = kinds[0] if len(kinds) == 1 else f"{kinds[0]} and {len(kinds) - 1} more, fixed in advance"
    capped = any(event.sampling.cap is not None for event in sampled)
    spent = (
        ", who is left out has used a participation"
        if capped and exposure.participations < sum((*sampled.values(), *rest.values()))
        else ""
    )
    return f"{listed}{spent}, who took part stays sealed"


def _drawn(sampled: Tally, reach: float, arithmetic: Arithmetic | None, beside: Drawn | None) -> Drawn | None:
    """The numbers drawn in every release that a device may have been in."""
    if arithmetic is None:
        return None
    noise = min(event.noise_multiplier for event in sampled)
    sigma, shift, releases = noise * arithmetic.levels, reach / noise, sum(sampled.values())
    if beside is not None:
        sigma, shift, releases = min(sigma, beside.sigma), max(shift, beside.shift), releases + beside.releases
    return Drawn(releases, arithmetic.dimension, shift, sigma)
