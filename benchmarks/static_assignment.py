"""Routing each prompt beside assigning each type of query to one model for good, at the same rates of escalation.

Two mixes: RouteLLM's recorded grades of MMLU (a type is a subject) and GSM8K (one type) in TACIT_DATA, scored out of
fold; and the frozen errands of the repository's live pair (a type is a family), with a router of other households.
``--quick`` is for trying it out and writes nothing.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy starts its threads

import numpy as np
from figures import Figure, save, show, verdict
from modes import PER_HOME, ROUTER_HOMES, judged
from numpy.typing import NDArray
from routing import QUICK, examples, mixed, ungrouped

from tacit_clients.routing import Example, RouterSettings, Signals, fit
from tacit_simulations.data.errands import frozen
from tacit_simulations.data.errands.asking import SHARES
from tacit_simulations.evaluation.distillation.fleet import Fleet
from tacit_simulations.evaluation.recorded.pairs import routellm_gsm8k, routellm_mmlu
from tacit_simulations.evaluation.routing import baselines, metrics
from tacit_simulations.pair import LARGE, SMALL

RATES: Final = (0.1, 0.25, 0.5, 0.75)
SHOWN: Final = 200  # a type with fewer prompts is told of in the result alone
Vector = NDArray[np.float64]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few prompts; nothing is written")
    quick = parser.parse_args().quick
    found: dict[str, dict[str, Any]] = {}
    data = os.environ.get("TACIT_DATA")
    if data:
        rows = questions(Path(data), QUICK if quick else None)
        found["MMLU and GSM8K"] = compared(rows, *out_of_fold(rows), 100 if quick else 1000)
    else:
        print("recorded grades left out: TACIT_DATA is not set")
    if LARGE is None or SMALL is None:
        print("errands left out: the live pair is not here (simulations/pair); tacit models train makes it")
    else:
        test, routed, assigned = errands(40 if quick else ROUTER_HOMES)
        found["errands"] = compared(test, routed, assigned, 100 if quick else 1000)
    figures = [figure for name, each in found.items() for figure in about(name, each)]
    if quick:
        show(figures)
    elif found:
        save("static_assignment", figures, found)
    return verdict(figures)


def questions(data: Path, limit: int | None) -> list[Example]:
    """Both sets; the whole of GSM8K is one type."""
    rng = np.random.default_rng(0)
    sums = examples(routellm_gsm8k(data / "routellm_gsm8k"), limit, rng)
    return examples(routellm_mmlu(data / "routellm_mmlu"), limit, rng) + [replace(row, group="gsm8k") for row in sums]


def out_of_fold(rows: Sequence[Example]) -> tuple[Vector, Vector]:
    """Scores of the router and of the assignment, of every row by those of the other folds."""
    routed, assigned, rng = np.zeros(len(rows)), np.zeros(len(rows)), np.random.default_rng(0)
    for inside, outside in mixed(rows):
        train, test = [rows[i] for i in inside], [rows[i] for i in outside]
        predictor = fit(ungrouped(train), RouterSettings()).predictor
        routed[outside] = [predictor.score(row.prompt) for row in test]
        assigned[outside] = baselines.static(train, test, rng)
    return routed, assigned


def errands(homes: int) -> tuple[list[Example], Vector, Vector]:
    """The frozen ones, and both scores by other households'. Neither knows how sure the small model is."""
    asked = (
        Fleet(frozen.TUNING_SEED, homes, PER_HOME, SHARES).ask(frozen.HOMES),
        Fleet(frozen.TEST_SEED, frozen.HOMES, frozen.PER_HOME, SHARES).ask(),
    )
    train, test = ([replace(row, signals=Signals()) for row in judged(each)] for each in asked)
    predictor = fit(ungrouped(train), RouterSettings()).predictor
    routed = np.array([predictor.score(row.prompt) for row in test])
    return test, routed, baselines.static(train, test, np.random.default_rng(0))


def compared(rows: Sequence[Example], routed: Vector, assigned: Vector, resamples: int) -> dict[str, Any]:
    """APGR of both, what lies between, and for each rate and each type what was answered rightly."""
    slm, llm = (np.array([getattr(row, side) for row in rows], dtype=np.float64) for side in ("slm", "llm"))
    draws = metrics.bootstrap([routed, assigned], slm, llm, np.random.default_rng(0), resamples)
    gap = metrics.differences(draws, [routed, assigned], slm, llm)[0]
    types = np.array([str(row.group) for row in rows])
    asked = {rate: (first(routed, rate), first(assigned, rate)) for rate in RATES}
    return {
        "n": len(rows),
        "slm": float(slm.mean()),
        "llm": float(llm.mean()),
        "apgr": {"routed": metrics.apgr(routed, slm, llm), "assigned": metrics.apgr(assigned, slm, llm)},
        "above": {"value": gap.value, "low": gap.low, "high": gap.high},
        "rates": {str(rate): [right(each, slm, llm) for each in both] for rate, both in asked.items()},
        "types": {
            name: {
                "n": int((of := types == name).sum()),
                "slm": float(slm[of].mean()),
                "llm": float(llm[of].mean()),
                "asked": [float(each[of].mean()) for each in asked[0.5]],
                "right": [right(each[of], slm[of], llm[of]) for each in asked[0.5]],
            }
            for name in sorted(set(types))
        },
    }


def first(score: Vector, rate: float) -> NDArray[np.bool_]:
    """Whether each is among the ``rate`` with the highest scores."""
    chosen = np.zeros(len(score), dtype=bool)
    chosen[np.argsort(-score, kind="stable")[: round(rate * len(score))]] = True
    return chosen


def right(asked: NDArray[np.bool_], slm: Vector, llm: Vector) -> float:
    return float(np.where(asked, llm, slm).mean())


def about(name: str, found: dict[str, Any]) -> list[Figure]:
    apgr, above = found["apgr"], found["above"]
    ends = f"the small model {found['slm']:.3f}, the large one {found['llm']:.3f}"
    figures = [
        Figure(
            f"{name}: APGR of routing each of {found['n']:,} prompts, above that of assigning their "
            f"{len(found['types'])} types",
            f"{apgr['routed']:.3f}: {above['value']:+.3f} ({above['low']:+.3f} to {above['high']:+.3f})",
            f"types assigned {apgr['assigned']:.3f}, by chance 0.5",
        )
    ]
    figures += [
        Figure(f"{name}: right with {float(rate):.0%} asked", f"{routed:.3f}", f"types assigned {assigned:.3f}; {ends}")
        for rate, (routed, assigned) in found["rates"].items()
    ]
    for kind, each in found["types"].items():
        if each["n"] >= min(SHOWN, found["n"] // 10):
            figures.append(
                Figure(
                    f"{name}, {kind} ({each['n']:,}), half of all asked: right",
                    f"{each['right'][0]:.3f}, {each['asked'][0]:.0%} of them asked",
                    f"types assigned {each['right'][1]:.3f}, {each['asked'][1]:.0%}; the small model "
                    f"{each['slm']:.3f}, the large one {each['llm']:.3f}",
                )
            )
    return figures


if __name__ == "__main__":
    sys.exit(main())
