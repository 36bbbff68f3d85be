"""The sum of a round: updates by prefix, statistics beside them."""

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.contract import AdapterSpec, Bits
from tacit_privacy.mechanisms.coding import Coding
from tacit_privacy.mechanisms.joint import JointSum
from tacit_server.aggregation.sums import CohortSum


class RoundSum:
    """Integer sums of what devices send, shape ``(dimension + statistics,)`` in all. Bounds as of ``CohortSum``."""

    def __init__(self, spec: AdapterSpec, mechanism: JointSum, bits: Bits = 32) -> None:
        """``bits``: what a coordinate of an update comes in, as the terms of the round ask."""
        self.mechanism, self._bits = mechanism, bits
        self._spec, self._updates = spec, CohortSum(spec, mechanism)
        self._statistics = np.zeros(len(mechanism.slots), dtype=np.int64)

    @property
    def devices(self) -> list[int]:
        """Who is in it, in order of arrival."""
        return self._updates.devices

    @property
    def total(self) -> NDArray[np.int64]:
        """The statistics last."""
        return np.concatenate([self._updates.total, self._statistics])

    def add(self, device: int, vector: NDArray[np.generic], rank: int, weight: float = 1.0) -> None:
        """Check and add what a device of ``rank`` sent. Raises UpdateRefused; then the sums are as they were.

        ``weight`` is the update's alone: a device counts as one in a statistic, whose bound it keeps either way.
        """
        length = self._spec.prefix(rank)
        sent = Coding.of(self._bits, self.mechanism.levels, length).decode(vector, length, len(self._statistics))
        update, statistics = self.mechanism.split(sent, length)
        self._updates.add(device, update, rank, weight)
        self._statistics += statistics
