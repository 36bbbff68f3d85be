"""Sums of grid vectors, in place and in integers: the order of arrival cannot change a bit."""

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.contract import AdapterSpec
from tacit_privacy.errors import UpdateRefused
from tacit_privacy.mechanisms.gaussian import GaussianSum
from tacit_privacy.mechanisms.grid import GridSum


class CohortSum:
    """One round's sum, shape ``(dimension,)`` int64. A lower-rank update adds to its prefix, exactly."""

    def __init__(self, spec: AdapterSpec, mechanism: GaussianSum) -> None:
        self._spec, self._mechanism = spec, mechanism
        self._sum = GridSum(spec.dimension, mechanism.levels)
        self.devices: list[int] = []  # in order of arrival
        self._in: set[int] = set()

    @property
    def total(self) -> NDArray[np.int64]:
        """The sum of the updates added until now."""
        return self._sum.total

    def add(self, device: int, vector: NDArray[np.generic], rank: int, weight: float = 1.0) -> None:
        """Check and add one device's update, times a public weight of at most 1 and truncated toward zero.

        Truncation keeps the sensitivity: |trunc(w x)| <= |x|. Raises UpdateRefused; then the sum is as it was.
        """
        if device in self._in:
            raise UpdateRefused("duplicate", "this device already contributed to the round")
        self._mechanism.check(vector, self._spec.prefix(rank))
        grid = np.asarray(vector, dtype=np.int32)
        self._sum.add(grid if weight == 1.0 else np.trunc(grid * min(weight, 1.0)).astype(np.int32))
        self.devices.append(device)
        self._in.add(device)
