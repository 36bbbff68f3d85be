"""Adaptive clipping: the clip follows a quantile of the updates' norms (Andrew, Thakkar, McMahan, Ramaswamy 2021)."""

import math
from dataclasses import dataclass

from tacit_privacy.contract import Statistic

WITHIN_CLIP = Statistic(name="within_clip", low=0.0, high=1.0)  # sent as plus or minus one half of a device


@dataclass(frozen=True, slots=True)
class AdaptiveClip:
    """C <- C exp(-learning_rate (b - quantile)), b the noised share of devices whose update was within the clip C.

    More devices within than wanted make the clip smaller, fewer make it larger: it comes to the quantile from both
    sides. It never leaves ``least`` to ``most``, and what it becomes follows from releases alone, so it costs nothing
    beyond the statistic (arXiv 1905.03871, Algorithm 1).
    """

    quantile: float
    learning_rate: float
    least: float
    most: float

    def after(self, clip: float, within: float) -> float:
        """The clip norm of the next round. ``within`` is noised and may be any number."""
        moved = math.log(clip) - self.learning_rate * (within - self.quantile)
        if moved <= math.log(self.least):
            return self.least
        return self.most if moved >= math.log(self.most) else math.exp(moved)
