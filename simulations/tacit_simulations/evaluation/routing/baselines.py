"""What a router has to beat: chance, length, TF-IDF with logistic regression, and types assigned once and for all."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union

from tacit_clients.routing import Example

Vector = NDArray[np.float64]

DRAWS: Final = 10
"""Random orders that the figure of chance is the mean of."""
PRIOR: Final = 20.0
"""Rows that a type's own have to outweigh before it is taken for different from all."""


def length(prompts: Sequence[str], rng: np.random.Generator) -> Vector:
    """Characters, ties broken by a jitter of 1e-3."""
    return np.array([float(len(prompt)) for prompt in prompts]) + rng.normal(0, 1e-3, len(prompts))


def tfidf(train: Sequence[str], helps: NDArray[np.bool_], test: Sequence[str]) -> Vector:
    """Probability of "only the large model is right" for ``test``: words and pairs, pieces of words, LR with C = 1.

    Edges: where training rows are all alike in their outcome, or share no word often enough, it is the same for all.
    """
    same = np.full(len(test), float(np.mean(helps)))
    if len(np.unique(helps)) < 2:
        return same
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, max_features=60_000)
    pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), min_df=3, sublinear_tf=True, max_features=60_000)
    model = make_pipeline(make_union(words, pieces), LogisticRegression(C=1, max_iter=1000))
    try:
        model.fit(list(train), helps)
    except ValueError:  # after pruning no term remains
        return same
    return np.asarray(model.predict_proba(list(test))[:, 1], dtype=np.float64)


def static(train: Sequence[Example], test: Sequence[Example], rng: np.random.Generator) -> Vector:
    """What the large model gains on the type (``group``) of each of ``test``, going by ``train``, shape (n,).

    The strongest static assignment: it is told the type, learns each type's gain, right answers of the large model less
    those of the small one, drawn towards the mean of all by PRIOR rows, and hands over whole types in that order. Ties
    are broken by a jitter of 1e-6, so that a type that a budget cuts in two is cut by chance.
    """
    gains: dict[str | None, list[int]] = {}
    for row in train:
        gains.setdefault(row.group, []).append(int(row.llm) - int(row.slm))
    everywhere = float(np.mean([gain for found in gains.values() for gain in found]))
    drawn = {name: (sum(found) + PRIOR * everywhere) / (len(found) + PRIOR) for name, found in gains.items()}
    return np.array([drawn.get(row.group, everywhere) for row in test]) + rng.normal(0, 1e-6, len(test))
