"""The Gaussian sum: clip one flat vector per device, sum integers, add integer Gaussian noise, divide by a constant."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tacit_privacy.accounting.events import GaussianEvent, Sampling
from tacit_privacy.contract import LEVELS
from tacit_privacy.errors import NonFiniteUpdate, UpdateRefused
from tacit_privacy.mechanisms.noise import NoiseSource


def clip(update: ArrayLike, bound: float) -> NDArray[np.float64]:
    """Scale ``update`` into the L2 ball of radius ``bound`` (Abadi et al. 2016, Alg. 1).

    Shapes: ``(d,)`` to ``(d,)``. Guarantee: norm <= bound, up to rounding. Edges: a short update is returned as is, a
    zero one too; bound 0 gives zeros. Raises NonFiniteUpdate on NaN or infinity: clipping those would hide them.
    """
    vector = np.asarray(update, dtype=np.float64)
    if not np.isfinite(vector).all():
        raise NonFiniteUpdate()
    peak = float(np.max(np.abs(vector), initial=0.0))
    if peak == 0.0:
        return vector.copy()
    norm = peak * float(np.linalg.norm(vector / peak))  # no overflow of squares
    return vector * (bound / norm) if norm > bound else vector.copy()


def clip_to_grid(update: ArrayLike, clip_norm: float, levels: int = LEVELS) -> NDArray[np.int32]:
    """Clip, then express in grid steps of ``clip_norm / levels``, truncated toward zero.

    Shapes: ``(d,)`` floats to ``(d,)`` int32. Guarantee: the integer vector's L2 norm is at most ``levels``, exactly:
    truncation toward zero never lengthens a vector, so rounding costs no sensitivity.
    Raises NonFiniteUpdate as ``clip`` does.
    """
    grid = np.trunc(clip(update, clip_norm) * (levels / clip_norm)).astype(np.int32)
    while not _within(grid, levels):  # a rounding error of one part in 1e16 in ``clip`` can leave the norm a hair above
        grid = np.trunc(grid * (1 - 2.0**-40)).astype(np.int32)
    return grid


def _within(grid: NDArray[np.int32], levels: int) -> bool:
    """Whether the integer norm is at most ``levels``: decided in integers, without overflow."""
    if len(grid) and int(np.abs(grid.astype(np.int64)).max()) > levels:
        return False
    squares = grid.astype(np.int64) ** 2  # each <= levels^2 <= 2^52 for levels <= 2^26
    return sum(int(part.sum()) for part in np.array_split(squares, max(1, len(squares) // 1024))) <= levels * levels


@dataclass(frozen=True, slots=True)
class GaussianSum:
    """Sum of clipped grid vectors plus discrete Gaussian noise of standard deviation ``noise_multiplier * levels``.

    ``clip_norm`` is in the units of the update, ``noise_multiplier`` is noise std / L2 sensitivity (unitless; 0 means
    no privacy and is for comparison runs only). One device changes the sum by at most ``levels`` grid steps in L2 norm
    when its contribution is replaced by zeros (zero-out adjacency).
    """

    clip_norm: float
    noise_multiplier: float
    levels: int = LEVELS

    def check(self, vector: NDArray[np.generic], length: int) -> None:
        """Refuse a vector that is not what ``clip_to_grid`` gives: int32, shape ``(length,)``, norm within the clip.

        Raises UpdateRefused with reason wrong_dtype, wrong_shape or norm; NonFiniteUpdate for float NaN or infinity.
        """
        if np.issubdtype(vector.dtype, np.floating) and not np.isfinite(vector).all():
            raise NonFiniteUpdate()
        if vector.dtype != np.int32:
            raise UpdateRefused("wrong_dtype", f"got {vector.dtype}, want int32")
        if vector.shape != (length,):
            raise UpdateRefused("wrong_shape", f"got {vector.shape}, want ({length},)")
        if not _within(np.asarray(vector, dtype=np.int32), self.levels):
            raise UpdateRefused("norm", f"the norm exceeds the clip of {self.levels} grid steps")

    def release(
        self, total: NDArray[np.int64], noise: NoiseSource, denominator: float, label: str
    ) -> NDArray[np.float64]:
        """Noise the integer sum and divide by a public constant.

        Shapes: ``(d,)`` int64 to ``(d,)`` float64 in the units of the update. ``label`` names the draw, so that a
        replayed simulation draws the same noise and a new round never does.
        """
        noisy = total + noise.discrete_gaussian(self.noise_multiplier * self.levels, len(total), label)
        return np.asarray(noisy * (self.clip_norm / self.levels / denominator), dtype=np.float64)

    def event(self, sampling: Sampling) -> GaussianEvent:
        """What one release means to an accountant."""
        return GaussianEvent(noise_multiplier=self.noise_multiplier, sampling=sampling)

    def noise_to_clip(self, dimension: int, denominator: float) -> float:
        """Expected L2 norm of the noise in the mean, over the clip norm: about z * sqrt(d) / cohort (unitless)."""
        return float(self.noise_multiplier * np.sqrt(dimension) / denominator)
