"""A measured figure beside what it is compared with, and the one file and page that figures go to."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
_LIBRARIES = ("torch", "flwr", "ray", "numpy")


@dataclass(frozen=True)
class Figure:
    """``beside`` was measured in the same run, or says which limit it is. ``ok`` None: nothing was asked for."""

    what: str
    measured: str
    beside: str
    wanted: str = ""
    ok: bool | None = None


def save(name: str, figures: Sequence[Figure], details: dict[str, Any]) -> Path:
    """Write ``results/NAME.json`` and print the figures. A reader sees the old file or the new one."""
    machine = {"processor": platform.machine(), "python": platform.python_version()}
    machine |= {library: version(library).partition("+")[0] for library in _LIBRARIES}
    found = {"machine": machine, "figures": [asdict(figure) for figure in figures], "details": details}
    RESULTS.mkdir(exist_ok=True)
    path, beside = RESULTS / f"{name}.json", RESULTS / f".{name}.json.new"
    beside.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    beside.replace(path)
    for figure in figures:
        print(f"{_state(figure.ok):<5} {figure.what}: {figure.measured} (beside {figure.beside})", flush=True)
    return path


def figures(name: str) -> list[Figure]:
    """What ``results/NAME.json`` holds; nothing where the benchmark was never run."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return []
    return [Figure(**row) for row in json.loads(path.read_text(encoding="utf-8"))["figures"]]


def table(rows: Sequence[Figure]) -> str:
    """Markdown rows of figures."""
    head = "| figure | measured | beside it | wanted | |\n|---|---|---|---|---|\n"
    return head + "".join(f"| {f.what} | {f.measured} | {f.beside} | {f.wanted} | {_state(f.ok)} |\n" for f in rows)


def _state(ok: bool | None) -> str:
    return {None: "", True: "yes", False: "**no**"}[ok]
