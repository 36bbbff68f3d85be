"""What a router has to beat: chance, the length of the prompt, and TF-IDF with logistic regression."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union

Vector = NDArray[np.float64]

DRAWS: Final = 10
"""Random orders that the figure of chance is the mean of."""


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
