"""What a fleet can afford, before anyone trains: cohorts and rounds with the noise that keeps them within a budget."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tacit_privacy.accounting.events import Adjacency
from tacit_privacy.accounting.filters import rdp_noise
from tacit_privacy.accounting.plan import Plan
from tacit_privacy.errors import BadInput

LEVEL = 1.0
"""Noise-to-signal up to which a plan counts as affordable: noise in the mean as long as the longest update."""

ROUNDS = (10, 30, 100, 300, 1000)
_SHARES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is fixed before a plan: ``dimension`` is the number of parameters of the adapter that devices send.

    ``participations`` None: as many of each device as the rounds need (without sampling), or no cap (with it).
    """

    population: int
    dimension: int
    epsilon: float
    delta: float
    adjacency: Adjacency = Adjacency.ZERO_OUT
    sampling: str = "none"
    participations: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One plan. ``noise_to_signal``: expected norm of the noise in the mean / clip norm, z sqrt(d) / cohort."""

    cohort: int
    rounds: int
    participations: int
    noise_multiplier: float
    noise_to_signal: float
    uploads: int
    affordable: bool
    accountant: str

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def default_cohorts(population: int) -> tuple[int, ...]:
    """From a thousandth of the fleet to all of it."""
    return tuple(sorted({max(1, round(population * share)) for share in _SHARES}))


def rows(fleet: Fleet, cohorts: Sequence[int], rounds: Sequence[int], level: float = LEVEL) -> tuple[Row, ...]:
    """Every cohort with every number of rounds that the fleet's participations can fill, the best first per rounds.

    Without sampling by the exact curve; with it by Renyi divergences, which are quick and ask for a few per cent more
    noise than is needed, and by distributions for the best row of every number of rounds. Raises BadInput where
    sampling is combined with replace-one.
    """
    if fleet.sampling != "none" and fleet.adjacency is not Adjacency.ZERO_OUT:
        raise BadInput("a plan counts sampling under zero-out only; leave --sampling or --adjacency out")
    found: list[Row] = []
    for count in rounds:
        quick = [row for cohort in cohorts if (row := _row(fleet, cohort, count, level)) is not None]
        quick.sort(key=_rank)
        if quick and fleet.sampling != "none":
            quick[0] = _exact(fleet, quick[0], level)
        found.extend(quick)
    return tuple(found)


def best(listed: Sequence[Row]) -> tuple[Row, ...]:
    """For every number of rounds the affordable row with the fewest uploads, or else the one with the least noise."""
    chosen: dict[int, Row] = {}
    for row in sorted(listed, key=_rank):
        chosen.setdefault(row.rounds, row)
    return tuple(chosen[count] for count in sorted(chosen))


def _rank(row: Row) -> tuple[bool, float]:
    return not row.affordable, row.uploads if row.affordable else row.noise_to_signal


def remedy(fleet: Fleet, listed: Sequence[Row], level: float = LEVEL) -> str | None:
    """What would help where no row is affordable, in one sentence with numbers; None where one is."""
    if any(row.affordable for row in listed):
        return None
    if not listed:
        return "no cohort fits: raise --participations, lower --rounds or use smaller cohorts"
    nearest = min(listed, key=lambda row: row.noise_to_signal)
    over = nearest.noise_to_signal / level
    return (
        f"nothing is affordable: the best plan has noise {nearest.noise_to_signal:.3g} times the clip, wanted is "
        f"{level:g}; a fleet and cohort {math.ceil(over * 10) / 10:g} times as large or an adapter of at most "
        f"{max(1, int(fleet.dimension / over / over)):,} parameters (a smaller rank) would do, and fewer rounds or a "
        "larger epsilon help"
    )


def _row(fleet: Fleet, cohort: int, rounds: int, level: float) -> Row | None:
    """None where the cohort is not to be had: a fleet of n devices gives n k uploads for k participations."""
    if cohort > fleet.population:
        return None
    if fleet.sampling == "none":
        needed = math.ceil(rounds * cohort / fleet.population)
        participations = min(fleet.participations or needed, rounds)
        if needed > participations:
            return None
        noise = _plan(fleet, cohort, rounds, participations).calibrate(fleet.epsilon)
        return _made(fleet, cohort, rounds, participations, noise, level, "exact Gaussian")
    participations = min(fleet.participations or rounds, rounds)
    plan = _plan(fleet, cohort, rounds, participations)
    unsampled = _plan(fleet, cohort, rounds, participations, "none").calibrate(fleet.epsilon)
    if plan.sampling.kind == "uniform" and participations < rounds:
        return _made(fleet, cohort, rounds, participations, unsampled, level, "exact Gaussian")
    halved = 2.0 if plan.sampling.kind == "uniform" else 1.0
    noise = halved * rdp_noise(plan.event(1.0), rounds, fleet.epsilon, fleet.delta)
    accountant = "RDP, quick" if noise < unsampled else "exact Gaussian"
    return _made(fleet, cohort, rounds, participations, min(noise, unsampled), level, accountant)


def _exact(fleet: Fleet, row: Row, level: float) -> Row:
    plan = _plan(fleet, row.cohort, row.rounds, row.participations)
    noise = plan.calibrate(fleet.epsilon)
    accountant = plan.bounds(noise)[1].accountant
    return _made(fleet, row.cohort, row.rounds, row.participations, noise, level, accountant)


def _plan(fleet: Fleet, cohort: int, rounds: int, participations: int, sampling: str | None = None) -> Plan:
    return Plan.of(
        sampling or fleet.sampling,
        cohort,
        fleet.population,
        rounds,
        participations,
        fleet.delta,
        str(fleet.adjacency),
    )


def _made(
    fleet: Fleet, cohort: int, rounds: int, participations: int, noise: float, level: float, accountant: str
) -> Row:
    to_signal = noise * math.sqrt(fleet.dimension) / cohort
    return Row(cohort, rounds, participations, noise, to_signal, cohort * rounds, to_signal <= level, accountant)
