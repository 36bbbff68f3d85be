"""From scores of word pieces to entities of a text."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.pii.detection.recogniser.features import TYPES, Pieces
from tacit_privacy.pii.entities import Entity

WORKING_POINT = 0.05
"""The chance of being any entity at which a word is taken for one. There the score is 0.5."""


def score(chance: NDArray[np.floating]) -> NDArray[np.floating]:
    """Chances as scores on the policy's scale, where 0.5 is the working point. Increasing; 0 stays 0 and 1 stays 1."""
    return chance / (chance + (1 - chance) * (WORKING_POINT / (1 - WORKING_POINT)))


def entities(
    read: Pieces, scores: NDArray[np.float32], thresholds: Mapping[str, float], default: float
) -> list[Entity]:
    """Entities of one text from ``scores``, shape (pieces, labels), natural logarithms up to a constant a row.

    Where the score that a word is of any type reaches the threshold of its likeliest type, the word belongs to an
    entity of that type. An entity ends where the type changes or another begins.
    """
    if not len(read.ids):
        return []
    firsts = np.concatenate([[0], np.flatnonzero(np.diff(read.words)) + 1])
    counts = np.diff(np.concatenate([firsts, [len(read.ids)]]))
    means = np.add.reduceat(scores, firsts, axis=0) / counts[:, None]  # (words, labels)
    chances = np.exp(means - means.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    kinds = chances[:, 1::2] + chances[:, 2::2]  # (words, types)
    best = kinds.argmax(axis=1)
    some = score(1 - chances[:, 0])
    limits = np.array([thresholds.get(kind, default) for kind in TYPES])
    taken = some >= limits[best]
    begins = chances[np.arange(len(best)), 1 + 2 * best] > chances[np.arange(len(best)), 2 + 2 * best]
    found: list[Entity] = []
    index = 0
    while index < len(best):
        if not taken[index]:
            index += 1
            continue
        last = index + 1
        while last < len(best) and taken[last] and best[last] == best[index] and not begins[last]:
            last += 1
        start, end = int(read.starts[firsts[index]]), int(read.ends[firsts[last - 1] + counts[last - 1] - 1])
        found.append(Entity(start, end, TYPES[best[index]], float(some[index:last].mean())))
        index = last
    return found
