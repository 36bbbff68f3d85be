"""Windows of a device's day: plugged in, at home, left alone. Pure functions of device and day.

A habit day runs from local noon to local noon and is numbered from the first Monday's noon. Each day has its own
jitter, hashed from (device, day), so any day can be asked about at any time, in any order, at the same cost.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tacit_simulations.fleet.hashing import U64, hash64, part, wide
from tacit_simulations.fleet.population import DAY, HOUR, Population

F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
Devices = NDArray[np.intp]

_JITTER = 1.5 * HOUR  # width of a night's uniform deviation from the habit
_FORGETS = 0.05  # nights without the charger
_TOP_UP_SECONDS = 50 * 60.0
_WEEKEND = 5 * HOUR  # how much earlier home, how much later out, at weekends


@dataclass(frozen=True)
class Today:
    """Some devices on one day each. ``offset`` is seconds since their local noon, all arrays have shape ``(n,)``."""

    population: Population
    devices: Devices
    day: NDArray[np.int64]
    offset: F64

    @classmethod
    def at(cls, population: Population, devices: Devices, now: float) -> "Today":
        """``devices`` at virtual time ``now``, seconds."""
        local = now + population.zone_seconds.astype(np.float64) - DAY / 2
        day = np.floor(local / DAY)
        region = population.region[devices]
        return cls(population, devices, day.astype(np.int64)[region], (local - day * DAY)[region])

    def take(self, rows: NDArray[np.intp] | Bools) -> "Today":
        return Today(self.population, self.devices[rows], self.day[rows], self.offset[rows])

    def next(self, days: int = 1) -> "Today":
        """The same devices ``days`` later; ``offset`` stays measured from this day's noon."""
        return Today(self.population, self.devices, self.day + days, self.offset - days * DAY)

    @cached_property
    def _hash(self) -> U64:
        return hash64(self.population.keys.habits, self.devices, self.day)

    def plugged(self) -> tuple[F64, F64]:
        """Start and end of the nightly charge, offsets; empty (end <= start) when the owner forgot."""
        begin = self.population.plug_from[self.devices] + (part(self._hash, 0) - 0.5) * _JITTER
        end = begin + self.population.plug_for[self.devices] + (part(self._hash, 1) - 0.5) * _JITTER
        end = np.where(wide(hash64(self.population.keys.top_up, self.devices, self.day), 1) < _FORGETS, begin, end)
        return np.maximum(begin, 0.0), np.minimum(end, DAY)

    def topped_up(self) -> tuple[F64, F64]:
        """Start and end of the charge by day, offsets; empty on days without."""
        h = hash64(self.population.keys.top_up, self.devices, self.day)
        begin = part(h, 0).astype(np.float64) * (DAY - _TOP_UP_SECONDS)
        happens = part(h, 1) < self.population.top_up[self.devices]
        return begin, begin + np.where(happens, _TOP_UP_SECONDS, 0.0)

    def home(self) -> tuple[F64, F64]:
        """Start and end of being at home, offsets; from Friday's noon to Monday's the window is wider."""
        weekday = self.day % 7  # 0 is Monday noon to Tuesday noon, so 4 and 5 end in a free morning, 5 and 6 begin free
        late = np.where((weekday == 4) | (weekday == 5), _WEEKEND, 0.0)
        early = np.where((weekday == 5) | (weekday == 6), _WEEKEND, 0.0)
        begin = self.population.home_from[self.devices] + (part(self._hash, 2) - 0.5) * _JITTER
        end = begin + self.population.home_for[self.devices] + (part(self._hash, 3) - 0.5) * _JITTER + late
        return np.maximum(begin - early, 0.0), np.minimum(end, DAY)

    def quiet(self) -> tuple[F64, F64]:
        """Start and end of the time in which nobody touches the device, offsets."""
        begin = self.population.quiet_from[self.devices] + (part(self._hash, 4) - 0.5) * _JITTER
        return np.maximum(begin, 0.0), np.minimum(begin + self.population.quiet_for[self.devices], DAY)

    def charging_until(self) -> F64:
        """Seconds from now until the plug is pulled; 0 where the device is not plugged in."""
        night_from, night_to = self.plugged()
        top_from, top_to = self.topped_up()
        until = np.where((top_from <= self.offset) & (self.offset < top_to), top_to, self.offset)
        until = np.where((night_from <= until) & (until < night_to), night_to, until)
        # a nightly charge that runs into a top-up goes on with it
        until = np.where((top_from <= until) & (until < top_to), top_to, until)
        return np.asarray(until - self.offset)

    def home_until(self) -> F64:
        """Seconds from now until the device leaves home; 0 where it is not at home. Weekends have no seam."""
        begin, end = self.home()
        stay = np.where((begin <= self.offset) & (self.offset < end), end - self.offset, 0.0)
        seam = np.flatnonzero((stay > 0) & (end >= DAY))
        if len(seam):
            after = self.take(seam).next()
            begin, end = after.home()
            stay[seam] = np.where(begin <= 0, end - after.offset, stay[seam])
        return stay


@dataclass(frozen=True, slots=True)
class Spells:
    """Things that strike at random: a phone in a tunnel, an owner who picks it up, a region without power.

    Time is cut into blocks of ``block`` seconds. In each, an entity is struck with its own probability, at a uniform
    moment, for an exponential time of mean ``mean`` (never longer than a block, so two blocks tell everything).
    """

    key: np.uint64
    block: float
    mean: float

    def bounds(
        self, entity: NDArray[np.integer], block: int, probability: NDArray[np.floating] | float
    ) -> tuple[F64, F64]:
        """Start and end of the spell in ``block``, virtual seconds; both +inf where there is none. Shapes ``(n,)``."""
        h = hash64(self.key, entity, block)
        struck = wide(h, 0) < probability
        begin = np.where(struck, (block + wide(h, 1)) * self.block, np.inf)
        # the low bits of the word compared above stay uniform given the comparison, for any probability above 2^-20
        return begin, begin + np.minimum(self.block, -self.mean * np.log(part(h, 0)))

    def active(self, entity: NDArray[np.integer], now: float, probability: NDArray[np.floating] | float) -> Bools:
        """Who is in a spell at ``now``."""
        current = int(now // self.block)
        found = np.zeros(len(entity), dtype=np.bool_)
        for block in (current - 1, current):
            begin, end = self.bounds(entity, block, probability)
            found |= (begin <= now) & (now < end)
        return found

    def next_start(
        self,
        entity: NDArray[np.integer],
        after: F64 | float,
        horizon: F64,
        probability: NDArray[np.floating] | float,
    ) -> F64:
        """When the next spell begins after ``after`` (n,) or scalar, before ``horizon`` (n,); +inf where none does."""
        coming = np.full(len(entity), np.inf)
        if not len(entity):
            return coming
        rows = np.arange(len(entity))
        chance = np.broadcast_to(np.asarray(probability), (len(entity),))
        start = np.broadcast_to(np.asarray(after, dtype=np.float64), (len(entity),))
        for block in range(int(np.min(start) // self.block), int(np.max(horizon) // self.block) + 1):
            begin, _ = self.bounds(entity[rows], block, chance[rows])
            hit = (begin > start[rows]) & (begin < horizon[rows])
            coming[rows[hit]] = begin[hit]
            rows = rows[~hit & (horizon[rows] > (block + 1) * self.block)]
            if not len(rows):
                break
        return coming
