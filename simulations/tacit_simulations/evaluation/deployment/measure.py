"""What a round of a real deployment costs: everything on this machine, and every part as an operator would start it."""

import re
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from tacit_privacy.contract import AdapterSpec
from tacit_privacy.errors import BadInput
from tacit_server.flower_seam import metrics
from tacit_simulations.evaluation.deployment import fleets
from tacit_simulations.evaluation.deployment.children import Child, Children
from tacit_simulations.evaluation.deployment.throwaway import ThrowAway

RANK, ALPHA, TARGETS, SEED = 4, 8.0, ("o_proj", "down_proj"), 7  # as tacit server init has them
TRAINING: Final = {"training.max_steps": 1, "training.batch_size": 8}
_DEADLINE_S: Final = 120.0

Say = Callable[[str], None]
Also = Callable[[ThrowAway], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How many devices of which kind, for how long, and how much they have to say and to learn."""

    resident: int
    stock: int = 0
    light: int = 0
    rounds: int = 3
    dimension: int = 0  # parameters of the adapter, to the nearest rank; 0: as tacit server init has it
    examples: int = 9  # on a resident device, one of them for scoring; 0: nothing is learnt, so only messages count

    @property
    def devices(self) -> int:
        return self.resident + self.stock + self.light


@dataclass(frozen=True, slots=True)
class Mark:
    """The server after a round."""

    round: int
    memory: dict[str, int]  # resident bytes by process
    processor_s: float


def measure(plan: Plan, say: Say, also: Also | None = None) -> dict[str, Any]:
    """Put the deployment up, hold the rounds, take it down; the document of ``tacit bench deployment --json``.

    ``also`` is asked once the rounds are over and before anything ends; its answer is in the document. Raises
    EngineFailed with the last words of what failed.
    """
    if not plan.devices or plan.rounds < 1:
        raise BadInput("there is nothing to measure; ask for one device and one round at least")
    spec = adapter_of(plan.dimension) if plan.light or plan.dimension else None
    adapter = {"rank": spec.rank if spec is not None else RANK}
    with tempfile.TemporaryDirectory(prefix="tacit-deployment-") as folder, Children(Path(folder)) as children:
        server = ThrowAway(children, plan.devices, plan.rounds, adapter)
        say("putting the server up")
        with closing(server):
            found = _measured(plan, server, server.start(), spec, say)
            return found if also is None else found | {"also": also(server)}


def adapter_of(dimension: int) -> AdapterSpec:
    """The adapter of tacit-nano that is nearest to so many parameters; 0: the one that a new server has."""
    from tacit_clients.slm.adapters import build_spec
    from tacit_clients.slm.models import NANO, load, single_thread

    single_thread()
    model = load(NANO)
    width = build_spec(model, "ffa", 1, ALPHA, SEED, TARGETS, 0).dimension
    rank = max(1, round(dimension / width)) if dimension else RANK
    return build_spec(model, "ffa", rank, ALPHA, SEED, TARGETS, 0)


def _measured(plan: Plan, server: ThrowAway, up: Child, spec: AdapterSpec | None, say: Say) -> dict[str, Any]:
    say(f"enrolling {plan.devices} devices")
    fleet = fleets.start_resident(server, plan.resident, plan.examples) if plan.resident else []
    fleet += fleets.start_stock(server, plan.stock) if plan.stock else []
    if plan.light and spec is not None:
        fleet += fleets.start_light(server, plan.light, spec)
    server.schedule(TRAINING | {"federation.deadline_s": _DEADLINE_S})
    say("waiting for the devices and the first round")
    marks: list[Mark] = []

    def mark(rounds: int) -> None:
        marks.append(Mark(rounds, up.resident_bytes(), up.processor_s()))
        say(f"round {rounds} of {plan.rounds}")

    records = server.held(mark)
    carried = _carried(metrics(server.directory.loopback, server.directory.authority))
    return _told(plan, records, marks, carried, server.verified().ok)


def _carried(text: str) -> int:
    """Bytes of all requests and answers between nodes and server, from the server's own metrics."""
    return sum(
        int(float(value)) for value in re.findall(r"^tacit_fleet_bytes(?:_out)?_total (\S+)$", text, re.MULTILINE)
    )


def _told(
    plan: Plan, records: Sequence[dict[str, Any]], marks: Sequence[Mark], carried: int, ledger_ok: bool
) -> dict[str, Any]:
    """``seconds_per_round``: from the first round's beginning to the last one's end; ``seconds`` has each round's own.

    ``bytes_per_device``: what a device and the server sent each other in the whole run, Flower's protocol included.
    """
    seconds = [record["finished"] - record["started"] for record in records]
    whole = records[-1]["finished"] - records[0]["started"]
    later = marks[-1].processor_s - marks[0].processor_s
    return {
        "rounds": len(records),
        "devices": plan.devices,
        "seconds_per_round": whole / len(records),
        "bytes_per_device": carried // plan.devices,
        "ledger_ok": ledger_ok,
        "fleet": {"resident": plan.resident, "stock": plan.stock, "light": plan.light},
        "completed": [record["completed"] for record in records],
        "dropped": [record["dropped"] for record in records],
        "seconds": {
            "first": seconds[0],
            "p50": statistics.median(seconds),
            "p95": float(np.quantile(seconds, 0.95)),
            "per_device": whole / len(records) / plan.devices,
        },
        "parameters": records[0]["bytes_down"] // 4 // max(1, records[0]["sampled"]),
        "update_bytes": records[0]["bytes_up"] // max(1, records[0]["completed"]),
        "server": {
            "memory_bytes": {str(mark.round): mark.memory for mark in marks},
            "processor_s_per_round": later / (marks[-1].round - marks[0].round) if later else None,
        },
    }
