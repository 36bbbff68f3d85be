"""The router of a device: a prompt in, a decision out, in about a millisecond and without asking anybody."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from tacit_clients.routing import heads
from tacit_clients.routing.calibration import Calibration
from tacit_clients.routing.familiarity import Familiarity
from tacit_clients.routing.signals import NOTHING, Damage, Signals
from tacit_clients.routing.spec import Spec
from tacit_privacy.errors import BadInput


@dataclass(frozen=True, slots=True)
class Decision:
    """``score`` is the calibrated probability that the large model would be right and the small one wrong."""

    score: float
    escalate: bool
    out_of_scope: bool  # unlike the queries it was trained on: the score is a guess
    familiarity: float  # p-value behind it; small: unlike
    llm_right: float  # each head's probability, not calibrated further
    slm_right: float
    reason: Literal["score", "critical_span_masked"] = "score"


@dataclass(frozen=True, slots=True)
class Predictor:
    """Everything a decision needs. Frozen: another threshold makes another predictor."""

    spec: Spec
    weights: NDArray[np.float32]  # (spec.size,)
    calibration: Calibration
    threshold: float  # escalate from this score on
    familiarity: Familiarity
    scope_level: float  # out of scope from this p-value down

    def __post_init__(self) -> None:
        if self.weights.shape != (self.spec.size,):
            raise BadInput(f"the router has {self.weights.size} weights and its spec asks for {self.spec.size}")
        if not np.all(np.isfinite(self.weights)):
            raise BadInput("the router has a weight that is no finite number")

    @classmethod
    def load(cls, path: Path) -> Self:
        """The predictor of a file that ``save`` wrote. Raises BadInput."""
        from tacit_clients.routing.storage import load

        return cls(*load(path))

    def save(self, path: Path) -> None:
        """One JSON file. It holds hashed words of training queries: keep it where the queries are kept."""
        from tacit_clients.routing.storage import save

        save(self, path)

    def decide(self, prompt: str, *, confidence: float | None = None, damage: Damage | None = None) -> Decision:
        """Whether to ask the large model. Raises BadInput for a confidence that is no probability.

        ``confidence``: mean or least token probability of the local answer, whichever the router was trained with.
        Where a masked span is critical to the answer the large model could not help: the prompt stays local.
        """
        probability = self._probabilities(prompt, Signals(confidence, damage))
        score = float(self.calibration.probability(heads.gain(probability))[0])
        p_value = self.familiarity.p_value(prompt)
        critical = damage is not None and damage.critical is True
        return Decision(
            score,
            score >= self.threshold and not critical,
            p_value <= self.scope_level,
            p_value,
            float(probability[0, 0]),
            float(probability[0, 1]),
            "critical_span_masked" if critical else "score",
        )

    def score(self, prompt: str, signals: Signals = NOTHING) -> float:
        """The probability alone."""
        return float(self.calibration.probability(heads.gain(self._probabilities(prompt, signals)))[0])

    def _probabilities(self, prompt: str, signals: Signals) -> NDArray[np.float64]:
        dense, found = self.spec.one(prompt, signals)
        return heads.probabilities_of_one(self.spec, dense, found, self.weights)

    def with_threshold(self, threshold: float) -> "Predictor":
        """The same, escalating from another score on."""
        return replace(self, threshold=threshold)

    def with_weights(self, weights: NDArray[np.float32]) -> "Predictor":
        """The same with other weights of the same spec, such as a federation's; calibrate anew. Raises BadInput."""
        return replace(self, weights=np.asarray(weights, dtype=np.float32))
