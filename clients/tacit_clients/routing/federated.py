"""The router's weights as a federation has them: a start vector comes, a difference goes.

Everything a device needs is the public spec, the start and its own examples. The loss is convex, so a small local step
from a common start can do no harm that clipping would not bound. Calibration, thresholds and familiarity stay local.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from tacit_clients.routing import heads
from tacit_clients.routing.examples import Example, answers
from tacit_clients.routing.heads import Penalty
from tacit_clients.routing.spec import Design, Spec
from tacit_privacy.errors import BadInput


class LocalSteps(BaseModel, frozen=True, extra="forbid"):
    """Full-batch gradient steps; all public and the same on every device."""

    steps: int = Field(default=20, ge=1)
    learning_rate: float = Field(default=0.2, gt=0)  # features are standardised: stable up to about 1 for a hundred
    penalty: float = Field(default=0.2, ge=0)  # of features
    gram_penalty: float = Field(default=0.003, ge=0)


def initial(spec: Spec) -> NDArray[np.float32]:
    """Where a federation may start: every head says one half. Shape (spec.size,)."""
    return np.zeros(spec.size, dtype=np.float32)


def local_delta(
    spec: Spec, start: NDArray[np.float32], examples: Sequence[Example], settings: LocalSteps | None = None
) -> NDArray[np.float32]:
    """Train from ``start`` on ``examples`` and return the difference, shape (spec.size,). Raises BadInput.

    Neither clipped nor noised: that is the mechanism's. With one step the mean of devices' differences, weighted by
    their numbers of examples, is exactly the step on everybody's examples together (FedSGD, McMahan et al. 2017).
    """
    if start.shape != (spec.size,) or not np.all(np.isfinite(start)):
        raise BadInput(f"the start has {start.size} weights, or one that is not finite; the spec asks for {spec.size}")
    if not examples:
        return np.zeros(spec.size, dtype=np.float32)
    design = spec.design([each.prompt for each in examples], [each.signals for each in examples])
    return delta_of(design, answers(examples), start, settings or LocalSteps())


def delta_of(
    design: Design, right: heads.Right, start: NDArray[np.float32], settings: LocalSteps
) -> NDArray[np.float32]:
    """The same for examples that are numbers already: ``design`` (n, ...) and ``right`` (n, 2)."""
    penalty, weights = Penalty(settings.penalty, settings.gram_penalty), start.astype(np.float64)
    for _ in range(settings.steps):
        weights = weights - settings.learning_rate * heads.gradient(design, right, penalty, weights)
    return (weights - start).astype(np.float32)
