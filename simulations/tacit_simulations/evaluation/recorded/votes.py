"""More than two models have answered: votes over the numbers they state, and when a split vote asks a larger one."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tacit_clients.routing import folds
from tacit_privacy.randomness import stream
from tacit_simulations.evaluation.recorded import features, learning
from tacit_simulations.evaluation.recorded.pairs import RecordedCrowd
from tacit_simulations.evaluation.recorded.reading import read
from tacit_simulations.evaluation.recorded.selection import paired
from tacit_simulations.evaluation.routing import metrics

Vector = NDArray[np.float64]
Report = dict[str, Any]
Numbers = Sequence[Sequence[float | None]]
"""What each model states, one row a prompt."""

_SUREST: Final = 0.98  # no single model settles a vote


@dataclass(frozen=True, slots=True)
class Vote:
    """``chosen``: (n,), the model whose answer is taken; ``share``: (n,), of all weight, what its number has."""

    chosen: NDArray[np.int64]
    share: Vector

    def right(self, crowd: RecordedCrowd) -> Vector:
        """(n,)."""
        return np.asarray(crowd.right[np.arange(len(self.chosen)), self.chosen], dtype=np.float64)


def stated(crowd: RecordedCrowd) -> Numbers:
    """The number of each answer."""
    return [[read(text).number for text in row] for row in zip(*crowd.answers, strict=True)]


def vote(numbers: Numbers, weights: Vector, trusted: Vector) -> Vote:
    """The number with the most weight, told by the most ``trusted`` of those who state it; both (n, models).

    Ties go to the number of the more trusted model. An answer without a number is taken only where all are, and then
    by its own weight; where others do state one, its weight keeps the vote from being unanimous.
    """
    found = [_one(*each) for each in zip(numbers, weights, trusted, strict=True)]
    return Vote(np.array([model for model, _ in found], dtype=np.int64), np.array([share for _, share in found]))


def _one(said: Sequence[float | None], weight: Vector, trust: Vector) -> tuple[int, float]:
    ballots: dict[object, float] = {}
    teller: dict[object, int] = {}
    for model in np.argsort(-trust, kind="stable"):
        number = said[model]
        key = ("none", int(model)) if number is None else round(number, 6)
        ballots[key] = round(ballots.get(key, 0.0) + float(weight[model]), 9)
        teller.setdefault(key, int(model))
    numbered: list[object] = [key for key in ballots if isinstance(key, float)]
    winner = max(numbered or list(ballots), key=ballots.__getitem__)  # the first of equals: the most trusted model's
    return teller[winner], ballots[winner] / max(1e-9, sum(ballots.values()))


def votes(crowd: RecordedCrowd, seed: int = 0) -> Mapping[str, Vote]:
    """Every way to vote; accuracies and probabilities that weigh come from other questions."""
    parts = parts_of(crowd, seed)
    said, accuracy = stated(crowd), _accuracies(crowd, parts)
    probability = np.stack(
        [
            learning.right_by_text(features.describe_all(crowd.prompts, answers), crowd.right[:, model], parts)
            for model, answers in enumerate(crowd.answers)
        ],
        axis=1,
    )
    by_text = _odds(probability)
    return {
        "majority": vote(said, np.ones_like(accuracy), accuracy),
        "weighted by accuracy": vote(said, _odds(accuracy), accuracy),
        "weighted by text": vote(said, by_text, by_text),
        "best by its text": vote([[None] * len(crowd.models)] * len(said), by_text, by_text),
        "best model": vote([[None] * len(crowd.models)] * len(said), accuracy, accuracy),
    }


def parts_of(crowd: RecordedCrowd, seed: int) -> folds.Folds:
    """Folds by question, how many models are right spread over them."""
    outcomes = [int(each) for each in crowd.right.sum(axis=1)]
    return learning.by_question(crowd.prompts, outcomes, stream(seed, "recorded", "votes"))


def _accuracies(crowd: RecordedCrowd, parts: folds.Folds) -> Vector:
    """Each model's accuracy on the other parts, (n, models)."""
    by_part = {part: crowd.right[parts != part].mean(axis=0) for part in np.unique(parts)}
    return np.stack([by_part[part] for part in parts])


def _odds(probability: Vector) -> Vector:
    """Log-odds, at least 0.01: the weight of a vote that is right so often (Nitzan and Paroush 1982)."""
    kept = np.clip(probability, 1 - _SUREST, _SUREST)
    return np.asarray(np.maximum(np.log(kept / (1 - kept)), 0.01), dtype=np.float64)


def evaluate(crowd: RecordedCrowd, seed: int = 0, resamples: int = 1000) -> Report:
    """Accuracy of each way to vote, and by how much it is above the crowd's best model, with paired intervals."""
    rng, found = stream(seed, "recorded", "votes", "bootstrap"), votes(crowd, seed)
    best = found["best model"].right(crowd)
    ways = {
        name: {"accuracy": float(each.right(crowd).mean())}
        | {"above_best": asdict(paired(each.right(crowd), best, rng, resamples))}
        for name, each in found.items()
    }
    return {
        "models": {name: float(crowd.right[:, at].mean()) for at, name in enumerate(crowd.models)},
        "any_right": float(crowd.right.max(axis=1).mean()),
        "ways": ways,
    }


def split_votes(crowd: RecordedCrowd, llm: Vector, seed: int = 0, resamples: int = 1000) -> Report:
    """A crowd of small models answers by vote and asks a large one, right at ``llm`` (n,), where the vote is split."""
    found = votes(crowd, seed)
    report: Report = {"llm": float(llm.mean())}
    for name in ("majority", "weighted by text"):
        each, rng = found[name], stream(seed, "recorded", "split", name)
        small, score = each.right(crowd), learning.untied(-each.share, rng)
        low, high = np.nanquantile(metrics.bootstrap([score], small, llm, rng, resamples), [0.025, 0.975])
        report[name] = {
            "slm": float(small.mean()),
            "apgr": metrics.apgr(score, small, llm),
            "interval": [float(low), float(high)],
            "cpt": metrics.cpt(score, small, llm),
            **_at_unanimity(each, small, llm),
        }
    return report


def _at_unanimity(each: Vote, small: Vector, llm: Vector) -> Report:
    """What comes of asking wherever not all say the same."""
    asked = each.share < 1 - 1e-9
    return {
        "split": float(asked.mean()),
        "right_where_unanimous": float(small[~asked].mean()) if not asked.all() else None,
        "accuracy_asking_where_split": float(np.where(asked, llm, small).mean()),
    }
