"""Figures for reports: who is in the fleet, who can be reached when, who is lost and why."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tacit_simulations.fleet.availability import Availability
from tacit_simulations.fleet.catalogue import TIERS
from tacit_simulations.fleet.dispatch import Schedule
from tacit_simulations.fleet.outcomes import Outcome
from tacit_simulations.fleet.population import DAY, HOUR, Population

_PANEL = 20_000  # devices looked at for availability over the day: standard error below 0.4 points


def tier_counts(population: Population) -> dict[str, int]:
    """Devices of each tier, empty tiers left out."""
    counts = np.bincount(population.tiers(), minlength=len(TIERS))
    return {tier: int(count) for tier, count in zip(TIERS, counts, strict=True) if count}


def availability_by_hour(availability: Availability, start: float = 0.0) -> list[float]:
    """Share of the fleet that could be asked at each full hour, 24 numbers, UTC, of the virtual day of ``start``.

    Over an evenly spaced panel of at most 20,000 devices, so the cost does not grow with the population.
    """
    size = availability.population.size
    panel = np.unique(np.linspace(0, size - 1, min(size, _PANEL)).astype(np.intp))
    midnight = start // DAY * DAY
    return [float(np.mean(availability.available(panel, midnight + hour * HOUR))) for hour in range(24)]


def turnout(outcome: NDArray[np.uint8], tiers: NDArray[np.uint8]) -> dict[str, Any]:
    """``{sampled, completed, dropped: {reason: n}, tiers: {tier: the same}}`` of tasks; zeros left out."""
    table = np.bincount(tiers.astype(np.intp) * len(Outcome) + outcome, minlength=len(TIERS) * len(Outcome)).reshape(
        len(TIERS), len(Outcome)
    )
    whole = _turnout_row(table.sum(axis=0))
    return whole | {"tiers": {tier: _turnout_row(row) for tier, row in zip(TIERS, table, strict=True) if row.any()}}


def _turnout_row(row: NDArray[np.intp]) -> dict[str, Any]:
    dropped = {outcome.word: int(row[outcome]) for outcome in Outcome if outcome and row[outcome]}
    return {"sampled": int(row.sum()), "completed": int(row[Outcome.COMPLETED]), "dropped": dropped}


def costs(schedule: Schedule) -> dict[str, float]:
    """Totals of some tasks: bytes, joules, money in the fleet's currency."""
    return {
        "bytes_down": float(schedule.bytes_down.sum()),
        "bytes_up": float(schedule.bytes_up.sum()),
        "energy_j": float(schedule.energy_j.sum()),
        "money": float(schedule.money.sum()),
    }


def fleet_facts(availability: Availability, start: float = 0.0) -> dict[str, Any]:
    """What a result says about its fleet: ``{devices, tiers, too_small, availability_by_hour}``.

    ``too_small`` counts, by tier, devices that can never hold the model and so never appear in a round.
    """
    population = availability.population
    small = np.flatnonzero(population.memory < availability.requirements.memory_bytes)
    counts = np.bincount(population.tiers(small), minlength=len(TIERS))
    return {
        "devices": population.size,
        "tiers": tier_counts(population),
        "too_small": {tier: int(count) for tier, count in zip(TIERS, counts, strict=True) if count},
        "availability_by_hour": [round(share, 4) for share in availability_by_hour(availability, start)],
    }
