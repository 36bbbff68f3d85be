"""The small model answers first; its answer's own text says whether to ask the large one (a cascade without logits).

Reported as routers are: APGR and CPT over the share of prompts asked, beside chance, the length of the prompt, the
router that sees the prompt alone, and the oracle. Intervals resample questions; what was fitted is held fixed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tacit_clients.routing import folds
from tacit_clients.routing.spec import Design
from tacit_privacy.randomness import stream
from tacit_simulations.evaluation.recorded import features, learning
from tacit_simulations.evaluation.recorded.pairs import RecordedCrowd, RecordedPair
from tacit_simulations.evaluation.routing import baselines, metrics

Vector = NDArray[np.float64]
Report = dict[str, Any]

VERIFIER: Final = "answer and prompt"
UNSEEN: Final = "prompt, subject unseen"


@dataclass(frozen=True, slots=True)
class Scores:
    """Each policy's score (n,), higher where the large model should be asked; the first is the main one."""

    by_name: Mapping[str, Vector]
    probability: Vector  # (n,), calibrated, of the main one


def score(pair: RecordedPair, seed: int = 0) -> Scores:
    """Every policy's scores, out of fold wherever something was fitted."""
    parts = learning.parts_of(pair, stream(seed, "recorded", "folds"))
    prompt, dense = learning.prompt_gain(pair, parts)
    found = {"prompt": prompt, "length": baselines.length(pair.prompts, stream(seed, "recorded", "length"))}
    if pair.slm_answers is not None:
        found = {**_of_answers(pair, pair.slm_answers, dense, parts, stream(seed, "recorded", "flags")), **found}
    if pair.groups is not None:
        subjects = folds.grouped(pair.groups, learning.FOLDS, stream(seed, "recorded", "subjects"))
        found[UNSEEN], _ = learning.prompt_gain(pair, subjects)
    main = next(iter(found.values()))
    return Scores(found, learning.calibrated(main, pair.helps, parts))


def _of_answers(
    pair: RecordedPair, answers: tuple[str, ...], dense: Vector, parts: folds.Folds, rng: np.random.Generator
) -> dict[str, Vector]:
    """With the answer's text: all of it, and parts of what it says by themselves."""
    described = features.describe_all(pair.prompts, answers)

    def fitted(columns: Vector) -> Vector:
        return learning.gain(Design(columns, None), pair, parts, learning.ANSWERS)

    groups = features.groups().items()
    return {
        VERIFIER: fitted(np.hstack([dense, described])),
        "answer": fitted(described),
        **{f"answer: {name}": fitted(described[:, columns]) for name, columns in groups},
        **{f"answer without {name}": fitted(np.delete(described, columns, axis=1)) for name, columns in groups},
        "flags, nothing learned": learning.untied(features.flags(pair.prompts, answers), rng),
        "length of the answer": np.array([float(len(answer)) for answer in answers]),
    }


def on_other_folds(pair: RecordedPair, seeds: Sequence[int]) -> list[float]:
    """APGR of the verifier less that of the prompt alone, by seed of the folds, which intervals hold fixed."""
    found = []
    for seed in seeds:
        parts = learning.parts_of(pair, stream(seed, "recorded", "folds"))
        prompt, dense = learning.prompt_gain(pair, parts)
        columns = np.hstack([dense, features.describe_all(pair.prompts, pair.slm_answers or ())])
        both = learning.gain(Design(columns, None), pair, parts, learning.ANSWERS)
        found.append(metrics.apgr(both, pair.slm, pair.llm) - metrics.apgr(prompt, pair.slm, pair.llm))
    return found


def evaluate(pair: RecordedPair, seed: int = 0, resamples: int = 1000) -> Report:
    """What each policy reaches on ``pair``, and how far the main one is above the others, with paired intervals."""
    found = score(pair, seed)
    names, scores = list(found.by_name), list(found.by_name.values())
    draws = metrics.bootstrap(scores, pair.slm, pair.llm, stream(seed, "recorded", "bootstrap"), resamples)
    over = metrics.differences(draws, scores, pair.slm, pair.llm)
    chance = stream(seed, "recorded", "chance")
    random = [metrics.apgr(chance.random(len(pair)), pair.slm, pair.llm) for _ in range(baselines.DRAWS)]
    return {
        "n": len(pair),
        "slm": float(pair.slm.mean()),
        "llm": float(pair.llm.mean()),
        "only_llm": float(np.mean(pair.helps)),
        "only_slm": float(np.mean(pair.llm < pair.slm)),
        "random": float(np.mean(random)),
        "oracle": metrics.apgr(pair.llm - pair.slm, pair.slm, pair.llm),
        "main": names[0],
        "policies": {
            name: _policy(each, draws[:, column], pair) for column, (name, each) in enumerate(found.by_name.items())
        },
        "above": {name: asdict(interval) for name, interval in zip(names[1:], over, strict=True)},
        "ece": metrics.ece(found.probability, pair.helps),
    }


def transferred(crowd: RecordedCrowd, llm: str, seed: int = 0) -> Report:
    """APGR of asking ``llm`` by what was learned from another model's answers: {answers of: {graded answers of: APGR}}.

    Its own diagonal is the verifier that learned from the same model. Both are told of answers to other questions only.
    """
    outcomes = [int(each) for each in crowd.right.sum(axis=1)]
    parts = learning.by_question(crowd.prompts, outcomes, stream(seed, "recorded", "transfer"))
    small = [name for name in crowd.models if name != llm]
    pairs = {name: crowd.pair(name, llm) for name in small}
    described = {name: features.describe_all(crowd.prompts, pairs[name].slm_answers or ()) for name in small}
    return {
        name: {
            other: metrics.apgr(
                -learning.right_by_others(described[name], described[other], pairs[other].slm, parts),
                pairs[name].slm,
                pairs[name].llm,
            )
            for other in small
        }
        for name in small
    }


def _policy(score: Vector, draws: Vector, pair: RecordedPair) -> Report:
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return {
        "apgr": metrics.apgr(score, pair.slm, pair.llm),
        "interval": [float(low), float(high)],
        "cpt": metrics.cpt(score, pair.slm, pair.llm),
    }
