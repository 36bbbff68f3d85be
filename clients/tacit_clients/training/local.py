"""Local training of an adapter and its evaluation: pure functions of model, data, start vector and generator."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tacit_clients.slm.adapters import AdaptedModel, FlatAdapter, Which
from tacit_clients.training.batches import Row, collate, encode_all, scoring_batches, training_batches
from tacit_clients.training.example_dp import ExampleSpent, planned_draws, run_private
from tacit_clients.training.examples import Example, Task
from tacit_clients.training.objective import check_task, hits, loss_of, outputs, training_loss
from tacit_privacy.contract import LocalTraining
from tacit_privacy.errors import BadInput, NonFiniteUpdate
from tacit_privacy.mechanisms.noise import NoiseSource, SystemNoise
from tacit_privacy.schedules import share

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LocalResult:
    """``delta`` (prefix,) float32 is what training changed; everything else never leaves the device.

    ``spent`` is what example-level DP-SGD cost, where it was asked for: a guarantee of its own, for single examples.
    Its losses are of the sampled batches and therefore not private; 0 where a batch was empty.
    """

    delta: Vector
    steps: int
    examples: int
    loss_first: float
    loss_last: float
    spent: ExampleSpent | None = None


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
    noise: NoiseSource | None = None,
) -> LocalResult:
    """Train the adapter ``which`` from ``start`` (prefix of ``rank``,) and say what changed.

    With one torch thread the same arguments give the same bytes in any process. ``noise`` is for example-level DP-SGD,
    its coins too, and comes from the operating system unless a simulation passes a seeded source. Raises BadInput
    without examples or where the model cannot learn the task, NonFiniteUpdate when the loss stops being a number.
    """
    check_task(adapted, task)
    rows = encode_all(adapted.model.tokenizer, data, task, training.max_length)
    if not rows:
        raise BadInput("a device has no example to train on; give it data or leave it out of the fleet")
    adapted.load_vector(start, rank, which)
    adapted.train_only(which)
    flat = adapted.flat(which)
    update = _optimizer(flat, training, _planned(len(rows), training))
    if training.example_dp is not None:
        source = SystemNoise() if noise is None else noise
        losses, spent = run_private(adapted, flat, rows, task, training, update, source)
    else:
        losses, spent = _run(adapted, flat, rows, task, training, update, rng), None
    delta = adapted.read_vector(rank, which) - start
    if not np.isfinite(delta).all():
        if spent is not None:  # it went wrong on noised sums, which may be told; what they cost is spent
            return LocalResult(np.zeros_like(delta), len(losses), len(rows), losses[0], losses[-1], spent)
        raise NonFiniteUpdate(detail="the trained adapter holds NaN or infinity; lower training.learning_rate")
    return LocalResult(delta, len(losses), len(rows), losses[0], losses[-1], spent)


def _run(
    adapted: AdaptedModel,
    flat: FlatAdapter,
    rows: Sequence[Row],
    task: Task,
    training: LocalTraining,
    update: Callable[[], None],
    rng: np.random.Generator,
) -> list[float]:
    """The loss of every optimizer step."""
    losses: list[float] = []
    for parts in _schedule(rows, training, rng):
        flat.gradient.zero_()
        losses.append(sum(_backward(adapted, flat, part, task, len(parts)) for part in parts))
        if not np.isfinite(losses[-1]):
            raise NonFiniteUpdate(detail="the local loss is not a number; lower training.learning_rate")
        update()
    return losses


def evaluate(adapted: AdaptedModel, data: Sequence[Example], task: Task, max_length: int) -> Score:
    """Score ``data`` with the adapters as they are loaded and switched."""
    check_task(adapted, task)
    total = NOTHING
    with torch.inference_mode():
        for rows in scoring_batches(encode_all(adapted.model.tokenizer, data, task, max_length)):
            found = outputs(adapted, collate(rows), task)
            right, count = hits(found, task, len(rows))
            total += Score(float(loss_of(found, "sum")), len(found.truth), right, count)
    return total


def _schedule(rows: Sequence[Row], training: LocalTraining, rng: np.random.Generator) -> Iterator[list[list[Row]]]:
    """The steps of a round: each a list of batches whose gradients are averaged; an epoch's last may be shorter."""
    steps = 0
    for _ in range(training.epochs):
        batches = list(training_batches(rows, training.batch_size, rng))
        for start in range(0, len(batches), training.accumulation):
            yield batches[start : start + training.accumulation]
            steps += 1
            if steps == training.max_steps:  # which is 0 where there is no limit
                return


def _planned(rows: int, training: LocalTraining) -> int:
    """Optimizer steps that training on ``rows`` examples takes."""
    if training.example_dp is not None:
        return planned_draws(rows, training, training.example_dp)
    steps = training.epochs * ceil(ceil(rows / training.batch_size) / training.accumulation)
    return min(steps, training.max_steps or steps)


def _backward(adapted: AdaptedModel, flat: FlatAdapter, rows: list[Row], task: Task, parts: int) -> float:
    loss = training_loss(adapted, collate(rows), task) / parts
    slopes = torch.autograd.grad(loss, flat.parameters, materialize_grads=True)  # a head may have no part in the task
    for parameter, slope in zip(flat.parameters, slopes, strict=True):
        if parameter.grad is not None:
            parameter.grad.add_(slope)  # a view into the flat gradient
    return float(loss.detach())


def _optimizer(flat: FlatAdapter, training: LocalTraining, planned: int) -> Callable[[], None]:
    """SGD or AdamW (Loshchilov and Hutter 2019) on the flat prefix that the rank owns, over ``planned`` steps."""
    value, slope = flat.vector[: flat.prefix], flat.gradient[: flat.prefix]
    decay, steps = training.weight_decay, 0

    def scheduled() -> float:
        nonlocal steps
        steps += 1
        return training.learning_rate * share(training.schedule, steps - 1, planned)

    def sgd() -> None:
        rate = scheduled()
        value.mul_(1 - rate * decay).sub_(slope, alpha=rate)

    if training.optimizer == "sgd":
        return sgd
    first, second = torch.zeros_like(value), torch.zeros_like(value)

    def adamw() -> None:
        rate = scheduled()
        first.mul_(0.9).add_(slope, alpha=0.1)
        second.mul_(0.999).addcmul_(slope, slope, value=0.001)
        value.mul_(1 - rate * decay).sub_(_adam_step(first, second, steps), alpha=rate)

    return adamw


def _adam_step(first: Tensor, second: Tensor, steps: int) -> Tensor:
    return (first / (1 - 0.9**steps)) / ((second / (1 - 0.999**steps)).sqrt() + 1e-8)
