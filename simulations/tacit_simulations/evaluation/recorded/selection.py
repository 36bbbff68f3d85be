"""Both models have answered, and the device chooses between the two texts: what fusion can do without probabilities.

Beside always taking the small or the large model's answer, and the better of the two that nobody can know.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tacit_clients.modes.weighing import Evidence, Weights, local_share
from tacit_clients.routing import folds
from tacit_clients.routing.spec import Design
from tacit_privacy.errors import BadInput
from tacit_privacy.randomness import stream
from tacit_simulations.evaluation.recorded import features, learning
from tacit_simulations.evaluation.recorded.pairs import RecordedPair
from tacit_simulations.evaluation.recorded.reading import read
from tacit_simulations.evaluation.routing.metrics import Interval

Vector = NDArray[np.float64]
Report = dict[str, Any]

LEARNED: Final = "both texts, learned"
_SUREST: Final = 0.98


def texts(pair: RecordedPair) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Both models' answers. Raises BadInput where they were not recorded."""
    if pair.slm_answers is None or pair.llm_answers is None:
        raise BadInput(f"{pair.name}: no texts to choose from, only grades")
    return pair.slm_answers, pair.llm_answers


def choices(pair: RecordedPair, seed: int = 0) -> Mapping[str, NDArray[np.bool_]]:
    """Where each rule takes the large model's answer, (n,). What is fitted is out of fold. Raises BadInput."""
    small, large = texts(pair)
    parts = learning.parts_of(pair, stream(seed, "recorded", "folds"))
    told = [features.flags(pair.prompts, answers) for answers in (small, large)]
    wrong = features.names().index("wrong_equations")
    errors = [np.array([features.describe("", text)[wrong] for text in answers]) for answers in (small, large)]
    described = [features.describe_all(pair.prompts, answers) for answers in (small, large)]
    return {
        LEARNED: _learned(pair, described, parts) >= 0,
        "opinion pool": _pooled(pair, described[0], told, parts) < 0.5,
        "fewer wrong equations": errors[1] <= errors[0],
        "fewer flags": told[1] <= told[0],
    }


def _learned(pair: RecordedPair, described: list[Vector], parts: folds.Folds) -> Vector:
    """Gain of the large model's answer over the small one's from both texts and how they differ, (n,)."""
    small, large = texts(pair)
    between = np.array([[_same(*each), float(len(each[0]) < len(each[1]))] for each in zip(small, large, strict=True)])
    design = Design(np.hstack([*described, described[1] - described[0], between]), None)
    return learning.gain(design, pair, parts, learning.ANSWERS)


def _pooled(pair: RecordedPair, described: Vector, told: list[Vector], parts: folds.Folds) -> Vector:
    """The share that fusion gives the small model's answer, (n,): the same formula, fed with what can be read here.

    Its confidence is the probability that the small answer is right by its own text; the prior is how often the large
    model was right on the other parts.
    """
    sure = learning.right_by_text(described, pair.slm, parts)
    shares = np.zeros(len(pair))
    for row in range(len(pair)):
        prior = float(np.clip(pair.llm[parts != parts[row]].mean(), 1 - _SUREST, _SUREST))
        local = Evidence(confidence=float(sure[row]), flags=int(told[0][row]))
        shares[row] = local_share(local, Evidence(flags=int(told[1][row])), Weights(llm_prior=prior))
    return shares


def _same(one: str, other: str) -> float:
    first, second = read(one).number, read(other).number
    return float(first is not None and second is not None and abs(first - second) < 1e-6)


def evaluate(pair: RecordedPair, seed: int = 0, resamples: int = 1000) -> Report:
    """Accuracy of each rule, and by how much it is above the large model alone, with paired 95 % intervals."""
    small, large = texts(pair)
    rng = stream(seed, "recorded", "selection")
    same = np.array([_same(*each) for each in zip(small, large, strict=True)]) == 1
    found = {}
    for name, take in choices(pair, seed).items():
        quality = np.where(take, pair.llm, pair.slm)
        found[name] = {
            "accuracy": float(quality.mean()),
            "took_llm": float(np.mean(take)),
            "above_llm": asdict(paired(quality, pair.llm, rng, resamples)),
        }
    return {
        "slm": float(pair.slm.mean()),
        "llm": float(pair.llm.mean()),
        "best_of_two": float(np.maximum(pair.slm, pair.llm).mean()),
        "same_number": float(same.mean()),
        "right_where_same": float(pair.llm[same].mean()) if same.any() else None,
        "rules": found,
    }


def paired(quality: Vector, other: Vector, rng: np.random.Generator, resamples: int) -> Interval:
    """Mean of ``quality`` less that of ``other`` on the same rows, with its 95 % interval by the bootstrap."""
    gaps = quality - other
    draws = gaps[rng.integers(len(gaps), size=(resamples, len(gaps)))].mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(float(gaps.mean()), float(low), float(high))
