"""Is a query like those the router was trained on? By its nearest ones, with a p-value that needs no model of either.

A query's novelty is one less its mean likeness to the ``NEAREST`` training queries: the cosine of sets of words, with
rare words weighing more. Other training queries, kept aside, say how novel a query of the same kind is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tacit_clients.routing.ngrams import words_of

BITS: Final = 13
NEAREST: Final = 5
MOST_ENTRIES: Final = 400_000  # of the sets that are kept, so that a decision stays short
MOST_ASIDE: Final = 1_000
ASIDE: Final = 4  # of so many queries one is kept aside

Sets = list[NDArray[np.uint16]]


@dataclass(frozen=True, slots=True)
class Familiarity:
    """``known``: words of training queries as buckets, one row each; ``aside``: novelty of others, rising."""

    known: csr_array
    weights: NDArray[np.float64]  # of each bucket: its inverse document frequency
    aside: NDArray[np.float64]

    @classmethod
    def of(cls, prompts: Sequence[str], rng: np.random.Generator) -> Self:
        """Learn from ``prompts``, at least 2; which of them are compared with and which kept aside is drawn."""
        order = rng.permutation(len(prompts))
        count = min(MOST_ASIDE, max(1, len(prompts) // ASIDE))
        kept = _up_to([words_of(prompts[index], BITS) for index in order[count:]], MOST_ENTRIES)
        bare = cls.from_sets(kept, np.zeros(0))
        aside = [bare.novelty(prompts[index]) for index in order[:count]]
        return cls(bare.known, bare.weights, np.sort(np.array(aside)))

    @classmethod
    def from_sets(cls, kept: Sets, aside: NDArray[np.float64]) -> Self:
        """As it was saved."""
        ends = np.cumsum([0, *map(len, kept)])
        buckets = np.concatenate([*kept, np.zeros(0, dtype=np.uint16)]).astype(np.int64)
        frequency = np.bincount(buckets, minlength=1 << BITS)
        weights = np.log((len(kept) + 1) / (frequency + 1)) + 1e-9
        squares = np.add.reduceat(np.append(weights[buckets] ** 2, 0.0), ends[:-1]) if kept else np.zeros(0)
        norms = np.sqrt(np.where(np.diff(ends) > 0, squares, 1.0))
        values = weights[buckets] / np.repeat(norms, np.diff(ends))
        return cls(csr_array((values, buckets, ends), shape=(len(kept), 1 << BITS)), weights, aside)

    def sets(self) -> Sets:
        """What ``from_sets`` wants."""
        ends = self.known.indptr
        return [self.known.indices[a:b].astype(np.uint16) for a, b in pairwise(ends)]

    def novelty(self, prompt: str) -> float:
        """0, as known as can be, to 1, nothing in common. A prompt without words is unlike everything."""
        words = words_of(prompt, BITS)
        query = np.zeros(1 << BITS)
        query[words] = self.weights[words]
        norm = float(np.linalg.norm(query))
        if norm == 0 or not self.known.shape[0]:
            return 1.0
        alike = self.known @ (query / norm)
        nearest = min(NEAREST, len(alike))
        return float(1 - np.mean(np.partition(alike, len(alike) - nearest)[len(alike) - nearest :]))

    def p_value(self, prompt: str) -> float:
        """Of "this query is exchangeable with the training queries" (split conformal; Vovk et al. 2005).

        Guarantee: for such a query P(p <= level) <= level. Never below 1 / (number kept aside + 1).
        """
        novelty = self.novelty(prompt)
        as_novel = len(self.aside) - int(np.searchsorted(self.aside, novelty - 1e-12, side="left"))
        return (1 + as_novel) / (len(self.aside) + 1)


def _up_to(sets: Sets, entries: int) -> Sets:
    """The first of ``sets`` that together have at most so many entries."""
    total = np.cumsum([len(each) for each in sets])
    return sets[: max(1, int(np.searchsorted(total, entries, side="right")))]
