"""Who is in the fleet: stable device numbers, whatever Flower calls their nodes today."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Devices = NDArray[np.intp]
Bools = NDArray[np.bool_]


class Roster(Protocol):
    """Devices are numbered from 0; numbers never change hands."""

    @property
    def population(self) -> int: ...

    def eligible(self, devices: Devices, now: float) -> Bools:
        """Who of ``devices`` (n,) can be asked at ``now``."""
        ...

    def node_id(self, device: int) -> int: ...

    def rank(self, device: int) -> int:
        """Adapter rank of the device's tier."""
        ...


Counts = NDArray[np.unsignedinteger[Any]]
