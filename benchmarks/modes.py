"""The five modes with the live pair on the frozen errands, and what leaves under each for people's own prompts (PUPA).

Knobs are chosen on other households (TUNING_SEED), then everything is measured once on the frozen ones. Wants the pair
of the repository (``simulations/pair``). ``--quick`` is for trying it out and writes nothing.
"""

import argparse
import csv
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy starts its threads

from figures import Figure, told, verdict

from tacit_clients.modes.lexical import folded
from tacit_clients.routing import Example, RouterSettings, Signals, fit
from tacit_clients.slm.models import load, single_thread
from tacit_simulations.commands._bench_modes import Choices, Models, compare
from tacit_simulations.data.errands import frozen
from tacit_simulations.data.errands.asking import SHARES
from tacit_simulations.evaluation.batched import answers
from tacit_simulations.evaluation.distillation.fleet import Asked, Fleet, taught_by
from tacit_simulations.evaluation.distillation.students import taught
from tacit_simulations.evaluation.modes import profiles
from tacit_simulations.evaluation.modes.asking import Asking
from tacit_simulations.evaluation.modes.rows import HERE, Prices
from tacit_simulations.evaluation.modes.sweeps import SWEEPS, Sweep
from tacit_simulations.pair import LARGE, SMALL

MOST_TOKENS: Final = 0.4  # of those of always-llm-raw
GAP: Final = 0.8  # of the two models, to be closed with so few
ROUTER_HOMES, PER_HOME = 400, 10  # of TUNING_SEED, behind those that knobs are chosen on
STUDENT_SEED, STUDENT_HOMES, STUDENT_EACH = 90_000_001, 2_000, 24  # whose questions the student was taught
TAUGHT_SEED = 80_000_001  # households that nobody looked at before lessons, thresholds and the rule of choice stood
FIVE: Final = ("pipeline", "routing", "auxiliary", "distillation", "fusion")
FIXED: Final = (
    "modes.auxiliary.style=plain",  # the large model has learnt no system message
    "modes.auxiliary.abstraction=slm",
)
ROUTED: Final = ("modes.routing.check=predictor", "modes.routing.threshold=0.1")
_SURE: Final = (0.6, 0.8, 0.9, 0.95)
KNOBS: Final[Mapping[str, Sweep]] = {
    "pipeline": SWEEPS["pipeline"],
    "routing": Sweep("modes.routing.token_price", (0.0, 0.002, 0.004, 0.006, 0.01)),
    "auxiliary": SWEEPS["auxiliary"],
    "distillation": Sweep("modes.distillation.threshold", _SURE),
    "fusion": SWEEPS["fusion"],
}
TAUGHT: Final[Mapping[str, Sweep]] = {"distillation": Sweep("modes.distillation.threshold", (0.8, 0.9, 0.93, 0.95))}
TUNED_ON: Final = 400  # questions that the taught student's threshold is chosen on
KEPT: Final = (  # of a row, in the result
    *("mode", "baseline", "knob", "value", "questions", "quality", "quality_low", "quality_high", "pgr_raw"),
    *("pgr_raw_low", "pgr_raw_high", "apgr", "cpt50", "cpt80", "escalation_rate", "over_escalation"),
    *("under_escalation", "confidence_ece", "ttft_ms_p50", "latency_ms_p50", "latency_ms_p95", "llm_tokens"),
    *("llm_tokens_share", "calls", "bytes_up", "local_gflops", "strict_leakage", "any_leak", "units", "exposed_words"),
    *("exposed_bytes_share", "failed", "outage_answered", "outage_quality", "flags", "families"),
)
Row = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fraction of the questions; nothing is written")
    parser.add_argument("--only", choices=["errands", "taught", "people"], help="one of the parts")
    parser.add_argument("--out", type=Path, help="empty folder for the report of the frozen errands, for people")
    parser.add_argument("--student", type=Path, help="folder of the taught adapter: where it is not there, it is made")
    arguments = parser.parse_args()
    if LARGE is None or SMALL is None:
        print("left out: the live pair is not here (simulations/pair); tacit models train makes it")
        return 0
    single_thread()
    quick, figures = arguments.quick, list[Figure]()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.only in (None, "errands"):
            found = errands(Path(folder), quick, arguments.out)
            figures += told("modes", about_errands(found), found, quick)
        if arguments.only in (None, "taught"):
            found = taught_errands(Path(folder), quick, arguments.student)
            figures += told("modes_taught", about_taught(found), found, quick)
        if arguments.only in (None, "people"):
            pupa = people(Path(folder), quick)
            figures += [] if pupa is None else told("modes_people", about_people(pupa), {"rows": pupa}, quick)
    return verdict(figures)


# --- the frozen errands


def errands(folder: Path, quick: bool, out: Path | None) -> dict[str, Any]:
    """Rows of the tuning households, what was chosen there, and rows of the frozen ones."""
    changes = [*FIXED, *ROUTED, f"modes.routing.predictor={router(folder, quick)}"]
    tuning = written(folder / "tuning.jsonl", frozen.rows(frozen.TUNING_SEED)[: 40 if quick else 150])
    tried = here(asked(tuning, changes, modes=",".join(FIVE)))
    test = written(folder / "errands.jsonl", frozen.rows()[: 40 if quick else None])
    document = asked(test, changes, modes=",".join(FIVE), out=out)
    return result(tried, here(document), document["pareto"])


def result(tried: list[Row], rows: list[Row], pareto: Mapping[str, Any]) -> dict[str, Any]:
    """``tried`` on the tuning households, ``rows`` on the frozen ones."""
    chosen = {mode: choice(tried, mode) for mode in KNOBS}
    return {"chosen": chosen, "fixed": list(FIXED), "tuning": tried, "rows": rows, "pareto": pareto}


def taught_errands(folder: Path, quick: bool, student: Path | None = None) -> dict[str, Any]:
    """The same for distillation once the student has learnt, on households of their own.

    Gaps are those between the small model before it learnt and the large one.
    """
    adapter, lessons = taught_student(folder, quick, student)
    tried = by_the_taught(frozen.rows(frozen.TUNING_SEED)[: 40 if quick else TUNED_ON], folder, adapter)
    rows = by_the_taught(frozen.rows(TAUGHT_SEED)[: 40 if quick else None], folder, adapter)
    return {
        "chosen": {"distillation": choice(tried, "distillation")},
        "lessons": lessons,
        "tuning": tried,
        "rows": rows,
    }


def by_the_taught(rows: Sequence[Mapping[str, Any]], folder: Path, adapter: Path) -> list[Row]:
    said = answers(load(str(SMALL)), [str(row["prompt"]) for row in rows])
    untaught = [float(folded(s.text) == folded(str(row["answer"]))) for s, row in zip(said, rows, strict=True)]
    data = written(folder / "errands.jsonl", rows)
    told = here(asked(data, FIXED, modes="distillation", adapter=adapter, sweeps=TAUGHT, start=untaught))
    return [row | {"untaught": sum(untaught) / len(untaught)} for row in told]


def about_taught(found: Mapping[str, Any]) -> list[Figure]:
    rows, chosen = found["rows"], found["chosen"]["distillation"]
    alone, raw = (next(r for r in rows if r["baseline"] == name) for name in ("always-local", "always-llm-raw"))
    beside = f"untaught {alone['untaught']:.3f}, always-llm-raw {raw['quality']:.3f}"
    told = f"the small model once it was taught {found['lessons']:,} of the large one's answers, alone"
    figures = [Figure(told, f"{shown(alone)}; {gap(alone)}", beside)]
    for row in (row for row in rows if row["baseline"] is None):
        wanted = row["value"] == chosen
        figures.append(
            Figure(
                f"distillation (threshold {row['value']}{', chosen on other households' if wanted else ''}), taught",
                f"{shown(row)}; {gap(row)}, {row['escalation_rate']:.0%} asked",
                f"{beside}; lessons are not among these tokens",
                f"at least {GAP:.0%} of the gap for at most {MOST_TOKENS:.0%} of the tokens" if wanted else "",
                bool(row["pgr_raw"] >= GAP and row["llm_tokens_share"] <= MOST_TOKENS) if wanted else None,
            )
        )
    return figures


def router(folder: Path, quick: bool) -> Path:
    """A predictor for this pair, learnt from households that nothing else is learnt or measured on.

    Every other row is without the small model's confidence: the router has to know both kinds, since it is asked before
    and after the local answer.
    """
    homes = 40 if quick else ROUTER_HOMES
    rows = judged(Fleet(frozen.TUNING_SEED, homes, PER_HOME, SHARES).ask(frozen.HOMES))
    rows = [replace(row, signals=Signals()) if number % 2 else row for number, row in enumerate(rows)]
    path = folder / "router.json"
    fit(rows, RouterSettings(target_rate=0.2)).predictor.save(path)
    return path


def judged(asked: Sequence[Asked]) -> list[Example]:
    """Whether each model is right: the small one reads the prompt, the large one what the gate lets through."""
    small = answers(load(str(SMALL)), [each.question.prompt for each in asked])
    large = answers(load(str(LARGE)), [each.redacted for each in asked])
    return [
        Example(
            each.question.prompt,
            folded(own.text) == folded(each.question.answer),
            each.right(theirs.text),
            each.question.family,
            Signals(own.confidence),
        )
        for each, own, theirs in zip(asked, small, large, strict=True)
    ]


def taught_student(folder: Path, quick: bool, kept: Path | None) -> tuple[Path, int]:
    """An adapter of the small model, trained on the large one's answers to redacted questions of other households.

    It is made in ``kept``, where it is named, and taken from there if it is there already.
    """
    place = folder / "student" if kept is None else kept
    count = place / "lessons.json"
    if not count.is_file():
        questions = Fleet(STUDENT_SEED, 20 if quick else STUDENT_HOMES, STUDENT_EACH, SHARES).ask()
        said = taught_by(load(str(LARGE)), questions, tell)
        lessons = [each.lesson(answer) for each, answer in zip(questions, said, strict=True)]
        pairs = [lesson for lesson in lessons if lesson is not None]
        taught(str(SMALL), pairs, STUDENT_SEED, place)
        count.write_text(json.dumps(len(pairs)))
    return place, int(json.loads(count.read_text()))


def asked(
    data: Path,
    changes: Sequence[str],
    modes: str | None = None,
    adapter: Path | None = None,
    out: Path | None = None,
    sweeps: Mapping[str, Sweep] = KNOBS,
    start: Sequence[float] | None = None,
) -> dict[str, Any]:
    """What ``tacit bench modes`` tells of the pair."""
    return compare(Models(adapter=adapter), replace(choices(data, changes, modes, out), sweeps=sweeps, start=start))


def choices(
    data: Path, changes: Sequence[str], modes: str | None, out: Path | None = None, tokens: int = 24, outage: int = 40
) -> Choices:
    return Choices(
        data=data,
        modes=modes,
        sweep=True,
        sweeps=KNOBS,
        changes=changes,
        policy=None,
        limit=None,
        asking=Asking(max_tokens=tokens),
        prices=Prices(),
        remote=profiles.Remote(),
        places=(),
        traces=None,
        outage_questions=outage,
        out=out,
    )


def here(told: Mapping[str, Any]) -> list[Row]:
    return [{name: row[name] for name in KEPT} for row in told["rows"] if row["device_profile"] == HERE]


def choice(rows: Sequence[Row], mode: str) -> Any:
    """The value of the knob that answered most rightly for at most MOST_TOKENS; where none did, the cheapest."""
    tried = [row for row in rows if row["mode"] == mode]
    within = [row for row in tried if row["llm_tokens_share"] <= MOST_TOKENS]
    if within:
        return max(within, key=lambda row: (row["quality"], -row["llm_tokens_share"]))["value"]
    return min(tried, key=lambda row: (row["llm_tokens_share"], -row["quality"]))["value"]


def about_errands(found: Mapping[str, Any]) -> list[Figure]:
    rows: list[Row] = found["rows"]
    figures = [
        Figure(each["baseline"], shown(each), f"{each['questions']:,} frozen questions")
        for each in rows
        if each["baseline"] in ("always-local", "always-llm-raw", "always-llm-redacted")
    ]
    raw = next(row for row in rows if row["baseline"] == "always-llm-raw")
    chosen = [chosen_row(rows, mode, found["chosen"][mode]) for mode in names(rows)]
    reached = [row for row in chosen if row["llm_tokens_share"] <= MOST_TOKENS]
    best = max(reached or chosen, key=lambda row: row["quality"])
    for row in chosen:
        asked_for = row is best
        figures.append(
            Figure(
                f"{row['mode']} ({row['knob'].rpartition('.')[2]} {row['value']}, chosen on other households)",
                f"{shown(row)}; {gap(row)}",
                f"always-llm-raw {raw['quality']:.3f}",
                f"the best: at least {GAP:.0%} of the gap for at most {MOST_TOKENS:.0%} of the tokens"
                if asked_for
                else "",
                bool((row["pgr_raw"] or 0.0) >= GAP and row["llm_tokens_share"] <= MOST_TOKENS) if asked_for else None,
            )
        )
    return figures


def names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["mode"] for row in rows if row["baseline"] is None))


def chosen_row(rows: Sequence[Row], mode: str, value: Any) -> Row:
    return next(row for row in rows if row["mode"] == mode and row["value"] == value)


def shown(row: Row) -> str:
    leak = "" if row["strict_leakage"] is None else f", {row['strict_leakage']:.1%} of units out"
    return (
        f"{row['quality']:.3f} [{row['quality_low']:.3f}, {row['quality_high']:.3f}] right, "
        f"{row['llm_tokens_share']:.0%} of the tokens{leak}, {row['exposed_words']:.0%} of words out"
    )


def gap(row: Row) -> str:
    low, high = row["pgr_raw_low"], row["pgr_raw_high"]
    if row["pgr_raw"] is None:
        return "there is no gap"
    between = "" if low is None else f" [{low:.0%}, {high:.0%}]"
    return f"{row['pgr_raw']:.0%}{between} of the gap"


# --- people's own prompts


def people(folder: Path, quick: bool) -> list[Row] | None:
    """What leaves of PUPA's prompts under each mode; None where the set is not there.

    The pair was taught prompts of a line and has positions for 256 tokens. It is given more here, so that it takes
    these prompts at all. What it answers to them is nothing; what leaves does not depend on that, but for the modes
    that ask where the small model is unsure.
    """
    file = Path(os.environ.get("TACIT_DATA", "")) / "pupa" / "PUPA_TNB.csv"
    if not file.is_file():
        print("left out: PUPA_TNB is not in TACIT_DATA")
        return None
    csv.field_size_limit(10_000_000)
    with file.open(encoding="utf-8", newline="") as lines:
        found = list(csv.DictReader(lines))[: 12 if quick else None]
    rows = [
        {
            "id": f"pupa-{number}",
            "prompt": row["user_query"],
            "answer": "none",
            "units": [unit for unit in row["pii_units"].split("||") if unit.strip()],
        }
        for number, row in enumerate(found)
        if row["user_query"].strip()
    ]
    data = written(folder / "pupa.jsonl", rows)
    small, large = (longer(model, folder) for model in (SMALL, LARGE))
    chosen = choices(data, ["modes.auxiliary.style=plain"], None, tokens=8, outage=0)
    return here(compare(Models(slm=str(small), llm=str(large)), replace(chosen, sweep=False)))


def longer(model: Path | None, folder: Path) -> Path:
    """A copy with room for long prompts: rotary positions need no weights."""
    assert model is not None
    place = folder / f"long-{model.name}"
    shutil.copytree(model, place)
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 16_384}))
    return place


def about_people(rows: Sequence[Row]) -> list[Figure]:
    """Most exposed run of each mode, in the order that is predicted."""
    worst = {
        name: max((r for r in rows if (r["baseline"] or r["mode"]) == name), key=lambda row: row["exposed_words"])
        for name in ("always-local", "auxiliary", "pipeline", "fusion", "always-llm-redacted", "always-llm-raw")
    }
    order = [row["exposed_words"] for row in worst.values()]
    figures = [
        Figure(
            f"{name} on {row['questions']} prompts of PUPA_TNB: words that left",
            f"{row['exposed_words']:.1%}",
            f"{row['strict_leakage']:.1%} of {row['units']:.0f} units leaked, any of them in {row['any_leak']:.1%}",
        )
        for name, row in worst.items()
    ]
    rising = all(one <= other + 1e-9 for one, other in pairwise(order))
    figures.append(
        Figure(
            "exposure rises from local over auxiliary, pipeline and fusion to raw",
            "yes" if rising else "not everywhere",
            "share of words that left",
            "as predicted",
            rising,
        )
    )
    return figures


# --- small things


def written(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def tell(line: str) -> None:
    print(f"   {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
