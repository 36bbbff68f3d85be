"""Two logistic heads on the same numbers: would the large model be right, and would the small one?

Their difference is what asking the large model gains, which a router should rank by: asking where it is wrong and the
small one right costs as much as not asking where it helps. Two heads learn it better than one on "only the large
one is right", since a third of all answers teaches the one and an eighth the other. All weights are one flat vector.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from threadpoolctl import threadpool_limits

from tacit_clients.routing.ngrams import Grams
from tacit_clients.routing.spec import Design, Spec
from tacit_privacy.errors import BadInput

Vector = NDArray[np.float64]
Right = NDArray[np.float64]
"""(n, 2) of 0 and 1: was the large model right, was the small one."""

HEADS: Final = 2
STEPS: Final = 200  # of L-BFGS at most; tens are enough


@dataclass(frozen=True, slots=True)
class Penalty:
    """Half of it times the squared weight is added to the mean loss of a prompt; intercepts are free."""

    dense: float = 0.2
    grams: float = 0.003

    def of(self, dense: int, buckets: int) -> Vector:
        """One head's penalties, shape (dense + buckets + 1,)."""
        return np.concatenate([np.full(dense, self.dense), np.full(buckets, self.grams), np.zeros(1)])


def train(design: Design, right: Right, penalty: Penalty, start: Vector | None = None) -> Vector:
    """The weights that minimise the penalised loss, flat, shape (spec.size,). Source: ridge logistic regression.

    The minimum is unique, so ``start`` saves time and changes nothing but the last digits. Edges: where every answer is
    right, or every one wrong, targets keep the distance 1 / (n + 2) from 0 and 1 (Platt 1999), and so does the head.
    """
    count = len(design)
    if count == 0 or right.shape != (count, HEADS):
        raise BadInput(f"{count} prompts to train on with answers of shape {right.shape}; both must be there")
    targets = np.clip(right, 1 / (count + 2), 1 - 1 / (count + 2))
    width = _width(design) + 1
    begin = np.zeros((HEADS, width)) if start is None else np.asarray(start, dtype=np.float64).reshape(HEADS, width)
    with threadpool_limits(limits=1):  # on products this small, threads wait for each other a hundred times longer
        return np.concatenate([_fit(design, targets[:, head], penalty, begin[head]) for head in range(HEADS)])


def _fit(design: Design, target: Vector, penalty: Penalty, begin: Vector) -> Vector:
    cost = penalty.of(design.dense.shape[1], _width(design) - design.dense.shape[1])

    def objective(weights: Vector) -> tuple[float, Vector]:
        return _loss(design, target, cost, weights)

    found = minimize(
        objective, begin, jac=True, method="L-BFGS-B", options={"maxiter": STEPS, "maxcor": 20, "ftol": 1e-8}
    )
    return np.asarray(found.x, dtype=np.float64)


def _loss(design: Design, target: Vector, cost: Vector, weights: Vector) -> tuple[float, Vector]:
    """Mean logistic loss of one head with its penalty, and the gradient."""
    logits = _logits(design, weights)
    value = float(np.mean(np.logaddexp(0, logits) - target * logits) + 0.5 * np.sum(cost * weights**2))
    residual = (expit(logits) - target) / len(design)
    parts = [design.dense.T @ residual]
    if design.grams is not None:
        parts.append(design.grams.T @ residual)
    return value, np.concatenate([*parts, [residual.sum()]]) + cost * weights


def gradient(design: Design, right: Right, penalty: Penalty, weights: Vector) -> Vector:
    """Of the penalised loss of both heads, flat, shape (spec.size,)."""
    both = weights.reshape(HEADS, -1)
    cost = penalty.of(design.dense.shape[1], _width(design) - design.dense.shape[1])
    return np.concatenate([_loss(design, right[:, head], cost, both[head])[1] for head in range(HEADS)])


def probabilities(design: Design, weights: Vector) -> Vector:
    """(n, 2): that the large model is right, that the small one is."""
    both = weights.reshape(HEADS, -1)
    return np.stack([expit(_logits(design, both[head])) for head in range(HEADS)], axis=1)


def gain(probability: Vector) -> Vector:
    """What asking is worth, (n, 2) to (n,): the one probability less the other, from -1 to 1."""
    return np.asarray(probability[:, 0] - probability[:, 1], dtype=np.float64)


def probabilities_of_one(spec: Spec, dense: Vector, found: Grams | None, weights: NDArray[np.float32]) -> Vector:
    """As ``probabilities`` for one prompt, (1, 2), without making a matrix of its n-grams."""
    both = weights.reshape(HEADS, -1)
    logits = dense @ both[:, : spec.dense].T + both[:, -1]
    if found is not None:
        logits = logits + both[:, spec.dense + found.buckets] @ found.values
    return np.asarray(expit(logits), dtype=np.float64)


def _logits(design: Design, weights: Vector) -> Vector:
    width = design.dense.shape[1]
    logits = design.dense @ weights[:width] + weights[-1]
    if design.grams is not None:
        logits = logits + design.grams @ weights[width:-1]
    return np.asarray(logits, dtype=np.float64)


def _width(design: Design) -> int:
    return int(design.dense.shape[1]) + (0 if design.grams is None else int(design.grams.shape[1]))
