"""Examples as padded batches of similar length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from tacit_clients.slm.prompting import Encoded, encode
from tacit_clients.training.examples import Example, Task

_WINDOW = 8  # batches whose examples are sorted by length together
_KEPT = 65_536  # encoded examples that a process remembers for each tokenizer
_Key = tuple[Example, Task, int]


@dataclass(frozen=True, slots=True)
class Row:
    """One encoded example."""

    encoded: Encoded
    label: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded on the device: ``ids`` and ``mask`` (batch, length) int64; ``targets`` (batch, length) bool marks
    tokens that are to be predicted; ``labels`` (batch,) int64, -1 where there is none.
    """

    ids: Tensor
    mask: Tensor
    targets: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.ids)


_encoded: WeakKeyDictionary[Any, dict[_Key, Row]] = WeakKeyDictionary()  # dies with the tokenizer


def encode_all(tokenizer: Any, examples: Sequence[Example], task: Task, max_length: int) -> list[Row]:
    """Encode once; rows that hold nothing to learn (an empty text) are left out."""
    known = _encoded.setdefault(tokenizer, {})
    shortest = 1 if task is Task.CLASSIFY else 2
    rows = []
    for example in examples:
        key = (example, task, max_length)
        row = known.get(key)
        if row is None:
            row = Row(encode(tokenizer, example, task, max_length), example.label)
            if len(known) >= _KEPT:
                known.clear()  # rarer and cheaper than to track what was used when
            known[key] = row
        if len(row.encoded.ids) >= shortest:
            rows.append(row)
    return rows


def training_batches(rows: Sequence[Row], size: int, rng: np.random.Generator) -> Iterator[list[Row]]:
    """One epoch: shuffled, then sorted by length within windows, then shuffled again as whole batches."""
    order = rng.permutation(len(rows))
    batches: list[list[Row]] = []
    for start in range(0, len(order), size * _WINDOW):
        window = sorted((rows[i] for i in order[start : start + size * _WINDOW]), key=lambda r: len(r.encoded.ids))
        batches += [window[i : i + size] for i in range(0, len(window), size)]
    for number in rng.permutation(len(batches)):
        yield batches[number]


def scoring_batches(rows: Sequence[Row], size: int = 64) -> Iterator[list[Row]]:
    """All rows once, sorted by length: the same batches for the same rows."""
    ordered = sorted(rows, key=lambda row: len(row.encoded.ids))
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def collate(rows: Sequence[Row]) -> Batch:
    """Pad to the longest row of the batch."""
    length = max(len(row.encoded.ids) for row in rows)
    ids = np.zeros((len(rows), length), dtype=np.int64)
    mask, targets = np.zeros_like(ids), np.zeros_like(ids, dtype=np.bool_)
    for number, row in enumerate(rows):
        count = len(row.encoded.ids)
        ids[number, :count] = row.encoded.ids
        mask[number, :count] = 1
        targets[number, max(1, row.encoded.target_start) : count] = True
    labels = np.array([row.label for row in rows], dtype=np.int64)
    return Batch(*(torch.from_numpy(array) for array in (ids, mask, targets, labels)))
