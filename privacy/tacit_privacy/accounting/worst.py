"""How far one device can have moved a run, whatever the sampling: the participations that cost most."""

import math
from dataclasses import dataclass
from functools import lru_cache
from heapq import nsmallest

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.accounting.discrete import Drawn, effective
from tacit_privacy.accounting.events import Arithmetic, Correlation, Exposure, GaussianEvent, Tally
from tacit_privacy.accounting.matrix import LATTICE, band, column_norm, peak, squares

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moved:
    """``mu`` of the whole run (mu-GDP, infinity without noise), and the numbers that the device's data shifted."""

    mu: float
    drawn: Drawn | None


def moved(tally: Tally, exposure: Exposure, reach: float, arithmetic: Arithmetic | None) -> Moved:
    """The worst of all devices that keep to ``exposure``. ``reach``: 1 under zero-out, 2 under replace-one.

    Independent releases add up: mu^2 = sum of (reach / z)^2 over the least noisy ones. Those of one ``Correlation``
    cost together what ``matrix.sensitivity`` says, at the least of their noise multipliers, plus, where ``arithmetic``
    is given, the rounding of the noise recurrence: sqrt(dimension * rounds) steps of a lattice ``LATTICE`` times finer
    than the grid. Pauses are of rounds, and a round that was given back is one: participations may lie as far apart as
    the plan has rounds, however few were released. Of several kinds or runs, the worst way to divide the participations
    between them.
    """
    correlated = {event: count for event, count in tally.items() if event.correlation is not None and count}
    if not correlated:
        total, releases = _independent(tally, exposure.participations, reach, arithmetic)
        return Moved(math.sqrt(total), _drawn(tally, releases, reach, arithmetic))
    independent = {event: count for event, count in tally.items() if event.correlation is None and count}
    groups: dict[Correlation, dict[GaussianEvent, int]] = {}
    for event, count in correlated.items():
        if event.correlation is not None:
            groups.setdefault(event.correlation, {})[event] = count
    costs, releases, shift = _prefixes(independent, exposure.participations, reach, arithmetic), 0, 0.0
    for correlation, events in groups.items():
        others = sum(tally.values()) - sum(events.values())
        group = _Group(correlation, events, max(1, exposure.separation - others))
        own = group.costs(exposure.participations, reach, arithmetic)
        for _ in range(min(exposure.runs, exposure.participations)):
            costs = _divided(costs, own, exposure.participations)
        column, rounds = group.column, sum(events.values())
        releases += min(rounds, exposure.participations * len(column))
        shift = max(shift, reach * peak(column, exposure.participations, group.separation))
    releases += min(exposure.participations, sum(independent.values()))
    return Moved(
        math.sqrt(float(costs[-1])), _drawn({**independent, **correlated}, releases, max(shift, reach), arithmetic)
    )


def mu_squared(event: GaussianEvent) -> float:
    """What one participation costs a device, as the square of mu (zero-out): in all rounds that its noise reaches."""
    noise = event.noise_multiplier
    reach = 1.0 if event.correlation is None else column_norm(event.correlation.bands)
    return math.inf if noise == 0 else (reach / noise) ** 2


@dataclass(frozen=True, slots=True)
class _Group:
    """The releases of one ``Correlation``. ``separation`` counts these alone: others may lie between two of them."""

    correlation: Correlation
    events: Tally
    separation: int

    @property
    def rounds(self) -> int:
        """That they may be spread over."""
        return max(self.correlation.rounds, sum(self.events.values()))

    @property
    def column(self) -> Floats:
        """The coefficients of C that a release can meet."""
        return band(min(self.correlation.bands, self.rounds))

    def costs(self, participations: int, reach: float, arithmetic: Arithmetic | None) -> Floats:
        """mu^2 for 0, 1, 2, ... participations."""
        noise = min(effective(event, arithmetic) for event in self.events)
        far = reach * np.sqrt(_squares(self.correlation.bands, self.rounds, participations, self.separation))
        if noise == 0:
            return np.where(far > 0, math.inf, 0.0)
        if arithmetic is not None:
            far[1:] += math.sqrt(arithmetic.dimension * self.rounds) / (LATTICE * arithmetic.levels)
        with np.errstate(over="ignore"):
            return np.square(far / noise)


@lru_cache(maxsize=256)
def _squares(bands: int, rounds: int, participations: int, separation: int) -> Floats:
    """As ``matrix.squares``, for every charge of a run the same."""
    found = squares(band(min(bands, rounds)), rounds, participations, separation)
    found.flags.writeable = False
    return found


def _independent(tally: Tally, participations: int, reach: float, arithmetic: Arithmetic | None) -> tuple[float, int]:
    """mu^2 of as many of the least noisy releases as one device may have been in, and how many those are."""
    total, left = 0.0, participations
    for cost, count in _dearest(tally, participations, reach, arithmetic):
        if min(count, left) > 0:
            total += min(count, left) * cost
            left -= min(count, left)
    return total, participations - left


def _prefixes(tally: Tally, participations: int, reach: float, arithmetic: Arithmetic | None) -> Floats:
    """The same for 0, 1, 2, ... participations."""
    costs = _dearest(tally, participations, reach, arithmetic)
    each = np.concatenate([np.zeros(0), *(np.full(min(n, participations), cost) for cost, n in costs)])
    return np.concatenate([[0.0], np.cumsum(each[:participations])])


def _divided(first: Floats, second: Floats, participations: int) -> Floats:
    """For every number of participations, the most that two kinds of release cost that share them."""
    if len(second) > len(first):
        first, second = second, first
    found = np.zeros(min(len(first) + len(second) - 1, participations + 1))
    for taken, cost in enumerate(second):
        reached = first[: len(found) - taken] + cost
        window = found[taken : taken + len(reached)]
        np.maximum(window, reached, out=window)
    return found


def _dearest(tally: Tally, participations: int, reach: float, arithmetic: Arithmetic | None) -> list[tuple[float, int]]:
    """What the least noisy events cost, each time, and how often they happened: as many as one device can have been in.

    Noise may change with every round; what costs least is never looked at.
    """
    happened = ((event, count) for event, count in tally.items() if count)
    least = nsmallest(participations, happened, key=lambda pair: (pair[0].noise_multiplier, -pair[1]))
    return [(_cost(event, reach, arithmetic), count) for event, count in least]


def _cost(event: GaussianEvent, reach: float, arithmetic: Arithmetic | None) -> float:
    """(reach / z)^2; infinity where that is no float."""
    noise = effective(event, arithmetic)
    return math.inf if noise == 0 else reach * reach / noise / noise


def _drawn(tally: Tally, releases: int, reach: float, arithmetic: Arithmetic | None) -> Drawn | None:
    noise = min((event.noise_multiplier for event, count in tally.items() if count), default=0.0)
    if arithmetic is None or releases == 0 or noise == 0:
        return None
    return Drawn(releases, arithmetic.dimension, reach / noise, noise * arithmetic.levels)
