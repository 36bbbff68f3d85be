"""Loss and score of a batch: what each task means."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tacit_clients.slm.adapters import AdaptedModel
from tacit_clients.training.batches import Batch
from tacit_clients.training.examples import Task


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
