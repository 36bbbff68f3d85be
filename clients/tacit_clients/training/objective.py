"""Loss and score of a batch: what each task means. The vocabulary is touched only where something is predicted."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from tacit_clients.slm.adapters import AdaptedModel
from tacit_clients.slm.models import Kind, Projection
from tacit_clients.training.batches import Batch
from tacit_clients.training.examples import Task
from tacit_privacy.errors import BadInput

_CHUNK = 2**22  # logits held at once: 16 MB of float32, whatever the vocabulary


@dataclass(frozen=True, slots=True)
class Outputs:
    """``scores`` (n, classes) against ``truth`` (n,); ``row`` (n,) tells which example of the batch each belongs to."""

    scores: Tensor
    truth: Tensor
    row: Tensor


def outputs(adapted: AdaptedModel, batch: Batch, task: Task) -> Outputs:
    """Scores of everything in the batch that has a truth: target tokens, or labels."""
    if task is Task.CLASSIFY:
        pooled = _mean(adapted.hidden(batch.ids, batch.mask), batch.mask)
        return Outputs(adapted.classify(pooled), batch.labels, torch.arange(len(batch)))
    row, position = batch.targets.nonzero(as_tuple=True)
    truth = batch.ids[row, position]
    projection = adapted.model.projection
    if projection is None:
        return Outputs(adapted.model.logits(batch.ids)[row, position - 1], truth, row)
    hidden = adapted.hidden(batch.ids, batch.mask)[
        row, position - 1
    ]  # only where a target follows: a quarter of the work
    return Outputs(torch.nn.functional.linear(hidden, projection.weight, projection.bias), truth, row)


def check_task(adapted: AdaptedModel, task: Task) -> None:
    """Raise BadInput unless this model with this adapter can learn the task."""
    if task is not Task.CLASSIFY and adapted.model.kind is Kind.ENCODER:
        raise BadInput(f"{adapted.model.name} is an encoder and cannot learn to {task}; choose a causal model")
    if task is Task.CLASSIFY and not adapted.labels:
        raise BadInput("a classification task needs labels; build the adapter's spec with their number")


def training_loss(adapted: AdaptedModel, batch: Batch, task: Task, per_example: bool = False) -> Tensor:
    """The loss of a batch, a scalar with a gradient: the mean over target tokens, or over labels.

    With ``per_example`` it is the sum over examples of each example's own mean, which per-example clipping needs.
    """
    projection = adapted.model.projection
    if task is Task.CLASSIFY or projection is None:
        found = outputs(adapted, batch, task)
        return torch.dot(cross_entropy(found.scores, found.truth, reduction="none"), _weights(found.row, per_example))
    row, position = batch.targets.nonzero(as_tuple=True)
    hidden = adapted.hidden(batch.ids, batch.mask)[row, position - 1]  # (targets, hidden)
    truth, weights = batch.ids[row, position], _weights(row, per_example)
    loss: Tensor = _ProjectedCrossEntropy.apply(hidden, projection, truth, weights)  # type: ignore[no-untyped-call]
    return loss


def _weights(row: Tensor, per_example: bool) -> Tensor:
    """What each truth counts: one over all of them, or over those of its own example; (n,) float32."""
    if not per_example:
        return torch.full((len(row),), 1.0 / max(1, len(row)))
    return 1.0 / torch.bincount(row)[row].float()


class _ProjectedCrossEntropy(torch.autograd.Function):
    """Frozen output layer and weighted cross-entropy in one: logits exist once, and only a chunk of them at a time.

    Softmax minus one-hot is the gradient of the logits and known in the forward pass. Keeping its product with the
    output layer spares a log-softmax, its backward pass and two (n, vocabulary) buffers (Hsu et al. 2024, Liger
    Kernel, arXiv 2410.10989).
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, projection: Projection, truth: Tensor, weights: Tensor) -> Tensor:
        loss, slope = hidden.new_zeros(()), torch.empty_like(hidden)
        rows = max(1, _CHUNK // projection.weight.shape[0])
        for start in range(0, len(truth), rows):
            part = slice(start, start + rows)
            logits = linear(hidden[part], projection.weight, projection.bias)  # (m, vocabulary)
            logits -= logits.amax(dim=1, keepdim=True)
            wanted = logits.gather(1, truth[part, None]).squeeze(1)
            total = logits.exp_().sum(dim=1)
            loss += torch.dot(total.log() - wanted, weights[part])
            logits *= (weights[part] / total)[:, None]
            logits[torch.arange(len(wanted)), truth[part]] -= weights[part]
            torch.mm(logits, projection.weight, out=slope[part])
        ctx.save_for_backward(slope)
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (slope,) = ctx.saved_tensors
        return slope * upstream, None, None, None


def loss_of(found: Outputs, reduction: str = "mean") -> Tensor:
    return cross_entropy(found.scores, found.truth, reduction=reduction)


def hits(found: Outputs, task: Task, rows: int) -> tuple[float, int]:
    """(right, counted): tokens for LANGUAGE, labels for CLASSIFY, whole answers for INSTRUCT.

    An answer is right when every target token is the likeliest one given those before it: just then greedy decoding
    writes that very answer.
    """
    right = found.scores.argmax(-1) == found.truth
    if task is not Task.INSTRUCT:
        return float(right.sum()), len(right)
    wrong = torch.zeros(rows, dtype=torch.bool)
    wrong[found.row[~right]] = True
    return float((~wrong).sum()), rows


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """(batch, length, hidden) to (batch, hidden), padding left out."""
    weight = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1)
