"""What `tacit bench pii` measures and how people see it."""

import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tacit_privacy.errors import BadInput
from tacit_privacy.pii.policy import RedactionPolicy
from tacit_simulations.evaluation.pii import evaluate, from_file, public_sets

_HEAD = ("", "texts", "F2", "any", "masked", "extra", "leaked", "back")


def measure(
    file: Path | None,
    data: Path | None,
    policy: Path | None,
    recogniser: Path | None,
    curve: bool,
    peers: bool,
    limit: int | None,
) -> dict[str, Any]:
    """The document of ``--json``. Raises BadInput."""
    if file is not None:
        sets = [from_file(file)]
    elif data is not None:
        sets = public_sets(data)
    else:
        raise BadInput("nothing to measure on: name a FILE of rows, or the folder above the public sets by --data")
    rules = RedactionPolicy.load(policy)
    reports = evaluate(
        sets,
        rules,
        recogniser=recogniser,
        curve=curve,
        peers=peers,
        limit=limit,
        tell=lambda name: print(f"reading {name}", file=sys.stderr) if file is None else None,
    )
    machine = {
        "processor": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "onnxruntime": version("onnxruntime"),
        "presidio_analyzer": version("presidio-analyzer"),
    }
    detection = {"threshold": rules.detection.threshold, "thresholds": rules.detection.thresholds}
    shipped = "none" if rules.detection.recogniser == "none" else "shipped"
    return {
        "machine": machine,
        "policy": str(policy) if policy else "default",
        "recogniser": str(recogniser) if recogniser else shipped,
        **detection,
        "limit": limit,
        "sets": reports,
    }


def all_came_back(found: Mapping[str, Any]) -> bool:
    """Whether every text that went out came back as it was."""
    ways = [report["round_trip"] for report in found["sets"] if report["round_trip"]]
    return all(way["exact"] == way["texts"] for way in ways)


def show(found: Mapping[str, Any]) -> None:
    """Tables for people: one of the sets, one of types for each set that marks any, one of each curve."""
    console = Console()
    console.print(_sets(found))
    for report in found["sets"]:
        if report["spans"] and report["spans"]["by_type"]:
            console.print(_types(report))
        if report["curve"]:
            console.print(_curve(report))


def _sets(found: Mapping[str, Any]) -> Table:
    caption = (
        "F2: half of what both cover, same type; any: of any type. masked: share of all characters; extra: of those "
        "outside every marked span.\nleaked: units still there. back: restored as it was.\n"
    )
    caption += f"Policy {found['policy']}, recogniser {found['recogniser']}, threshold {found['threshold']:g}"
    table = _table("Redaction", _HEAD, caption)
    for report in found["sets"]:
        table.add_row(*_row(report["name"], report))
        for name, peer in report["peers"].items():
            table.add_row(*_row(f"  {name}", peer))
    return table


def _row(name: str, report: Mapping[str, Any]) -> list[str]:
    spans, leakage, way = report["spans"], report["leakage"], report["round_trip"]
    return [
        name,
        f"{report['texts']:,}",
        _figure(spans and spans["overlap"]["f2"]),
        _figure(spans and spans["any_type"]["f2"]),
        _percent(report["masked_share"]),
        _percent(report["over_redaction"]),
        _figure(leakage and leakage["strict"]),
        _way(way),
    ]


def _types(report: Mapping[str, Any]) -> Table:
    table = _table(f"{report['name']}: types", ("type", "F2", "precision", "recall", "hits", "missed", "extra"))
    for kind, row in report["spans"]["by_type"].items():
        counts = [f"{row[key]:,}" for key in ("hits", "missed", "extra")]
        table.add_row(kind, _figure(row["f2"]), _figure(row["precision"]), _figure(row["recall"]), *counts)
    return table


def _curve(report: Mapping[str, Any]) -> Table:
    table = _table(
        f"{report['name']}: over thresholds", ("threshold", "F2", "any type", "masked", "leaked", "any leak")
    )
    for point in report["curve"]:
        table.add_row(
            f"{point['threshold']:g}",
            _figure(point["f2"]),
            _figure(point["f2_any_type"]),
            _percent(point["masked_share"]),
            _figure(point["strict_leakage"]),
            _figure(point["any_leak"]),
        )
    return table


def _table(title: str, columns: tuple[str, ...], caption: str | None = None) -> Table:
    table = Table(
        title=title, caption=caption, box=SIMPLE_HEAD, caption_justify="left", pad_edge=False, padding=(0, 1, 0, 0)
    )
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table


def _way(way: Mapping[str, int] | None) -> str:
    if way is None:
        return ""
    lost = way["texts"] - way["exact"]
    return f"{lost:,} lost" if lost else "all"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}%"
