"""Who can be asked at a virtual time, and why the others cannot. Pure: asking changes nothing.

(An availability trace with a stored position, as FedScale keeps, gives wrong answers once somebody has looked ahead.)
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tacit_simulations.fleet.battery import BatteryLedger
from tacit_simulations.fleet.catalogue import HABITS
from tacit_simulations.fleet.config import FleetConfig, OutageConfig
from tacit_simulations.fleet.habits import F64, Bools, Devices, Spells, Today
from tacit_simulations.fleet.hashing import hash64, part
from tacit_simulations.fleet.links import LINKS, NO_LINK
from tacit_simulations.fleet.outcomes import Outcome
from tacit_simulations.fleet.per_device import PerDevice, of
from tacit_simulations.fleet.population import DAY, HOUR, STATIONARY, Population

OFFLINE_BLOCK, OFFLINE_MEAN = 6 * HOUR, 25 * 60.0
USE_BLOCK, USE_MEAN = HOUR / 2, 6 * 60.0
OUTAGE_BLOCK = HOUR
# Probability of going offline in six hours, and of being taken into use in a waking half hour (estimates; a phone is
# looked at every ten to fifteen waking minutes, most looks too short to evict a job).
_OFFLINE = np.array([{"stationary": 0.06, "phone": 0.15, "tablet": 0.12, "laptop": 0.3}[h] for h in HABITS])
_USE = np.array([{"stationary": 0.0, "phone": 0.5, "tablet": 0.25, "laptop": 0.5}[h] for h in HABITS])
_METERED = np.array([link.metered for link in LINKS])


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a task asks of a device before it starts, and while it runs."""

    charging: bool = True
    unmetered: bool = True
    idle: bool = True
    min_battery: float = 0.3
    memory_bytes: PerDevice = 0.0

    @classmethod
    def of(cls, config: FleetConfig, memory_bytes: PerDevice) -> "Requirements":
        return cls(
            config.require_charging,
            config.require_unmetered,
            config.require_idle,
            config.min_battery,
            memory_bytes,
        )


@dataclass(frozen=True, slots=True)
class Outages:
    """Regional outages: which devices of a region that is struck are cut off, and until the next one."""

    population: Population
    config: OutageConfig

    @property
    def _spells(self) -> Spells:
        return Spells(self.population.keys.outage, OUTAGE_BLOCK, self.config.mean_minutes * 60.0)

    @property
    def _probability(self) -> float:
        return self.config.per_region_day * OUTAGE_BLOCK / DAY

    def _reached(self, devices: Devices, block: int) -> Bools:
        return np.asarray(part(hash64(self.population.keys.reach, devices, block), 0) < self.config.reach)

    def active(self, devices: Devices, now: float) -> Bools:
        """Who is cut off at ``now``. Regions are few, so only devices of struck regions are looked at."""
        cut = np.zeros(len(devices), dtype=np.bool_)
        regions, current = np.arange(len(self.population.zone_seconds)), int(now // OUTAGE_BLOCK)
        for block in (current - 1, current):
            begin, end = self._spells.bounds(regions, block, self._probability)
            struck = (begin <= now) & (now < end)
            if struck.any():
                rows = np.flatnonzero(struck[self.population.region[devices]])
                cut[rows] |= self._reached(devices[rows], block)
        return cut

    def next_start(self, devices: Devices, now: float, horizon: F64) -> F64:
        """When each device is next cut off after ``now`` and before ``horizon`` (n,), +inf where it is not."""
        coming = np.full(len(devices), np.inf)
        regions, last = np.arange(len(self.population.zone_seconds)), float(np.max(horizon, initial=now))
        for block in range(int(now // OUTAGE_BLOCK), int(last // OUTAGE_BLOCK) + 1):
            begin, _ = self._spells.bounds(regions, block, self._probability)
            begin[(begin <= now) | (begin >= last)] = np.inf
            if np.isfinite(begin).any():
                rows = np.flatnonzero(np.isfinite(begin[self.population.region[devices]]))
                at = begin[self.population.region[devices[rows]]]
                rows, at = rows[at < horizon[rows]], at[at < horizon[rows]]
                hit = self._reached(devices[rows], block)
                coming[rows[hit]] = np.minimum(coming[rows[hit]], at[hit])
        return coming


def offline_spells(population: Population) -> Spells:
    return Spells(population.keys.offline, OFFLINE_BLOCK, OFFLINE_MEAN)


def use_spells(population: Population) -> Spells:
    return Spells(population.keys.use, USE_BLOCK, USE_MEAN)


def offline_probability(population: Population, devices: Devices) -> NDArray[np.float64]:
    return np.asarray(_OFFLINE[population.habit[devices]])


def use_probability(population: Population, devices: Devices) -> NDArray[np.float64]:
    return np.asarray(_USE[population.habit[devices]])


@dataclass(frozen=True)
class Availability:
    """The fleet's rules of who can be asked, over a population and what training has done to its batteries."""

    population: Population
    requirements: Requirements
    outages: Outages
    batteries: BatteryLedger

    def available(self, devices: Devices, now: float) -> Bools:
        """Which of ``devices`` (n,) could start a task at ``now``."""
        return np.asarray(self.reasons(devices, now) == Outcome.COMPLETED)

    def reasons(self, devices: Devices, now: float) -> NDArray[np.uint8]:
        """0 for who is available, else the first Outcome that stands against it. Shape ``(n,)``.

        Cheap and decisive checks come first and later ones see only who is left, so the order is also a ranking of
        reasons: what is true for good stands before what is true at the moment.
        """
        found = np.zeros(len(devices), dtype=np.uint8)
        rows = np.arange(len(devices))
        for reason, refuses in self._checks(now):
            refused = refuses(devices[rows])
            found[rows[refused]] = reason
            rows = rows[~refused]
        return found

    def _checks(self, now: float) -> Iterator[tuple[Outcome, Callable[[Devices], Bools]]]:
        population, asked = self.population, self.requirements
        yield Outcome.MEMORY, lambda devices: population.memory[devices] < of(asked.memory_bytes, devices)
        yield Outcome.CHURN, lambda d: (population.joins[d] > now) | (population.leaves[d] <= now)
        yield Outcome.OUTAGE, lambda devices: self.outages.active(devices, now)
        yield Outcome.OFFLINE, lambda devices: self._offline(devices, now)
        yield (
            (Outcome.NOT_ON_WIFI, lambda devices: self._metered(devices, now))
            if asked.unmetered
            else (Outcome.OFFLINE, lambda devices: self._unconnected(devices, now))
        )
        if asked.charging:
            yield Outcome.NOT_CHARGING, lambda devices: self._unplugged(devices, now)
        if asked.idle:
            yield Outcome.BUSY, lambda devices: self._in_use(devices, now)
        if not asked.charging:
            yield Outcome.BATTERY, lambda devices: self._low(devices, now)

    def _offline(self, devices: Devices, now: float) -> Bools:
        return offline_spells(self.population).active(devices, now, offline_probability(self.population, devices))

    def _metered(self, devices: Devices, now: float) -> Bools:
        bad = _METERED[self.population.home_link[devices]]
        rows = self._movable(devices, ~bad)
        bad[rows] = Today.at(self.population, devices[rows], now).home_until() <= 0
        return bad

    def _unconnected(self, devices: Devices, now: float) -> Bools:
        bad = np.zeros(len(devices), dtype=np.bool_)
        rows = self._movable(devices, self.population.away_link[devices] == NO_LINK)
        bad[rows] = Today.at(self.population, devices[rows], now).home_until() <= 0
        return bad

    def _unplugged(self, devices: Devices, now: float) -> Bools:
        bad = np.zeros(len(devices), dtype=np.bool_)
        rows = self._movable(devices)
        bad[rows] = Today.at(self.population, devices[rows], now).charging_until() <= 0
        return bad

    def _in_use(self, devices: Devices, now: float) -> Bools:
        bad = np.zeros(len(devices), dtype=np.bool_)
        rows = self._movable(devices)
        today = Today.at(self.population, devices[rows], now)
        begin, end = today.quiet()
        awake = np.flatnonzero((today.offset < begin) | (today.offset >= end))
        rows = rows[awake]
        chance = use_probability(self.population, devices[rows])
        bad[rows] = use_spells(self.population).active(devices[rows], now, chance)
        return bad

    def _low(self, devices: Devices, now: float) -> Bools:
        bad = np.zeros(len(devices), dtype=np.bool_)
        rows = self._movable(devices)
        today = Today.at(self.population, devices[rows], now)
        rows, today = _unplugged_now(rows, today)
        capacity = self.population.battery_wh[devices[rows]]
        charge = self.batteries.charge_wh(self.population, today, now)
        bad[rows] = charge < self.requirements.min_battery * capacity
        return bad

    def _movable(self, devices: Devices, also: Bools | None = None) -> NDArray[np.intp]:
        """Rows of devices that are carried about and have a battery."""
        moved = self.population.habit[devices] != STATIONARY
        return np.flatnonzero(moved if also is None else moved & also)


def _unplugged_now(rows: NDArray[np.intp], today: Today) -> tuple[NDArray[np.intp], Today]:
    loose = np.flatnonzero(today.charging_until() <= 0)
    return rows[loose], today.take(loose)
