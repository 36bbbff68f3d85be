"""Batteries: an analytic charge from the owner's habits, minus what training took since the last full charge."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tacit_simulations.fleet.habits import F64, Devices, Today
from tacit_simulations.fleet.population import HOUR, Population

EMPTY = 0.05  # charge at which a device switches off
_LOWEST = 0.10  # owners do not let ordinary use go below this: they look for a plug
_CHARGE_PER_HOUR = 0.6  # share of the battery; a common 10 to 18 W charger on 15 to 25 Wh
_AFTER_FORGOTTEN_NIGHT = 0.5  # charge at noon when last night's charge was forgotten


@dataclass(frozen=True, slots=True)
class Charge:
    """State of some batteries at one time; shapes ``(n,)``."""

    level: F64  # share of the capacity that ordinary use has left, 0 to 1
    full_at: F64  # virtual seconds at which the nightly charge last ended
    regained: F64  # share of the capacity that tonight's charge has added so far


def habitual_charge(today: Today, now: float) -> Charge:
    """Charge from habit alone: full in the morning, a drain by use, a nightly charge and perhaps one by day.

    Mains devices (no drain) come out full. Piecewise linear; deviations from a real battery's curve are far below what
    habits vary by.
    """
    offset, drain = today.offset, today.population.drain[today.devices] / HOUR
    begin, end = today.plugged()
    _, last_end = today.next(-1).plugged()
    forgot = last_end <= today.next(-1).plugged()[0]
    last_end = np.where(forgot, 0.0, last_end - 24 * HOUR)
    start = np.where(forgot, _AFTER_FORGOTTEN_NIGHT, 1.0)
    rate = _CHARGE_PER_HOUR / HOUR
    before = np.maximum(start - drain * np.maximum(np.minimum(offset, begin) - last_end, 0.0), _LOWEST)
    on_plug = np.clip(offset - begin, 0.0, np.maximum(end - begin, 0.0))
    after = np.maximum(offset - np.maximum(end, begin), 0.0)
    top_from, top_to = today.topped_up()
    by_day = rate * np.clip(offset - top_from, 0.0, top_to - top_from)
    level = np.minimum(before + rate * on_plug, 1.0) - drain * after
    level = np.clip(level + by_day, _LOWEST, 1.0)
    slept = (end > begin) & (offset >= end)
    full_at = now - offset + np.where(slept, end, last_end)
    return Charge(np.where(drain > 0, level, 1.0), full_at, np.where(slept, 0.0, rate * on_plug))


@dataclass(slots=True)
class BatteryLedger:
    """What training took from each battery since it was last full. The only state that a fleet's batteries have."""

    spent_wh: NDArray[np.float32]
    spent_at: NDArray[np.float64]  # virtual seconds of the last withdrawal

    @classmethod
    def full(cls, size: int) -> Self:
        return cls(np.zeros(size, dtype=np.float32), np.full(size, -np.inf))

    def charge_wh(self, population: Population, today: Today, now: float) -> F64:
        """Watt-hours in the batteries of ``today.devices``; +inf on mains. Pure."""
        capacity = population.battery_wh[today.devices].astype(np.float64)
        state = habitual_charge(today, now)
        owed = self._owed(today.devices, state, capacity)
        return np.where(capacity > 0, np.maximum(state.level * capacity - owed, 0.0), np.inf)

    def _owed(self, devices: Devices, state: Charge, capacity: F64) -> F64:
        """Watt-hours of training that no charge has made up for yet."""
        recent = self.spent_at[devices] >= state.full_at
        owed = np.where(recent, self.spent_wh[devices].astype(np.float64), 0.0)
        return np.maximum(owed - state.regained * capacity, 0.0)

    def withdraw(self, population: Population, today: Today, now: float, watt_hours: F64) -> None:
        """Training drew ``watt_hours`` (n,) from the batteries of ``today.devices``, distinct ones, at ``now``."""
        capacity = population.battery_wh[today.devices].astype(np.float64)
        owed = self._owed(today.devices, habitual_charge(today, now), capacity)
        self.spent_wh[today.devices] = owed + watt_hours
        self.spent_at[today.devices] = now
