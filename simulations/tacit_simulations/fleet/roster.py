"""The fleet as a server's roster: stable device numbers, their tiers and adapter ranks, and who can be asked."""

from collections.abc import Mapping

import numpy as np

from tacit_privacy.errors import BadInput
from tacit_privacy.ledger.keys import SigningKey
from tacit_server.roster import Identity
from tacit_simulations.fleet.catalogue import TIERS
from tacit_simulations.fleet.emulator import Emulator
from tacit_simulations.fleet.habits import Bools, Devices
from tacit_simulations.fleet.per_device import PerDevice
from tacit_simulations.fleet.population import Population


def device_name(device: int) -> str:
    """What an emulated device calls itself."""
    return f"device-{device}"


def device_key(seed: int, device: int) -> SigningKey:
    """The key of an emulated device: from the run's seed, so it proves nothing to anybody outside."""
    return SigningKey.simulated(seed, device_name(device))


class FleetRoster:
    """Satisfies the server's ``Roster``. Device ``i`` is Flower node ``i + 1``, as on the fleet's grid."""

    def __init__(self, emulator: Emulator, rank: int, tier_ranks: Mapping[str, int] | None = None) -> None:
        self._emulator = emulator
        self._ranks = _by_tier(rank, tier_ranks or {})

    @property
    def population(self) -> int:
        return self._emulator.devices

    def eligible(self, devices: Devices, now: float) -> Bools:
        """Who of ``devices`` (n,) can be asked at ``now``, virtual seconds."""
        return self._emulator.eligible(devices, now)

    def node_id(self, device: int) -> int:
        return device + 1

    def identity(self, device: int) -> Identity:
        return Identity(device_name(device), device_key(self._emulator.population.seed, device).public)

    def tier(self, device: int) -> str:
        return self._emulator.population.tier(device)

    def rank(self, device: int) -> int:
        return self._ranks[self.tier(device)]


def ranks_of(population: Population, rank: int, tier_ranks: Mapping[str, int]) -> PerDevice:
    """Adapter rank of every device, (population,), or of all. Raises BadInput on a tier that does not exist."""
    known = _by_tier(rank, tier_ranks)
    if not tier_ranks:
        return rank
    return np.array([known[tier] for tier in TIERS], dtype=np.intp)[population.tiers()]


def _by_tier(rank: int, tier_ranks: Mapping[str, int]) -> dict[str, int]:
    unknown = sorted(set(tier_ranks) - set(TIERS))
    if unknown:
        raise BadInput(f"adapter.tiers names {', '.join(unknown)}; tiers are {', '.join(TIERS)}")
    return {tier: tier_ranks.get(tier, rank) for tier in TIERS}
