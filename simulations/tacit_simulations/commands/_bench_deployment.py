"""What `tacit bench deployment` measures and how people see it."""

import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from tacit_privacy.errors import BadInput
from tacit_privacy.logs import silent
from tacit_simulations.evaluation.deployment.measure import Plan
from tacit_simulations.evaluation.deployment.measure import measure as measured


def measure(devices: int, stock: int, light: bool, rounds: int, dimension: int, examples: int) -> dict[str, Any]:
    """The document of ``--json``. Raises BadInput, and EngineFailed where a process fails."""
    if stock > devices:
        raise BadInput(f"{stock} of {devices} devices cannot be stock SuperNodes; raise --devices")
    silent()
    own = devices - stock
    plan = Plan(
        resident=0 if light else own,
        stock=stock,
        light=own if light else 0,
        rounds=rounds,
        dimension=dimension,
        examples=examples,
    )
    return measured(plan, lambda line: print(line, file=sys.stderr, flush=True))


def show(found: dict[str, Any]) -> None:
    """One table."""
    kinds = ", ".join(f"{number} {kind}" for kind, number in found["fleet"].items() if number)
    table = Table(title="Deployment on this machine", show_header=False, min_width=60)
    table.add_column()
    table.add_column(justify="right")
    seconds, memory = found["seconds"], found["server"]["memory_bytes"]
    table.add_row("devices", kinds)
    table.add_row("adapter", f"{found['parameters']:,} parameters")
    table.add_row("a round", f"{found['seconds_per_round']:,.2f} s")
    table.add_row("the first / half / 95 % of them within", _three(seconds["first"], seconds["p50"], seconds["p95"]))
    table.add_row("a device's share of a round", f"{1e3 * seconds['per_device']:,.1f} ms")
    table.add_row("a device and the server, all rounds", f"{found['bytes_per_device'] / 1e6:,.3f} MB")
    first, last = (sum(memory[key].values()) / 1e6 for key in (min(memory, key=int), max(memory, key=int)))
    table.add_row("the server's memory, first and last round", f"{first:,.0f} and {last:,.0f} MB")
    table.add_row("the ledger", "verified" if found["ledger_ok"] else "does NOT verify")
    Console().print(table)


def _three(*seconds: float) -> str:
    return " / ".join(f"{each:,.2f}" for each in seconds) + " s"
