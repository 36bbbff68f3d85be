"""Train a router on some recorded answers and measure it on others, beside what it has to beat."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tacit_clients.routing import Example, Fit, Predictor, RouterSettings, fit
from tacit_privacy.randomness import stream
from tacit_simulations.evaluation.routing import baselines, metrics

Vector = NDArray[np.float64]
Report = dict[str, Any]

TIMED: Final = 500  # decisions that are timed


@dataclass(frozen=True, slots=True)
class Outcome:
    """Test rows and what each router says of them; the first of ``scores`` is ours. All shapes (n,)."""

    slm: Vector
    llm: Vector
    scores: dict[str, Vector]  # tacit, length, tfidf

    @property
    def helps(self) -> NDArray[np.bool_]:
        return np.asarray((self.llm == 1) & (self.slm == 0), dtype=np.bool_)


def evaluate(
    train: Sequence[Example], test: Sequence[Example], settings: RouterSettings, resamples: int = 1000
) -> Report:
    """The document of ``tacit bench routing --json``. Nothing of ``test`` is seen before everything is set."""
    rate = fit(train, settings.model_copy(update={"risk": None}))
    outcome = judge(rate.predictor, train, test, settings.seed)
    report = compare(outcome, settings.seed, resamples)
    asked = outcome.scores["tacit"] >= rate.predictor.threshold
    found = metrics.decisions(asked, outcome.slm, outcome.llm)
    return {
        **report,
        "target_rate": settings.target_rate,
        "achieved_rate": found.pop("achieved_rate"),
        "n": {"train": len(train), "test": len(test)},
        "accuracy": {
            "slm": float(outcome.slm.mean()),
            "llm": float(outcome.llm.mean()),
            "routed": found.pop("accuracy"),
        },
        **found,
        "ece": metrics.ece(outcome.scores["tacit"], outcome.helps),
        "gram_penalty": rate.gram_penalty,
        **told(rate, test),
        "risk": bounded(train, test, settings) if settings.risk is not None else None,
    }


def judge(predictor: Predictor, train: Sequence[Example], test: Sequence[Example], seed: int) -> Outcome:
    """Every router's score of every test row; TF-IDF learns from the same training rows."""
    prompts = [each.prompt for each in test]
    helps = np.array([each.llm and not each.slm for each in train], dtype=np.bool_)
    return Outcome(
        np.array([each.slm for each in test], dtype=np.float64),
        np.array([each.llm for each in test], dtype=np.float64),
        {
            "tacit": np.array([predictor.score(each.prompt, each.signals) for each in test]),
            "length": baselines.length(prompts, stream(seed, "routing", "length")),
            "tfidf": baselines.tfidf([each.prompt for each in train], helps, prompts),
        },
    )


def compare(outcome: Outcome, seed: int, resamples: int, groups: Sequence[str] | None = None) -> Report:
    """APGR and CPT of ours, APGR of the others, and what lies between, with paired 95 % intervals.

    With ``groups`` of the rows, intervals come from draws of whole groups.
    """
    slm, llm, scores = outcome.slm, outcome.llm, list(outcome.scores.values())
    rng = stream(seed, "routing", "bootstrap")
    draws = metrics.bootstrap(scores, slm, llm, rng, resamples, groups)
    chance = stream(seed, "routing", "chance")
    random = [metrics.apgr(chance.random(len(slm)), slm, llm) for _ in range(baselines.DRAWS)]
    own = metrics.apgr(scores[0], slm, llm)
    over = metrics.differences(draws, scores, slm, llm)
    return {
        "apgr": own,
        "apgr_interval": list(metrics.interval(draws[:, 0], own)),
        "cpt": metrics.cpt(scores[0], slm, llm),
        "baselines": {
            "random": float(np.mean(random)),
            "length": metrics.apgr(outcome.scores["length"], slm, llm),
            "tfidf": metrics.apgr(outcome.scores["tfidf"], slm, llm),
        },
        "above": {"length": asdict(over[0]), "tfidf": asdict(over[1])},
        "oracle": metrics.oracle(slm, llm),
    }


def told(found: Fit, test: Sequence[Example]) -> Report:
    """What deciding takes, and how many test rows the router calls unlike its training rows."""
    milliseconds, outside = [], []
    for each in test[:TIMED]:
        begun = time.perf_counter()
        decision = found.predictor.decide(each.prompt, confidence=each.signals.confidence)
        milliseconds.append(1e3 * (time.perf_counter() - begun))
        outside.append(decision.out_of_scope)
    p50, p95 = np.quantile(milliseconds, [0.5, 0.95])
    return {"decision_ms": {"p50": float(p50), "p95": float(p95)}, "out_of_scope": float(np.mean(outside))}


def bounded(train: Sequence[Example], test: Sequence[Example], settings: RouterSettings) -> Report:
    """A second router whose threshold keeps a risk, on the same rows."""
    predictor = fit(train, settings).predictor
    scores = np.array([predictor.score(each.prompt, each.signals) for each in test])
    slm, llm = (np.array([getattr(each, name) for each in test], dtype=np.float64) for name in ("slm", "llm"))
    found = metrics.decisions(scores >= predictor.threshold, slm, llm)
    return {
        "alpha": settings.risk,
        "achieved": found["under_escalation"],
        "escalation_rate": found["achieved_rate"],
        "accuracy": found["accuracy"],
    }
