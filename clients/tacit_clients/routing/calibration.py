"""From a rank to a probability, and from a wish to a threshold.

All of it rests on one assumption: the prompts it was calibrated on and those to come are exchangeable, as if drawn from
one pot in any order. A device whose owner starts to ask about other things is outside it; ``familiarity`` tells.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tacit_privacy.errors import BadInput

NEVER: Final = 2.0
"""A threshold that no probability reaches: nothing is escalated. 0 escalates everything."""

_LEAST_SLOPE = 1e-3  # so that the order of gains is kept, also where they say nothing

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Probability of "the large model right and the small one wrong", a rising function of the gain (Platt 1999)."""

    slope: float
    intercept: float

    def probability(self, gain: Vector) -> Vector:
        """Shapes: (n,) to (n,), strictly rising."""
        return np.asarray(expit(self.slope * gain + self.intercept), dtype=np.float64)


def calibrate(gain: Vector, helps: NDArray[np.bool_]) -> Calibration:
    """Fit slope and intercept by Newton's method on targets that keep off 0 and 1 (Platt 1999). Shapes (n,), (n,).

    Gains must be out of fold or held out, or the probability is too sure. Edges: where gains say nothing the slope is
    all but 0 and every probability the base rate.
    """
    positive = int(helps.sum())
    target = np.where(helps, (positive + 1) / (positive + 2), 1 / (len(helps) - positive + 2))
    base = float(np.mean(target))
    columns = np.stack([gain - gain.mean(), np.ones_like(gain)], axis=1)
    weights = np.array([0.0, np.log(base / (1 - base))])
    ridge = np.diag([1e-2, 1e-6])  # a sum over prompts: gone among hundreds of them
    for _ in range(50):
        probability = expit(columns @ weights)
        step = columns.T @ (probability - target) + ridge @ weights * np.array([1.0, 0.0])
        curve = (columns * (probability * (1 - probability))[:, None]).T @ columns + ridge
        change = np.linalg.solve(curve, step)
        weights = weights - np.clip(change, -2, 2)
        if np.max(np.abs(change)) < 1e-9:
            break
    if weights[0] < _LEAST_SLOPE:
        weights = np.array([_LEAST_SLOPE, np.log(base / (1 - base))])
    return Calibration(float(weights[0]), float(weights[1] - weights[0] * gain.mean()))


def threshold_for_rate(scores: Vector, rate: float) -> float:
    """The threshold by which the share of ``scores`` at or above it comes closest to ``rate``. Raises BadInput.

    Assumption: prompts to come are exchangeable with these; the share among them is then ``rate`` up to binomial error.
    Edges: rate 0 gives NEVER, rate 1 gives 0; equal scores stay together, so many of them make a coarse choice,
    and of two thresholds as close the one that asks less is taken.
    """
    if not 0 <= rate <= 1:
        raise BadInput(f"the target rate is {rate}, which is no share from 0 to 1")
    if rate in (0.0, 1.0) or not len(scores):
        return NEVER if rate == 0 else 0.0
    values, counts = np.unique(scores, return_counts=True)
    reached = np.append(np.cumsum(counts[::-1])[::-1] / len(scores), 0.0)
    best = len(values) - int(np.argmin(np.abs(reached - rate)[::-1]))  # of two as close, the one that asks less
    if best == len(values):
        return NEVER
    # between two scores, so that rounding decides nothing
    return float(values[0] / 2 if best == 0 else (values[best - 1] + values[best]) / 2)


def threshold_for_risk(scores: Vector, missed: NDArray[np.bool_], alpha: float) -> float:
    """The highest threshold that keeps P(answered locally, small model wrong, large one right) at most ``alpha``.

    Conformal risk control (Angelopoulos et al. 2022, eq. 4) with the loss 1{score < threshold and missed}, which rises
    with the threshold and is at most 1. ``missed``: the small model was wrong and the large one right. Guarantee: in
    expectation over the draw of these prompts and the next one, all exchangeable and none of them trained on. Edges:
    with alpha below 1 / (n + 1) nothing can be promised but by asking always, so the threshold is 0. Raises BadInput.
    """
    if not 0 < alpha < 1:
        raise BadInput(f"the risk is {alpha}, which is no probability between 0 and 1")
    count = len(scores)
    allowed = int(np.floor(alpha * (count + 1) - 1 + 1e-9))  # misses among them
    if allowed < 0:
        return 0.0
    failing = np.sort(scores[missed])
    # one miss more than is allowed lies at or above the threshold
    return NEVER if len(failing) <= allowed else float(failing[allowed])
