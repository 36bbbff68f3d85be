"""What `tacit bench routing` measures and how people see it; what `tacit models train-router` trains."""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tacit_clients.routing import RouterSettings, fit
from tacit_privacy.errors import BadInput
from tacit_simulations.evaluation.routing import evaluate, read


def measure(train: Path, test: Path, rate: float, risk: float | None, resamples: int, seed: int) -> dict[str, Any]:
    """The document of ``--json``. Raises BadInput."""
    settings = _settings(rate, risk, seed)
    found = evaluate(read(train), read(test), settings, resamples)
    machine = {
        "processor": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "scikit_learn": version("scikit-learn"),
    }
    return {**found, "machine": machine}


def train_router(data: Path, out: Path, rate: float, risk: float | None, seed: int) -> dict[str, Any]:
    """Train on the rows of ``data`` and write ``out``. Raises BadInput."""
    if not out.resolve().parent.is_dir():
        raise BadInput(f"cannot write {out}: {out.resolve().parent} is no folder; make it or choose another --out")
    examples = read(data)
    found = fit(examples, _settings(rate, risk, seed))
    found.predictor.save(out)
    asked = sum(score >= found.predictor.threshold for score in found.scores) / len(examples)
    return {
        "path": str(out),
        "examples": len(examples),
        "threshold": found.predictor.threshold,
        "escalates": float(asked),
        "gram_penalty": found.gram_penalty,
        "weights": int(found.predictor.weights.size),
        "bytes": out.stat().st_size,
        "spec": found.predictor.spec.digest(),
    }


def _settings(rate: float, risk: float | None, seed: int) -> RouterSettings:
    if risk is not None and not 0 < risk < 1:
        raise BadInput(f"--risk is {risk}, which is no probability between 0 and 1")
    return RouterSettings(target_rate=rate, risk=risk, seed=seed)


def show(found: Mapping[str, Any]) -> None:
    """A table of routers and one of what the threshold does."""
    console = Console()
    console.print(_routers(found))
    console.print(_threshold(found))


def _routers(found: Mapping[str, Any]) -> Table:
    n, above = found["n"], found["above"]
    caption = f"Trained on {n['train']:,} rows, measured on {n['test']:,}. Brackets: 95 % by paired bootstrap."
    table = _table("Routers", ("", "APGR", "tacit is above by"), caption)
    table.add_row("tacit", f"{_figure(found['apgr'])} {_interval(*found['apgr_interval'])}", "")
    for name, value in found["baselines"].items():
        gap = above.get(name)
        beside = f"{_figure(gap['value'])} {_interval(gap['low'], gap['high'])}" if gap else ""
        table.add_row(name, _figure(value), beside)
    table.add_row("oracle", _figure(found["oracle"]), "")
    return table


def _threshold(found: Mapping[str, Any]) -> Table:
    right, cpt, times = found["accuracy"], found["cpt"], found["decision_ms"]
    table = _table("What it does", ("", "measured"))
    calls = ", ".join("none" if value is None else f"{value:.1f}%" for value in cpt.values())
    table.add_row("asked to recover 20, 50, 80 % of the gap", calls)
    table.add_row("escalated, wanted", f"{found['achieved_rate']:.1%}, {found['target_rate']:.1%}")
    table.add_row("right: small, routed, large", ", ".join(f"{right[key]:.1%}" for key in ("slm", "routed", "llm")))
    table.add_row("asked though the small one was right", f"{found['over_escalation']:.1%}")
    table.add_row("not asked though only the large one was", f"{found['under_escalation']:.1%}")
    table.add_row("asked and both were wrong", f"{found['both_wrong_waste']:.1%}")
    table.add_row("calibration error", _figure(found["ece"]))
    table.add_row("unlike the training prompts", f"{found['out_of_scope']:.1%}")
    table.add_row("a decision, p50 and p95", f"{times['p50']:.2f}, {times['p95']:.2f} ms")
    if found["risk"]:
        risk = found["risk"]
        kept = f"{risk['achieved']:.1%} by escalating {risk['escalation_rate']:.1%}"
        table.add_row(f"second threshold, missed at most {risk['alpha']:.1%}", kept)
    return table


def _table(title: str, columns: tuple[str, ...], caption: str | None = None) -> Table:
    table = Table(title=title, caption=caption, box=SIMPLE_HEAD, caption_justify="left", pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table


def _figure(value: float) -> str:
    return "none" if value != value else f"{value:.3f}"


def _interval(low: float, high: float) -> str:
    return "" if low != low else f"[{low:.3f}, {high:.3f}]"
