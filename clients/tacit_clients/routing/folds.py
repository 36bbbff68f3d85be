"""Parts of the training data that take turns at being left out."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Folds = NDArray[np.int64]


def mixed(outcomes: Sequence[object], parts: int, rng: np.random.Generator) -> Folds:
    """A part for each row, (n,), sizes equal up to 1 and every outcome spread over all of them. ``parts`` at most n."""
    order = rng.permutation(len(outcomes))
    order = order[np.argsort([repr(outcomes[index]) for index in order], kind="stable")]
    folds = np.empty(len(outcomes), dtype=np.int64)
    folds[order] = np.arange(len(outcomes)) % parts
    return folds


def grouped(groups: Sequence[str], parts: int, rng: np.random.Generator) -> Folds:
    """A part for each row, (n,), no group in two of them; largest group first into what is smallest so far."""
    names, index, sizes = np.unique(np.array(groups, dtype=np.str_), return_inverse=True, return_counts=True)
    order = rng.permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    part_of, load = np.empty(len(names), dtype=np.int64), np.zeros(parts)
    for name in order:
        part_of[name] = int(np.argmin(load))
        load[part_of[name]] += sizes[name]
    return np.asarray(part_of[index], dtype=np.int64)
