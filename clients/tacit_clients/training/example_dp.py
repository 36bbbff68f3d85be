"""Example-level DP-SGD on the device (Abadi et al. 2016): a second guarantee, for single examples, reported apart.

Opacus gives per-example gradients; clipping, noise and the public divisor are the privacy core's own, on its integer
grid. Opacus's optimizer is not used: it divides by a batch size derived from how much data there is
(meta-pytorch/opacus issue 571), and on a CPU its noise comes from a 32-bit-seeded Mersenne Twister.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tacit_clients.slm.adapters import AdaptedModel, FlatAdapter
from tacit_clients.training.batches import Row, collate
from tacit_clients.training.examples import Task
from tacit_clients.training.objective import training_loss
from tacit_privacy.accounting.poisson import PoissonRounds, epsilon_composed
from tacit_privacy.contract import ExampleDp, LocalTraining
from tacit_privacy.errors import BadInput
from tacit_privacy.mechanisms.gaussian import GaussianSum, clip_to_grid
from tacit_privacy.mechanisms.noise import NoiseSource

Gradients = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ExampleSpent:
    """``steps`` noised sums, each over examples that joined with probability ``rate`` by their own coin.

    Adjacency: zero-out, one example's contribution against none, with the number of examples unchanged.
    """

    noise_multiplier: float  # noise std / clip norm, unitless
    rate: float
    steps: int
    delta: float

    @property
    def epsilon(self) -> float:
        return total_epsilon([self], self.delta)


def total_epsilon(spent: Sequence[ExampleSpent], delta: float) -> float:
    """Upper bound on epsilon at ``delta`` over everything a device spent, whatever rounds it was in.

    As ``epsilon_composed`` says; Poisson add/remove, whose curve is that of zero-out for this mechanism.
    """
    parts = sorted((part.noise_multiplier, part.rate, part.steps) for part in spent)
    return epsilon_composed(tuple(PoissonRounds(*part) for part in parts), delta)


def planned_draws(examples: int, training: LocalTraining, settings: ExampleDp) -> int:
    """Steps that training on ``examples`` takes: as many as the epochs expect, and at most ``max_steps``."""
    most = training.epochs * math.ceil(examples / settings.expected_batch)
    return min(training.max_steps, most) if training.max_steps else most


def run_private(
    adapted: AdaptedModel,
    flat: FlatAdapter,
    rows: Sequence[Row],
    task: Task,
    training: LocalTraining,
    update: Callable[[], None],
    noise: NoiseSource,
) -> tuple[list[float], ExampleSpent]:
    """Train by noised sums of clipped per-example gradients; returns each step's loss and what it cost.

    Each example joins a step with probability min(1, expected_batch / examples), by coins of ``noise``; the sum is
    divided by ``expected_batch``, a public constant, also where a device holds fewer examples. ``batch_size`` bounds
    memory alone: a larger draw is worked off in parts. Accumulation has no meaning here.
    """
    settings = training.example_dp
    if settings is None:
        raise BadInput("example-level DP needs training.example_dp")
    rate = min(1.0, settings.expected_batch / len(rows))
    steps = planned_draws(len(rows), training, settings)
    mechanism = GaussianSum(settings.clip_norm, settings.noise_multiplier)
    losses = []
    with _per_example(adapted, flat) as gradients:
        for step in range(steps):
            joining = noise.coins(rate, len(rows), f"example-dp step {step}")
            chosen = [row for row, joins in zip(rows, joining, strict=True) if joins]
            total, loss = np.zeros(flat.prefix, dtype=np.int64), 0.0
            for start in range(0, len(chosen), training.batch_size):
                part, value = gradients(chosen[start : start + training.batch_size], task)
                total += _grid_sum(part, settings, mechanism.levels)
                loss += value
            release = mechanism.release(total, noise, settings.expected_batch, f"example-dp step {step}")
            flat.gradient[: flat.prefix] = torch.from_numpy(release.astype(np.float32))
            update()
            losses.append(loss / max(1, len(chosen)))
    return losses, ExampleSpent(settings.noise_multiplier, rate, steps, settings.delta)


def _grid_sum(gradients: Gradients, settings: ExampleDp, levels: int) -> NDArray[np.int64]:
    """(examples, prefix) to the sum of clipped grid vectors, (prefix,).

    An example whose gradient is no number counts as zeros: that it is in a batch must not show.
    """
    total = np.zeros(gradients.shape[1], dtype=np.int64)
    for one in gradients[np.isfinite(gradients).all(axis=1)]:
        total += clip_to_grid(one, settings.clip_norm, levels)
    return total


PerExample = Callable[[Sequence[Row], Task], tuple[Gradients, float]]


@contextmanager
def _per_example(adapted: AdaptedModel, flat: FlatAdapter) -> Iterator[PerExample]:
    """Inside, a function from rows to their own gradients (examples, prefix) and the sum of their losses."""
    from opacus import GradSampleModule

    hooked = GradSampleModule(torch.nn.ModuleList(flat.modules), loss_reduction="sum")
    hooked.train()  # Opacus looks at modules in training mode; these are plain linear ones, so nothing else changes

    def gradients(rows: Sequence[Row], task: Task) -> tuple[Gradients, float]:
        loss = training_loss(adapted, collate(rows), task, per_example=True)
        with warnings.catch_warnings():  # the first adapted layer sees frozen inputs, which is no fault
            warnings.filterwarnings("ignore", "Full backward hook is firing", UserWarning)
            torch.autograd.grad(
                loss, flat.parameters, materialize_grads=True
            )  # Opacus's hooks leave grad_sample behind
        found = np.zeros((len(rows), flat.prefix), dtype=np.float32)
        for parameter in flat.parameters:
            _place(parameter, torch.from_numpy(found))
        return found, float(loss.detach())

    try:
        yield gradients
    finally:
        hooked.eval()
        hooked.to_standard_module()


def _place(parameter: Any, found: torch.Tensor) -> None:
    """Copy a parameter's per-example gradients to where its gradient lies in the flat vector, and forget them."""
    view = parameter.grad
    if parameter.grad_sample is None:  # a head that has no part in the task
        return
    size, stride = (len(found), *view.shape), (found.shape[1], *view.stride())
    found.as_strided(size, stride, view.storage_offset()).copy_(parameter.grad_sample)
    parameter.grad_sample = None
