"""Noise that is correlated over rounds, in integers: what a round adds, later rounds take back in part.

DP-FTRL as a matrix mechanism (Kairouz et al. 2021, arXiv 2103.00039; Denisov et al. 2022, arXiv 2202.08312) with the
banded square root of the matrix of prefix sums (Kalinin and Lampert 2024, arXiv 2405.13763; bands after
Choquette-Choo et al. 2023, arXiv 2306.08153). C is lower triangular and Toeplitz with coefficients c_0 = 1,
c_j = c_(j-1) (2j-1) / (2j) for j < bands. Instead of C x + z, whose sums no longer are sums of rounds, round t releases
x_t + y_t with y = C^-1 z: the same information, and the model adds up releases as ever.

On integers: y_t = z_t - round(sum over 0 < j < bands of c_j y_(t-j)), z_t fresh discrete Gaussian noise, on a lattice
LATTICE times finer than the grid that updates are on. Why that is private: given releases and data, y is known and
z_t = y_t + round(...) follows from it, one integer for one. Where a device changes the sums by D (lattice units), the
same releases need a z that is moved by C D, and by less than one unit more in each coordinate, since both sides are
rounded. With pauses of at least ``bands`` rounds, a device's participations move disjoint rows, so k of them move z by
at most sqrt(k) ||c|| levels LATTICE + sqrt(entries): accounting charges the second term as arithmetic. All of it is
done in integers, so no machine rounds otherwise; coefficients are cut down to 16 bits behind the point, which only
makes ||c|| smaller.

Rows are rounds. A round that was given up releases nothing and is a row of zeros, as if C had no column t. A round that
a crash cut off may have been released, with a y that is gone: the next one begins with zeros throughout, as if C had
two blocks. Either way the columns keep only a part of their entries, so no norm grows, and rounds count pauses exactly.
To go on from the rows of the checkpoint instead would take back y_(t-1) with c_1 in two rows, the lost one and the new
one, and a device of round t-1 would move z by more than ||c||.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.accounting.events import Correlation
from tacit_privacy.accounting.matrix import LATTICE, band
from tacit_privacy.errors import BadInput
from tacit_privacy.mechanisms.noise import NoiseSource

MOST_BANDS = 256
_POINT = 16  # binary digits behind the point of a coefficient
_MOST, _FAR = 2**62, 12  # sums stay below it; noise is refused where so many standard deviations would not

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CorrelatedNoise:
    """Draws the noise of a round from its own and from that of the ``bands - 1`` rounds before.

    ``rows`` (bands - 1, d) int64 are what those added, newest first, in lattice steps. They are as secret as the noise:
    with them, a release without noise follows from a release.
    """

    correlation: Correlation

    def __post_init__(self) -> None:
        if self.correlation.bands > MOST_BANDS:
            raise BadInput(f"{self.correlation.bands} bands are more than {MOST_BANDS}; lower privacy.bands")

    def start(self, dimension: int) -> Rows:
        """Before the first round, and after a break: nothing to take back."""
        return np.zeros((self.correlation.bands - 1, dimension), dtype=np.int64)

    def draw(self, rows: Rows, sigma: float, noise: NoiseSource, label: str) -> NDArray[np.int64]:
        """What a round adds, shape ``(d,)``, in lattice steps. ``sigma``: of the fresh noise, in grid steps.

        Raises BadInput where numbers would not fit into 64 bits.
        """
        weights = np.floor(band(self.correlation.bands)[1:] * 2**_POINT).astype(np.int64)
        largest = int(np.abs(rows).max(initial=0))
        largest = max(largest, math.ceil(_FAR * sigma * LATTICE))
        if largest * int(weights.sum() + 1) >= _MOST or largest >= 2**53:
            raise BadInput(
                f"correlated noise of {sigma:.3g} grid steps does not fit into 64 bits; lower privacy.noise_multiplier"
            )
        fresh = noise.discrete_gaussian(sigma * LATTICE, rows.shape[1], label)
        before = np.zeros_like(fresh)
        for weight, row in zip(weights.tolist(), rows, strict=True):
            before += weight * row
        taken_back: NDArray[np.int64] = (before + 2 ** (_POINT - 1)) >> _POINT
        return fresh - taken_back

    def after(self, rows: Rows, added: NDArray[np.int64] | None) -> Rows:
        """The rows of the next round; ``added`` None: this one released nothing."""
        newest = np.zeros(rows.shape[1], dtype=np.int64) if added is None else added
        return np.concatenate([newest[None], rows])[: len(rows)]
