"""Who is in the fleet: stable device numbers, whatever Flower calls their nodes today."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Devices = NDArray[np.intp]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a device is to the server: the name that its receipts bear, and its key; empty where it has none."""

    name: str
    public_key: str = ""  # Ed25519, 64 hexadecimal digits


class Roster(Protocol):
    """Devices are numbered from 0; numbers never change hands."""

    @property
    def population(self) -> int: ...

    def eligible(self, devices: Devices, now: float) -> Bools:
        """Who of ``devices`` (n,) can be asked at ``now``."""
        ...

    def node_id(self, device: int) -> int: ...

    def identity(self, device: int) -> Identity: ...

    def rank(self, device: int) -> int:
        """Adapter rank of the device's tier."""
        ...


Counts = NDArray[np.unsignedinteger[Any]]
