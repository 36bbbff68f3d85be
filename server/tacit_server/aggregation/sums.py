"""Sums of grid vectors, in place and in integers: the order of arrival cannot change a bit."""

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.contract import AdapterSpec
from tacit_privacy.errors import UpdateRefused
from tacit_privacy.mechanisms.gaussian import GaussianSum


class CohortSum:
    """One round's sum, shape ``(dimension,)`` int64. A lower-rank update adds to its prefix, exactly.

    No overflow: each entry of an accepted vector is at most ``levels`` <= 2^26 in size, so 2^37 updates would fit.
    """

    def __init__(self, spec: AdapterSpec, mechanism: GaussianSum) -> None:
        self._spec, self._mechanism = spec, mechanism
        self.total = np.zeros(spec.dimension, dtype=np.int64)
        self.devices: list[int] = []  # in order of arrival
        self._in: set[int] = set()

    def add(self, device: int, vector: NDArray[np.generic], rank: int, weight: float = 1.0) -> None:
        """Check and add one device's update, times a public weight of at most 1 and truncated toward zero.

        Truncation keeps the sensitivity: |trunc(w x)| <= |x|. Raises UpdateRefused; then the sum is as it was.
        """
        if device in self._in:
            raise UpdateRefused("duplicate", "this device already contributed to the round")
        length = self._spec.prefix(rank)
        self._mechanism.check(vector, length)
        if weight == 1.0:
            self.total[:length] += vector.astype(np.int64)
        else:
            self.total[:length] += np.trunc(vector.astype(np.float64) * min(weight, 1.0)).astype(np.int64)
        self.devices.append(device)
        self._in.add(device)
