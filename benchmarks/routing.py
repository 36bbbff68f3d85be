"""Routing by the prompt alone: the predictor beside length and TF-IDF, its rate, its time, and what it calls foreign.

On RouteLLM's recorded grades of MMLU and GSM8K in TACIT_DATA, and on CLINC150's requests out of scope. Every score is
of a prompt that its router was not trained on.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy starts its threads

import numpy as np
from figures import Figure, save, show, verdict
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, StratifiedKFold

from tacit_clients.routing import Example, RouterSettings, fit
from tacit_clients.routing.familiarity import Familiarity
from tacit_simulations.evaluation.recorded.pairs import RecordedPair, routellm_gsm8k, routellm_mmlu
from tacit_simulations.evaluation.routing import Outcome, compare, judge, metrics
from tacit_simulations.evaluation.routing.evaluate import told

RATE, RATE_ERROR, DECISION_MS = 0.5, 0.02, 5.0  # what is asked for
FOLDS, QUICK = 5, 400
SCOPE_LEVEL = 0.05
Report = Mapping[str, Any]
Split = tuple[NDArray[np.int64], NDArray[np.int64]]
Run = tuple[Outcome, NDArray[np.bool_], list[dict[str, Any]]]
Setting = tuple[str, Callable[[], tuple[Run, list[Example]]], bool, bool]


def examples(pair: RecordedPair, limit: int | None, rng: np.random.Generator) -> list[Example]:
    """Rows of ``pair``; with ``limit`` so many of them, drawn."""
    groups: Sequence[str | None] = pair.groups or [None] * len(pair)
    rows = [Example(p, s == 1, b == 1, g) for p, s, b, g in zip(pair.prompts, pair.slm, pair.llm, groups, strict=True)]
    return rows if limit is None else [rows[index] for index in rng.permutation(len(rows))[:limit]]


def ungrouped(rows: Sequence[Example]) -> list[Example]:
    """For a router of known subjects: what tells them apart may be learnt."""
    return [replace(row, group=None) for row in rows]


def mixed(rows: Sequence[Example]) -> Iterable[Split]:
    """Folds in which every outcome of the two models is as frequent."""
    outcomes = [2 * row.slm + row.llm for row in rows]
    yield from StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(np.zeros(len(rows)), outcomes)


def disjoint(rows: Sequence[Example]) -> Iterable[Split]:
    """Folds that share no subject."""
    yield from GroupKFold(FOLDS).split(np.zeros(len(rows)), groups=[row.group for row in rows])


def run(train: Sequence[Example], test: Sequence[Example]) -> Run:
    """Train on the one, score the other; whether each was asked by the threshold of the training rows."""
    found = fit(train, RouterSettings(target_rate=RATE))
    outcome = judge(found.predictor, train, test, 0)
    asked = outcome.scores["tacit"] >= found.predictor.threshold
    return outcome, asked, [{"gram_penalty": found.gram_penalty, **told(found, test)}]


def crossed(rows: Sequence[Example], splits: Iterable[Split]) -> tuple[Run, list[Example]]:
    """Every row scored by the router of the other folds, pooled, and the rows in that order."""
    runs, order = [], []
    for inside, outside in splits:
        runs.append(run([rows[i] for i in inside], [rows[i] for i in outside]))
        order += [rows[i] for i in outside]
    outcomes = [outcome for outcome, _, _ in runs]
    pooled = Outcome(
        np.concatenate([each.slm for each in outcomes]),
        np.concatenate([each.llm for each in outcomes]),
        {name: np.concatenate([each.scores[name] for each in outcomes]) for name in outcomes[0].scores},
    )
    asked = np.concatenate([asked for _, asked, _ in runs])
    return (pooled, asked, [each for _, _, folds in runs for each in folds]), order


def report(found: Run, groups: Sequence[str] | None, resamples: int) -> dict[str, Any]:
    """Figures of one setting; with ``groups`` also intervals by draws of whole groups."""
    outcome, asked, folds = found
    one = compare(outcome, 0, resamples)
    one["by_group"] = compare(outcome, 0, resamples, groups)["above"] if groups else None
    decided = metrics.decisions(asked, outcome.slm, outcome.llm)
    accuracy = {"slm": float(outcome.slm.mean()), "llm": float(outcome.llm.mean()), "routed": decided.pop("accuracy")}
    ece = metrics.ece(outcome.scores["tacit"], outcome.helps)
    return {"n": len(asked), **one, "target_rate": RATE, **decided, "accuracy": accuracy, "ece": ece, "folds": folds}


def above(interval: Report) -> str:
    return f"{interval['value']:+.3f} ({interval['low']:+.3f} to {interval['high']:+.3f})"


def rows_of(name: str, found: Report, asked: bool, exchangeable: bool) -> list[Figure]:
    """``asked``: something is asked of the differences; ``exchangeable``: of the rate."""
    low, high = found["apgr_interval"]
    others = ", ".join(f"{other} {value:.3f}" for other, value in found["baselines"].items())
    rows = [
        Figure(
            f"{name}: APGR of the predictor; {found['n']:,} prompts, right {found['accuracy']['slm']:.3f} and "
            f"{found['accuracy']['llm']:.3f}",
            f"{found['apgr']:.3f} ({low:.3f} to {high:.3f})",
            f"{others}, oracle {found['oracle']:.3f}",
        )
    ]
    for other, gap in found["above"].items():
        beside = "limit: 0"
        if found["by_group"]:
            beside = f"limit: 0; drawn by whole subjects {above(found['by_group'][other])}"
        wanted, ok = ("interval above 0", gap["low"] > 0) if asked else ("", None)
        rows.append(Figure(f"{name}: APGR above {other}", above(gap), beside, wanted, ok))
    error = RATE_ERROR + 1.96 * math.sqrt(RATE * (1 - RATE) / found["n"])
    ok = abs(found["achieved_rate"] - RATE) <= error if exchangeable else None
    told_by = f"accuracy {found['accuracy']['routed']:.3f}, calibration error {found['ece']:.3f}"
    wanted = f"within {error:.1%} of it" if exchangeable else ""
    what = f"{name}: prompts escalated where {RATE:.0%} was wanted"
    return [*rows, Figure(what, f"{found['achieved_rate']:.1%}", told_by, wanted, ok)]


def speed(folds: Sequence[Report], trained: int) -> Figure:
    """The slowest fold."""
    p50, p95 = (max(fold["decision_ms"][key] for fold in folds) for key in ("p50", "p95"))
    fastest = min(fold["decision_ms"]["p50"] for fold in folds)
    what = f"a decision of a router trained on {trained:,} prompts: p50, p95 of the slowest fold"
    return Figure(
        what,
        f"{p50:.2f}, {p95:.2f} ms",
        f"p50 of the fastest {fastest:.2f} ms",
        f"p50 under {DECISION_MS:g} ms",
        p50 < DECISION_MS,
    )


def scope(file: Path, limit: int | None) -> tuple[list[Figure], dict[str, Any]]:
    """How well requests out of scope are told from those of known intents, which none of them was learned from."""
    parts = {name: [text for text, _ in rows] for name, rows in json.loads(file.read_text("utf-8")).items()}
    rng = np.random.default_rng(0)
    parts = {name: [rows[index] for index in rng.permutation(len(rows))[:limit]] for name, rows in parts.items()}
    train, inside, outside = parts["train"], parts["test"], parts["oos_test"]
    known = Familiarity.of(train, rng)
    novelty = [known.novelty(text) for text in inside + outside]
    foreign = [0] * len(inside) + [1] * len(outside)
    flagged = np.array([known.p_value(text) <= SCOPE_LEVEL for text in inside + outside])
    vectors = TfidfVectorizer(sublinear_tf=True).fit(train)
    nearest = (vectors.transform(inside + outside) @ vectors.transform(train).T).max(axis=1).toarray().ravel()
    found = {
        "auroc": float(roc_auc_score(foreign, novelty)),
        "nearest_auroc": float(roc_auc_score(foreign, -nearest)),
        "length_auroc": float(roc_auc_score(foreign, [len(text) for text in inside + outside])),
        "inside_flagged": float(flagged[: len(inside)].mean()),
        "outside_flagged": float(flagged[len(inside) :].mean()),
        "n": {"train": len(train), "inside": len(inside), "outside": len(outside)},
    }
    return [
        Figure(
            f"clinc150: AUROC of out of scope; {len(inside):,} requests of known intents, {len(outside):,} of none",
            f"{found['auroc']:.3f}",
            f"likeness to the nearest by TF-IDF {found['nearest_auroc']:.3f}, length {found['length_auroc']:.3f}",
        ),
        Figure(
            f"clinc150: called out of scope, of known intents and of none, level {SCOPE_LEVEL:g}",
            f"{found['inside_flagged']:.1%} and {found['outside_flagged']:.1%}",
            f"level {SCOPE_LEVEL:.0%} of the first, if they are like the training requests",
        ),
    ], found


def measure(data: Path, limit: int | None, resamples: int) -> tuple[list[Figure], dict[str, Any]]:
    """Everything."""
    rng = np.random.default_rng(0)
    mmlu = examples(routellm_mmlu(data / "routellm_mmlu"), limit, rng)
    gsm8k = examples(routellm_gsm8k(data / "routellm_gsm8k"), limit, rng)
    rows: list[Figure] = []
    details: dict[str, Any] = {}
    settings: tuple[Setting, ...] = (
        ("MMLU, subjects never seen", lambda: crossed(mmlu, disjoint(mmlu)), True, False),
        ("MMLU, questions never seen", lambda: crossed(ungrouped(mmlu), mixed(mmlu)), True, True),
        ("GSM8K, questions never seen", lambda: crossed(gsm8k, mixed(gsm8k)), False, True),
        ("MMLU to GSM8K", lambda: (run(mmlu, gsm8k), gsm8k), False, False),
        ("GSM8K to MMLU", lambda: (run(gsm8k, mmlu), mmlu), False, False),
    )
    for name, go, asked, exchangeable in settings:
        begun = time.perf_counter()
        found, order = go()
        groups = [str(row.group) for row in order] if name == "MMLU, subjects never seen" else None
        details[name] = report(found, groups, resamples)
        rows += rows_of(name, details[name], asked, exchangeable)
        print(f"{name}: {time.perf_counter() - begun:.0f} s", flush=True)
    rows.append(speed(details["MMLU, questions never seen"]["folds"], len(mmlu) * (FOLDS - 1) // FOLDS))
    more, details["clinc150"] = scope(data / "clinc150" / "data_full.json", limit)
    return rows + more, details


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} prompts of each set; nothing is written")
    options = parser.parse_args()
    data = os.environ.get("TACIT_DATA")
    if not data:
        print("Left out: routing needs TACIT_DATA, the folder above the public sets.")
        return 0
    rows, details = measure(Path(data), QUICK if options.quick else None, 100 if options.quick else 1000)
    if options.quick:
        show(rows)
        return 0
    save("routing", rows, {"scikit_learn": version("scikit-learn"), "settings": details})
    return verdict(rows)


if __name__ == "__main__":
    sys.exit(main())
