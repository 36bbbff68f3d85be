"""The Gaussian sum: clip one flat vector per device, sum integers, add integer Gaussian noise, divide by a constant."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tacit_privacy.accounting.events import GaussianEvent, Sampling
from tacit_privacy.contract import LEVELS
from tacit_privacy.errors import BadInput, NonFiniteUpdate, UpdateRefused
from tacit_privacy.mechanisms.grid import BLOCK, most_squares, within
from tacit_privacy.mechanisms.noise import NoiseSource

_ROW = 256  # squares that are added in the vector's own type: fixed, so that no result depends on a block size


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
    truncation toward zero never lengthens a vector, and the norm it is scaled by allows for every rounding
    (``_longest``), which shortens a clipped update by at most one part in 100,000. Float32 is scaled in float32,
    anything else in float64. Raises NonFiniteUpdate as ``clip`` does; BadInput for a clip norm that is not positive or
    levels beyond 2^26.
    """
    most_squares(levels)
    if not 0 < clip_norm < math.inf:
        raise BadInput(f"a clip norm must be a positive number, got {clip_norm}")
    vector = np.asarray(update)
    vector = np.ascontiguousarray(vector, dtype=np.float32 if vector.dtype == np.float32 else np.float64)
    norm = _longest(vector)
    if not 1e-10 < norm < 1e15:
        vector, clip_norm = _by_peak(vector, clip_norm)
        norm = _longest(vector)
    factor = vector.dtype.type(levels / max(clip_norm, norm))
    grid = np.empty(len(vector), dtype=np.int32)
    buffer = np.empty(min(BLOCK, len(vector)), dtype=vector.dtype)
    for start in range(0, len(vector), BLOCK):
        part = vector[start : start + BLOCK]
        scaled = np.multiply(part, factor, out=buffer[: len(part)])
        np.copyto(grid[start : start + BLOCK], scaled, casting="unsafe")  # toward zero
    return grid


def _longest(vector: NDArray[np.floating]) -> float:
    """The norm of a vector, shape ``(d,)``, and as much more as roundings here and in ``clip_to_grid`` can take away.

    With u half a unit in the last place of the vector's type and v = 2^-53: a row's squares, added in any order, are
    short by at most 256 u, half of that in the norm; the sum over rows by at most d v; rounding the factor and each
    product, and dividing by the peak, by at most 4 u; operations on single numbers by a few v. Squares that vanish do
    not matter at a norm above 1e-10. Infinite or NaN where squares overflow or the vector is not finite.
    """
    whole = len(vector) // _ROW * _ROW
    rows, rest = vector[:whole].reshape(-1, _ROW), vector[whole:]
    with np.errstate(over="ignore", invalid="ignore"):
        squares = float(np.vecdot(rows, rows).sum(dtype=np.float64)) + float(np.vecdot(rest, rest))
    half_unit = float(np.finfo(vector.dtype).eps) / 2
    return math.sqrt(squares) * (1 + (_ROW / 2 + 8) * half_unit + (len(vector) + 16) * 2.0**-53)


def _by_peak(vector: NDArray[np.floating], clip_norm: float) -> tuple[NDArray[np.float64], float]:
    """Vector and clip norm over the largest entry, so that squares neither overflow nor vanish.

    Raises NonFiniteUpdate on NaN or infinity.
    """
    if not np.isfinite(vector).all():
        raise NonFiniteUpdate()
    peak = float(np.max(np.abs(vector), initial=0.0))
    if peak == 0.0:
        return np.zeros(len(vector)), 1.0
    return vector.astype(np.float64) / peak, clip_norm / peak


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
        if not within(np.asarray(vector, dtype=np.int32), self.levels):
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
