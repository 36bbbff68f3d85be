"""The joint release: an adapter and statistics of the devices in one flat vector, under one account.

One device's vector is its clipped update and, behind it, one slot per statistic of at most ``levels`` grid steps. Each
part has noise of its own; a device is in all parts at once, so the whole is one Gaussian release of noise multiplier z
with 1 / z^2 = sum of 1 / z_part^2 (the parts divided by their noise make one vector of bounded norm). That is how
Andrew et al. 2021 (arXiv 1905.03871, Theorem 1) pay for the bit of adaptive clipping.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tacit_privacy.accounting.events import GaussianEvent, Part, Sampling
from tacit_privacy.accounting.matrix import LATTICE
from tacit_privacy.contract import Statistic
from tacit_privacy.errors import BadInput, UpdateRefused
from tacit_privacy.mechanisms.correlated import CorrelatedNoise, Rows
from tacit_privacy.mechanisms.gaussian import GaussianSum
from tacit_privacy.mechanisms.noise import NoiseSource


def norm(update: ArrayLike) -> float:
    """The L2 norm of ``update`` (d,), as ``clip`` takes it: without overflow of squares."""
    vector = np.asarray(update, dtype=np.float64)
    peak = float(np.max(np.abs(vector), initial=0.0))
    return peak * float(np.linalg.norm(vector / peak)) if peak else 0.0


def to_slot(statistic: Statistic, value: float | None, levels: int) -> int:
    """A device's number in grid steps: cut to the statistic's range, centred, truncated toward zero.

    Guarantee: at most ``levels`` in size. None and NaN give 0, which is what a device that is not there sends.
    """
    if value is None or math.isnan(value):
        return 0
    middle, half = _range(statistic)
    return math.trunc((min(max(value, statistic.low), statistic.high) - middle) / half * levels)


@dataclass(frozen=True, slots=True)
class Slot:
    """A statistic with its noise: standard deviation / sensitivity of the sum over devices, unitless."""

    statistic: Statistic
    noise_multiplier: float


@dataclass(frozen=True, slots=True)
class Release:
    """What a round releases: the mean update (d,) in its own units, and the statistics by name in theirs."""

    mean: NDArray[np.float64]
    statistics: dict[str, float]
    rows: Rows  # where noise is correlated: what the next round takes back in part. Secret.


@dataclass(frozen=True, slots=True)
class JointSum(GaussianSum):
    """A ``GaussianSum`` with ``slots`` behind the adapter. ``noise_multiplier`` is that of the whole release.

    Without slots it is the one-part mechanism. With ``correlated`` the adapter's noise depends on earlier rounds; that
    of the slots never does, though they are charged as if it did. Raises BadInput where the slots alone cost what the
    whole may.
    """

    slots: tuple[Slot, ...] = ()
    correlated: CorrelatedNoise | None = None

    def __post_init__(self) -> None:
        if self.slots and not 0 < self._left < math.inf:
            parts = ", ".join(f"{slot.statistic.name} {slot.noise_multiplier:.3g}" for slot in self.slots)
            raise BadInput(
                f"the statistics (noise multipliers: {parts}) leave nothing of a release of noise multiplier "
                f"{self.noise_multiplier:.3g} to the adapter; raise privacy.clip_bit_noise or privacy.metric_noise"
            )

    @classmethod
    def of(cls, mechanism: GaussianSum) -> "JointSum":
        """``mechanism`` as a joint release."""
        if isinstance(mechanism, JointSum):
            return mechanism
        return cls(mechanism.clip_norm, mechanism.noise_multiplier, mechanism.levels)

    @property
    def statistics(self) -> tuple[Statistic, ...]:
        return tuple(slot.statistic for slot in self.slots)

    @property
    def adapter(self) -> GaussianSum:
        """The adapter's part: z_delta = (z^-2 - sum of z_slot^-2)^(-1/2)."""
        noise = self._left**-0.5 if self.slots else self.noise_multiplier
        return GaussianSum(self.clip_norm, noise, self.levels)

    @property
    def _left(self) -> float:
        """1 / z_delta^2; 0 or less where the slots leave nothing."""
        if not self.noise_multiplier:
            return 0.0
        return self.noise_multiplier**-2 - sum(slot.noise_multiplier**-2 for slot in self.slots)

    def split(self, vector: NDArray[np.generic], length: int) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
        """A device's vector, ``(length + slots,)`` int32, as update ``(length,)`` and statistics ``(slots,)``.

        Raises UpdateRefused as ``check`` does, and with reason statistic where a slot passes its bound.
        """
        if vector.dtype != np.int32 or vector.shape != (length + len(self.slots),):
            self.check(vector, length + len(self.slots))  # which says what is wrong with it
        numbers = vector[length:].astype(np.int64)
        if len(numbers) and int(np.abs(numbers).max()) > self.levels:
            raise UpdateRefused("statistic", f"a statistic exceeds its bound of {self.levels} grid steps")
        return vector[:length], numbers

    def start(self, dimension: int) -> Rows:
        """What ``release_all`` needs of earlier rounds, before the first one: shape (bands - 1, dimension)."""
        return self.correlated.start(dimension) if self.correlated else np.zeros((0, dimension), dtype=np.int64)

    def release_all(
        self, total: NDArray[np.int64], noise: NoiseSource, denominator: float, label: str, rows: Rows | None = None
    ) -> Release:
        """Noise the integer sums, each part with its own multiplier, and divide by a public constant.

        Shapes: ``(d + slots,)`` int64, slots last. Absent devices count as the middle of a statistic's range. ``rows``
        are the earlier rounds' where noise is correlated; None: there is none.
        """
        dimension = len(total) - len(self.slots)
        rows = self.start(dimension) if rows is None else rows
        mean, rows = self._mean(total[:dimension], noise, denominator, label, rows)
        found: dict[str, float] = {}
        for slot, summed in zip(self.slots, total[dimension:].tolist(), strict=True):
            name, (middle, half) = slot.statistic.name, _range(slot.statistic)
            (drawn,) = noise.discrete_gaussian(slot.noise_multiplier * self.levels, 1, f"{label} {name}").tolist()
            found[name] = middle + half * ((summed + drawn) / self.levels / denominator)
        return Release(mean, found, rows)

    def skipped(self, rows: Rows) -> Rows:
        """The rows after a round that released nothing."""
        return self.correlated.after(rows, None) if self.correlated else rows

    def _mean(
        self, total: NDArray[np.int64], noise: NoiseSource, denominator: float, label: str, rows: Rows
    ) -> tuple[NDArray[np.float64], Rows]:
        if self.correlated is None:
            return self.adapter.release(total, noise, denominator, label), rows
        own = self.adapter
        added = self.correlated.draw(rows, own.noise_multiplier * own.levels, noise, label)
        noisy = total.astype(np.float64) + added / LATTICE
        return noisy * (own.clip_norm / own.levels / denominator), self.correlated.after(rows, added)

    def event(self, sampling: Sampling) -> GaussianEvent:
        """What one release of everything means to an accountant."""
        named = [(slot.statistic.name, slot.noise_multiplier) for slot in self.slots]
        parts = [("adapter", self.adapter.noise_multiplier), *named] if named else []
        stated = tuple(Part(name=name, noise_multiplier=multiplier) for name, multiplier in parts)
        return GaussianEvent(
            noise_multiplier=self.noise_multiplier,
            sampling=sampling,
            parts=stated,
            correlation=self.correlated.correlation if self.correlated else None,
        )

    def noise_to_clip(self, dimension: int, denominator: float) -> float:
        """Of the adapter's part."""
        return self.adapter.noise_to_clip(dimension, denominator)


def _range(statistic: Statistic) -> tuple[float, float]:
    """Middle and half width."""
    return (statistic.low + statistic.high) / 2, (statistic.high - statistic.low) / 2
