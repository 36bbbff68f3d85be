"""Local training of an adapter and its evaluation: pure functions of model, data, start vector and generator."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tacit_clients.slm.adapters import AdaptedModel, FlatAdapter, Which
from tacit_clients.training.batches import Row, collate, encode_all, scoring_batches, training_batches
from tacit_clients.training.examples import Example, Task
from tacit_clients.training.objective import hits, loss_of, outputs
from tacit_privacy.contract import LocalTraining
from tacit_privacy.errors import BadInput, NonFiniteUpdate

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LocalResult:
    """``delta`` (prefix,) float32 is what training changed; the losses never leave the device."""

    delta: Vector
    steps: int
    examples: int
    loss_first: float
    loss_last: float


@dataclass(frozen=True, slots=True)
class Score:
    """Sums over ``count`` scored things, so that scores of several devices add up."""

    loss_sum: float
    tokens: int
    right: float
    count: int

    @property
    def loss(self) -> float:
        """Mean loss, nats per target token or label."""
        return self.loss_sum / self.tokens if self.tokens else float("nan")

    @property
    def metric(self) -> float:
        """Share that is right: answers, labels or tokens."""
        return self.right / self.count if self.count else float("nan")

    def __add__(self, other: "Score") -> "Score":
        return Score(
            self.loss_sum + other.loss_sum,
            self.tokens + other.tokens,
            self.right + other.right,
            self.count + other.count,
        )


NOTHING = Score(0.0, 0, 0.0, 0)


def train(
    adapted: AdaptedModel,
    data: Sequence[Example],
    task: Task,
    start: Vector,
    rank: int,
    training: LocalTraining,
    rng: np.random.Generator,
    which: Which = "shared",
) -> LocalResult:
    """Train the adapter ``which`` from ``start`` (prefix of ``rank``,) and say what changed.

    With one torch thread the same arguments give the same bytes in any process. Raises BadInput without examples,
    NonFiniteUpdate when the loss stops being a number.
    """
    rows = encode_all(adapted.model.tokenizer, data, task, training.max_length)
    if not rows:
        raise BadInput("a device has no example to train on; give it data or leave it out of the fleet")
    adapted.load_vector(start, rank, which)
    adapted.train_only(which)
    flat = adapted.flat(which)
    update = _optimizer(flat, training)
    losses: list[float] = []
    for parts in _schedule(rows, training, rng):
        flat.gradient.zero_()
        losses.append(sum(_backward(adapted, flat, part, task, len(parts)) for part in parts))
        if not np.isfinite(losses[-1]):
            raise NonFiniteUpdate(detail="the local loss is not a number; lower training.learning_rate")
        update()
    delta = adapted.read_vector(rank, which) - start
    return LocalResult(delta, len(losses), len(rows), losses[0], losses[-1])


def evaluate(adapted: AdaptedModel, data: Sequence[Example], task: Task, max_length: int) -> Score:
    """Score ``data`` with the adapters as they are loaded and switched."""
    total = NOTHING
    with torch.inference_mode():
        for rows in scoring_batches(encode_all(adapted.model.tokenizer, data, task, max_length)):
            found = outputs(adapted, collate(rows), task)
            right, count = hits(found, task, len(rows))
            total += Score(float(loss_of(found, "sum")), len(found.truth), right, count)
    return total


def _schedule(rows: Sequence[Row], training: LocalTraining, rng: np.random.Generator) -> Iterator[list[list[Row]]]:
    """The steps of a round: each a list of batches whose gradients are averaged."""
    steps = 0
    for _ in range(training.epochs):
        waiting: list[list[Row]] = []
        for batch in training_batches(rows, training.batch_size, rng):
            waiting.append(batch)
            if len(waiting) < training.accumulation:
                continue
            yield waiting
            waiting, steps = [], steps + 1
            if training.max_steps and steps >= training.max_steps:
                return
        if waiting:
            yield waiting
            steps += 1


def _backward(adapted: AdaptedModel, flat: FlatAdapter, rows: list[Row], task: Task, parts: int) -> float:
    loss = loss_of(outputs(adapted, collate(rows), task)) / parts
    for parameter, slope in zip(flat.parameters, torch.autograd.grad(loss, flat.parameters), strict=True):
        if parameter.grad is not None:
            parameter.grad.add_(slope)  # a view into the flat gradient
    return float(loss.detach())


def _optimizer(flat: FlatAdapter, training: LocalTraining) -> Callable[[], None]:
    """SGD or AdamW (Loshchilov and Hutter 2019) on the flat prefix that the rank owns."""
    value, slope = flat.vector[: flat.prefix], flat.gradient[: flat.prefix]
    rate, decay = training.learning_rate, training.weight_decay

    def sgd() -> None:
        value.mul_(1 - rate * decay).sub_(slope, alpha=rate)

    if training.optimizer == "sgd":
        return sgd
    first, second, steps = torch.zeros_like(value), torch.zeros_like(value), 0

    def adamw() -> None:
        nonlocal steps
        steps += 1
        first.mul_(0.9).add_(slope, alpha=0.1)
        second.mul_(0.999).addcmul_(slope, slope, value=0.001)
        value.mul_(1 - rate * decay).sub_(_adam_step(first, second, steps), alpha=rate)

    return adamw


def _adam_step(first: Tensor, second: Tensor, steps: int) -> Tensor:
    return (first / (1 - 0.9**steps)) / ((second / (1 - 0.999**steps)).sqrt() + 1e-8)
