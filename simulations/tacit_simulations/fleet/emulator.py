"""The emulated fleet as one object: what a grid, a roster and the timing-only simulation ask."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.errors import BadInput
from tacit_simulations.fleet.availability import Availability, Outages, Requirements
from tacit_simulations.fleet.battery import BatteryLedger
from tacit_simulations.fleet.config import FleetConfig
from tacit_simulations.fleet.dispatch import Schedule, Work, World, schedule
from tacit_simulations.fleet.habits import F64, Bools, Devices, Today
from tacit_simulations.fleet.network import MeanNetwork, Network, TraceNetwork
from tacit_simulations.fleet.outcomes import Outcome
from tacit_simulations.fleet.population import Population

Dispatch = Schedule


class Emulator:
    """A population with the little that changes: who is at work until when, and what training took from batteries.

    Times are virtual seconds. ``dispatch`` is the one method that changes anything.
    """

    def __init__(self, population: Population, config: FleetConfig, work: Work) -> None:
        """Raises BadInput when no device of the population can hold the work."""
        roomiest, least = float(population.memory.max()), float(np.min(work.memory_bytes))
        if not np.any(population.memory >= work.memory_bytes):
            raise BadInput(
                f"training needs {least / 1e6:.0f} MB but the roomiest of {population.size} devices offers "
                f"{roomiest / 1e6:.0f} MB; choose a smaller model or roomier devices in fleet.mix"
            )
        self.population, self.config, self.work = population, config, work
        self.batteries = BatteryLedger.full(population.size)
        self._busy_until = np.full(population.size, -np.inf)
        rules = Requirements.of(config, work.memory_bytes)
        outages = Outages(population, config.outages)
        self.availability = Availability(population, rules, outages, self.batteries)
        self.world = World(self.availability, _network(config, population), config)

    @classmethod
    def of(cls, seed: int, config: FleetConfig, work: Work) -> "Emulator":
        """The fleet that ``config`` describes, doing ``work``."""
        return cls(Population.of(seed, config), config, work)

    @property
    def devices(self) -> int:
        """Size of the population."""
        return self.population.size

    def reasons(self, devices: Devices, now: float) -> NDArray[np.uint8]:
        """Why each of ``devices`` (n,) cannot be asked now: an Outcome, 0 where it can."""
        found = np.full(len(devices), Outcome.IN_FLIGHT, dtype=np.uint8)
        free = np.flatnonzero(self._busy_until[devices] <= now)
        found[free] = self.availability.reasons(devices[free], now)
        return found

    def eligible(self, devices: Devices, now: float) -> Bools:
        """Who of ``devices`` (n,) can be asked now."""
        return np.asarray(self.reasons(np.asarray(devices, dtype=np.intp), now) == Outcome.COMPLETED)

    def reachable(self, now: float) -> Devices:
        """All devices that can be asked now. Looks at the whole population."""
        return np.flatnonzero(self.eligible(np.arange(self.devices), now))

    def dispatch(
        self, devices: Sequence[int] | Devices, now: float, deadlines: Sequence[float] | F64 | float
    ) -> Dispatch:
        """Send the work to distinct ``devices`` (n,) at ``now``; each must reply by its deadline to be of use.

        Whoever is still at work on an earlier task is given back as IN_FLIGHT and goes on with it.
        """
        asked = np.asarray(devices, dtype=np.intp)
        until = np.broadcast_to(np.asarray(deadlines, dtype=np.float64), (len(asked),))
        free = self._busy_until[asked] <= now
        if free.all():
            found = schedule(self.world, asked, now, self.work, until)
        else:
            found = _refuse_busy(schedule(self.world, asked, now, self.work, until), free, now)
        started = found.take(free & (found.finish > now))
        self._busy_until[started.device] = started.finish
        self._drain(started, now)
        return found

    def _drain(self, started: Schedule, now: float) -> None:
        if self.config.require_charging:
            return  # whoever trains is on a charger that gives more than training takes
        rows = np.flatnonzero(self.population.battery_wh[started.device] > 0)
        today = Today.at(self.population, started.device[rows], now)
        loose = np.flatnonzero(today.charging_until() <= 0)
        energy = started.energy_j[rows[loose]] / 3600.0
        self.batteries.withdraw(self.population, today.take(loose), now, energy)

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """What a resumed run needs; only devices that have ever been asked."""
        asked = np.flatnonzero(np.isfinite(self._busy_until))
        spent = np.flatnonzero(np.isfinite(self.batteries.spent_at))
        return {
            "asked": asked,
            "busy_until": self._busy_until[asked],
            "spent": spent,
            "spent_wh": self.batteries.spent_wh[spent],
            "spent_at": self.batteries.spent_at[spent],
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a snapshot of the same fleet."""
        self._busy_until[:] = -np.inf
        self._busy_until[state["asked"]] = state["busy_until"]
        self.batteries.spent_wh[:], self.batteries.spent_at[:] = 0.0, -np.inf
        self.batteries.spent_wh[state["spent"]] = state["spent_wh"]
        self.batteries.spent_at[state["spent"]] = state["spent_at"]


def _network(config: FleetConfig, population: Population) -> Network:
    if config.traces is None:
        return MeanNetwork()
    return TraceNetwork.load(config.traces, population.keys.trace, config.traces_rescale)


def _refuse_busy(found: Schedule, free: Bools, now: float) -> Schedule:
    outcome = np.where(free, found.outcome, np.uint8(Outcome.IN_FLIGHT))
    nothing = {
        name: np.where(free, getattr(found, name), 0.0)
        for name in ("waiting", "download", "train", "upload", "energy_j", "bytes_down", "bytes_up", "money")
    }
    return Schedule(device=found.device, finish=np.where(free, found.finish, now), outcome=outcome, **nothing)
