"""Out-of-fold probabilities from features: all that is fitted is fitted on other questions of the same set."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tacit_clients.routing import folds, heads
from tacit_clients.routing.calibration import calibrate
from tacit_clients.routing.heads import Penalty
from tacit_clients.routing.spec import Design, Spec, describe_all
from tacit_simulations.evaluation.recorded.pairs import RecordedPair

Vector = NDArray[np.float64]

FOLDS: Final = 5
ANSWERS: Final = Penalty(0.05)
"""For features of answers, one for all pairs, chosen with them at hand: from 0.005 to 0.2 APGR moved by up to 0.03."""
PROMPTS: Final = 0.2  # the router's own default
WORDS: Final = (None, 0.003)  # penalties of its n-grams; None: no n-grams
_BITS: Final = 13


def by_question(prompts: Sequence[str], outcomes: Sequence[object], rng: np.random.Generator) -> folds.Folds:
    """A part of ``FOLDS`` for each row, (n,): outcomes spread over them, equal prompts in the same one."""
    first: dict[str, int] = {}
    for row, prompt in enumerate(prompts):
        first.setdefault(prompt.strip(), row)
    rows = list(first.values())
    found = folds.mixed([outcomes[row] for row in rows], min(FOLDS, len(rows)), rng)
    part_of = dict(zip(first, found, strict=True))
    return np.array([part_of[prompt.strip()] for prompt in prompts], dtype=np.int64)


def parts_of(pair: RecordedPair, rng: np.random.Generator) -> folds.Folds:
    """Folds by question, both models' grades spread over them."""
    outcomes = [(bool(a > b), bool(a < b), float(a)) for a, b in zip(pair.llm, pair.slm, strict=True)]
    return by_question(pair.prompts, outcomes, rng)


def _trained(design: Design, right: Vector, penalty: Penalty) -> Vector:
    """On one thread: L-BFGS takes a hundred times as long where two threads share its short vectors of n-grams."""
    with threadpool_limits(1):
        return heads.train(design, right, penalty)


def out_of_fold(design: Design, right: Vector, parts: folds.Folds, penalty: Penalty) -> Vector:
    """Each row's probabilities by heads that were trained on the other parts, (n, 2) as ``right``."""
    found = np.zeros(right.shape)
    for part in np.unique(parts):
        inside, outside = np.flatnonzero(parts == part), np.flatnonzero(parts != part)
        weights = _trained(design.rows(outside), right[outside], penalty)
        found[inside] = heads.probabilities(design.rows(inside), weights)
    return found


def gain(design: Design, pair: RecordedPair, parts: folds.Folds, penalty: Penalty) -> Vector:
    """P(large model right) less P(small one right), (n,), out of fold: what asking is expected to win."""
    return heads.gain(out_of_fold(design, np.stack([pair.llm, pair.slm], axis=1), parts, penalty))


def prompt_gain(pair: RecordedPair, parts: folds.Folds) -> tuple[Vector, Vector]:
    """The router's gain from the prompt alone, (n,), and its features, (n, p).

    Words are listened to or not, whichever has the lower squared error out of fold. That choice of two has seen the
    rows that it is reported on, which favours this baseline if anything.
    """
    described = describe_all(pair.prompts)
    design = Spec.of(described, _BITS).design(pair.prompts, None, described)
    tried = [
        gain(design.without_grams() if words is None else design, pair, parts, Penalty(PROMPTS, words or 1.0))
        for words in WORDS
    ]
    errors = [float(np.mean((pair.llm - pair.slm - each) ** 2)) for each in tried]
    return tried[int(np.argmin(errors))], design.dense


def untied(score: Vector, rng: np.random.Generator) -> Vector:
    """``score`` with a jitter of 1e-3 of a step of 1, so that a curve over deciles sees what few of the rows have."""
    return score + rng.normal(0, 1e-3, len(score))


def calibrated(gains: Vector, helps: NDArray[np.bool_], parts: folds.Folds) -> Vector:
    """Probability of "the large model is better", (n,): slope and intercept of each part come from the other parts."""
    found = np.zeros(len(gains))
    for part in np.unique(parts):
        inside = parts == part
        found[inside] = calibrate(gains[~inside], helps[~inside]).probability(gains[inside])
    return found


def right_by_text(described: Vector, right: Vector, parts: folds.Folds) -> Vector:
    """Probability that each answer is right by the features (n, p) of its own text, (n,), out of fold."""
    return right_by_others(described, described, right, parts)


def right_by_others(described: Vector, learned_from: Vector, right: Vector, parts: folds.Folds) -> Vector:
    """The same by a head that learned from other answers to the same prompts, and from their grades ``right``."""
    both, found = np.stack([right, right], axis=1), np.zeros(len(right))
    for part in np.unique(parts):
        inside, outside = np.flatnonzero(parts == part), np.flatnonzero(parts != part)
        weights = _trained(Design(learned_from[outside], None), both[outside], ANSWERS)
        found[inside] = heads.probabilities(Design(described[inside], None), weights)[:, 0]
    return found
