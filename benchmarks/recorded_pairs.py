"""Recorded pairs of real models, replayed: a cascade that reads the answer, a choice of two, votes of small models.

On every recorded pair in TACIT_DATA. What is fitted is fitted on other questions of the same set.
"""

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from figures import Figure, save, show, verdict

from tacit_simulations.evaluation.recorded import (
    RecordedCrowd,
    RecordedPair,
    cascade,
    features,
    public_pairs,
    selection,
    votes,
)
from tacit_simulations.evaluation.recorded import pairs as recorded

QUICK = 200  # prompts of each pair
SEEDS = (1, 2, 3, 4)  # of other folds
ENOUGH = 1000  # prompts from which on something is asked for
SMALL = ("gemma-2-2b", "Phi-3.5-mini", "Qwen2-7B", "Llama-3.1-8B")
LARGE = "gpt-4o"
CROWDS = {"four small models": SMALL, "the three of 4B to 8B": SMALL[1:], "all seven": tuple(recorded.ZEROEVAL)}
Report = Mapping[str, Any]


def first(pair: RecordedPair, count: int) -> RecordedPair:
    """The first ``count`` prompts of a pair."""

    def cut(column: Any) -> Any:
        return None if column is None else column[:count]

    names = ("prompts", "slm", "llm", "slm_answers", "llm_answers", "groups")
    return replace(pair, **{name: cut(getattr(pair, name)) for name in names})


def first_of(crowd: RecordedCrowd, count: int) -> RecordedCrowd:
    answers = tuple(each[:count] for each in crowd.answers)
    return replace(crowd, prompts=crowd.prompts[:count], answers=answers, right=crowd.right[:count])


def between(values: Sequence[float], form: str = ".3f") -> str:
    """An interval."""
    low, high = values
    return f"{low:{form}} to {high:{form}}"


def above(interval: Report, form: str = "+.3f") -> str:
    return f"{interval['value']:{form}} ({between((interval['low'], interval['high']), form)})"


def routing(name: str, report: Report) -> list[Figure]:
    """Where to ask, with the answer's text or, where there is none, the prompt alone."""
    policies, main = report["policies"], report["main"]
    own, read = policies[main], main == cascade.VERIFIER
    asked = read and report["n"] >= ENOUGH
    rest = [f"{other} {policies[other]['apgr']:.3f}" for other in ("prompt", "length") if other != main]
    rest += [f"{other} {policies[other]['apgr']:.3f}" for other in (cascade.UNSEEN,) if other in policies]
    rows = [
        Figure(
            f"{name}: APGR by {main}; {report['n']:,} prompts, right {report['slm']:.3f} and {report['llm']:.3f}",
            f"{own['apgr']:.3f} ({between(own['interval'])})",
            ", ".join([*rest, f"chance {report['random']:.3f}", f"oracle {report['oracle']:.3f}"]),
        )
    ]
    if not read:
        return rows
    folds = report["on_other_folds"]
    over, other = report["above"]["prompt"], policies["prompt"]
    others = {"answer alone": "answer", "its flags, nothing learned": "flags, nothing learned"}
    others |= {"its length": "length of the answer"}
    more = [f"{told} {policies[policy]['apgr']:.3f}" for told, policy in others.items()]
    return [
        *rows,
        Figure(
            f"{name}: APGR above that of the prompt alone",
            above(over),
            ", ".join([f"on other folds {between((min(folds), max(folds)), '+.3f')}", *more]),
            "above 0, its interval and other folds too" if asked else "",
            min(over["low"], *folds) > 0 if asked else None,
        ),
        Figure(
            f"{name}: prompts asked to recover 50 % and 80 % of the gap",
            f"{own['cpt']['50']:.1f} % and {own['cpt']['80']:.1f} %",
            f"prompt alone {other['cpt']['50']:.1f} % and {other['cpt']['80']:.1f} %; "
            f"error of calibration {report['ece']:.3f} where the large model helps on {report['only_llm']:.1%}",
        ),
    ]


def parts(reports: Mapping[str, Report]) -> list[Figure]:
    """What each group of features is worth, over all pairs with texts and enough prompts."""
    kept = [each["policies"] for each in reports.values() if each["main"] == cascade.VERIFIER and each["n"] >= ENOUGH]
    if not kept:
        return []

    def mean(policy: str) -> float:
        return fmean(each[policy]["apgr"] for each in kept)

    return [
        Figure(
            f"APGR by {group} of the answer alone, mean of {len(kept)} pairs",
            f"{mean(f'answer: {group}'):.3f}",
            f"everything {mean('answer'):.3f}, everything but this {mean(f'answer without {group}'):.3f}",
        )
        for group in features.groups()
    ]


def choice(name: str, report: Report) -> Figure:
    """One of two answers."""
    rules = report["rules"]
    learned = rules[selection.LEARNED]
    others = [f"{rule} {found['accuracy']:.3f}" for rule, found in rules.items() if rule != selection.LEARNED]
    ends = [f"small {report['slm']:.3f}", f"large {report['llm']:.3f}", f"better of two {report['best_of_two']:.3f}"]
    return Figure(
        f"{name}: accuracy of choosing between both texts, above the large model",
        f"{learned['accuracy']:.3f}, {above(learned['above_llm'])}",
        ", ".join([*ends, *others]),
    )


def crowd(name: str, report: Report) -> Figure:
    """Votes."""
    ways = report["ways"]
    told = [f"{way} {found['accuracy']:.3f}" for way, found in ways.items() if way != "majority"]
    return Figure(
        f"GSM8K, {name}: accuracy of the majority, above the best of them",
        f"{ways['majority']['accuracy']:.3f}, {above(ways['majority']['above_best'])}",
        f"{', '.join(told)}; text above best {above(ways['weighted by text']['above_best'])}",
    )


def split(name: str, report: Report) -> Figure:
    """Small models that vote, and ask where they differ."""
    found, text = report["majority"], report["weighted by text"]
    return Figure(
        f"GSM8K, {name} vote and ask {LARGE} where split: accuracy, prompts asked",
        f"{found['accuracy_asking_where_split']:.3f}, {found['split']:.1%}",
        f"{LARGE} alone {report['llm']:.3f}; right where unanimous {found['right_where_unanimous']:.3f}; APGR by the "
        f"share of votes {found['apgr']:.3f}, weighted by text {text['apgr']:.3f}",
    )


def moved(report: Mapping[str, Mapping[str, float]]) -> list[Figure]:
    """A verifier that learned from another model's graded answers."""
    rows = []
    for name, row in report.items():
        others = [value for other, value in row.items() if other != name]
        what = f"GSM8K, {name} and {LARGE}: APGR by a verifier that learned from another small model"
        rows.append(Figure(what, between((min(others), max(others))), f"from its own answers {row[name]:.3f}"))
    return rows


def measure(data: Path, limit: int | None, resamples: int) -> tuple[list[Figure], dict[str, Any]]:
    """Everything."""
    rows: list[Figure] = []
    cascades: dict[str, Any] = {}
    choices: dict[str, Any] = {}
    for pair in public_pairs(data):
        begun = time.perf_counter()
        each = pair if limit is None else first(pair, limit)
        cascades[pair.name] = cascade.evaluate(each, resamples=resamples)
        if each.slm_answers is not None:
            cascades[pair.name]["on_other_folds"] = cascade.on_other_folds(each, SEEDS)
        rows += routing(pair.name, cascades[pair.name])
        if each.slm_answers is not None:
            choices[pair.name] = selection.evaluate(each, resamples=resamples)
            rows.append(choice(pair.name, choices[pair.name]))
        print(f"{pair.name}: {time.perf_counter() - begun:.0f} s", flush=True)
    details: dict[str, Any] = {"cascades": cascades, "selections": choices}
    rows += parts(cascades)
    if (data / "zeroeval_gsm").is_dir():
        everyone = recorded.zeroeval_gsm(data / "zeroeval_gsm")
        found, more = crowds(everyone if limit is None else first_of(everyone, limit), resamples)
        return rows + found, details | more
    return rows, details


def crowds(everyone: RecordedCrowd, resamples: int) -> tuple[list[Figure], dict[str, Any]]:
    """More than two models."""
    llm = everyone.of([LARGE]).right[:, 0]
    voted = {name: votes.evaluate(everyone.of(models), resamples=resamples) for name, models in CROWDS.items()}
    asking = {
        name: votes.split_votes(everyone.of(models), llm, resamples=resamples)
        for name, models in CROWDS.items()
        if LARGE not in models
    }
    transfer = cascade.transferred(everyone.of([*SMALL, LARGE]), LARGE)
    rows = [crowd(*each) for each in voted.items()] + [split(*each) for each in asking.items()] + moved(transfer)
    return rows, {"votes": voted, "split_votes": asking, "transfer": transfer}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} prompts of each pair; nothing is written")
    quick = parser.parse_args().quick
    data = os.environ.get("TACIT_DATA")
    if not data:
        print("Left out: recorded pairs need TACIT_DATA, the folder above the public sets.")
        return 0
    rows, details = measure(Path(data), QUICK if quick else None, 50 if quick else 1000)
    if quick:
        show(rows)
        return 0
    save("recorded_pairs", rows, details)
    return verdict(rows)


if __name__ == "__main__":
    sys.exit(main())
