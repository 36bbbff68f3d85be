"""Noise that the devices bring themselves, a share each, and what is left of it when some of them drop out.

For secure aggregation, where nobody but the sum is seen. It is not connected to the network yet: no round uses it.

Every device of a planned cohort adds discrete Gaussian noise of variance sigma^2 / planned to its update. Who drops out
takes their share along, so a sum of ``survivors`` updates has z_real = z sqrt(survivors / planned), and that is what an
event may state. Zero-out adjacency: the neighbour's update is zeros, its share is still there.

A sum of n discrete Gaussians of parameter s is not one of parameter s sqrt(n), but close: the logarithms of their
probabilities differ by at most tau = 10 sum over 0 < k < n of exp(-2 pi^2 s^2 k / (k + 1)) per entry (Kairouz, Liu and
Steinke 2021, arXiv 2102.06387, Theorem 11). Over d entries that moves epsilon by at most 2 d tau and delta by a factor
of e^(d tau). Where 2 d tau is above 1e-12, far below the 1e-9 by which every epsilon is rounded up, the shares are
refused; on the default grid tau is smaller than any float.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.accounting.events import GaussianEvent, Sampling
from tacit_privacy.contract import LEVELS
from tacit_privacy.errors import BadInput, FleetExhausted
from tacit_privacy.mechanisms.noise import NoiseSource

_NEGLIGIBLE = 1e-12


def tau(scale: float, shares: int) -> float:
    """How far the log-probability of a sum of ``shares`` discrete Gaussians of parameter ``scale`` (in grid steps) is
    from that of one discrete Gaussian, at most, in any point.
    """
    return 10 * sum(math.exp(-2 * math.pi**2 * scale**2 * k / (k + 1)) for k in range(1, min(shares, 2))) + (
        10 * max(0, shares - 2) * math.exp(-2 * math.pi**2 * scale**2 * 2 / 3)  # the other terms are no larger
    )


@dataclass(frozen=True, slots=True)
class NoiseShares:
    """``planned`` devices that add up to noise of ``noise_multiplier``; ``floor`` is the fewest that may be left.

    Raises BadInput where the floor does not fit the plan or the grid is too coarse for the shares.
    """

    noise_multiplier: float
    planned: int
    floor: int
    dimension: int
    levels: int = LEVELS

    def __post_init__(self) -> None:
        if not 1 <= self.floor <= self.planned:
            raise BadInput(f"a floor of {self.floor} does not fit {self.planned} planned devices; choose 1 or more")
        if not 2 * self.dimension * tau(self.scale, self.planned) <= _NEGLIGIBLE:
            raise BadInput(
                f"shares of {self.scale:.3g} grid steps are too coarse for their sum to be Gaussian; "
                "raise the levels or the noise multiplier, or plan fewer devices"
            )

    @property
    def scale(self) -> float:
        """Standard deviation of one share, in grid steps."""
        return self.noise_multiplier * self.levels / math.sqrt(self.planned)

    def share(self, noise: NoiseSource, label: str) -> NDArray[np.int64]:
        """What one device adds to its update, shape ``(dimension,)``, in grid steps."""
        return noise.discrete_gaussian(self.scale, self.dimension, label)

    def realised(self, survivors: int, sampling: Sampling, colluding: int = 0) -> GaussianEvent:
        """What a sum of ``survivors`` updates means to an accountant. Shares of ``colluding`` devices, which may tell
        theirs, count as gone.

        Raises FleetExhausted below the floor: then nothing may be released. More survivors than were planned are not
        counted.
        """
        trusted = min(survivors, self.planned) - colluding
        if trusted < self.floor:
            raise FleetExhausted(
                f"noise of {max(trusted, 0)} of {self.planned} devices is left but {self.floor} are needed; "
                "nothing is released: ask more devices or plan for fewer"
            )
        left = self.noise_multiplier * math.sqrt(trusted / self.planned)
        return GaussianEvent(noise_multiplier=left * (1 - 1e-15), sampling=sampling)
