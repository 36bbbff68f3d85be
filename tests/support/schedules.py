"""Faults of a whole deployment, drawn from a seed: which process is killed, when, and what must hold afterwards."""

import json
import random
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from deployments import Deployment, eventually
from rough_network import RoughNetwork, rough_network

from tacit_privacy.ledger.verify import Verification

DEVICES, ROUNDS, DEADLINE_S = 8, 5, 12.0
QUICK: dict[str, dict[str, Any]] = {
    "federation": {"deadline_s": DEADLINE_S, "minimum_share": 0.25, "cohort": DEVICES},
    "joining": {"patience_s": 90.0, "answer_s": 20.0},
}
_PATIENCE_S = 420.0
_ROUND_S = 60.0  # a coordinator that was killed is there again, with a round, long before


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens ``after`` seconds; ``within``: after a round has begun, not merely after the last one."""

    after: float
    within: bool
    kind: str  # device, server, link, coordinator; cut, slow or tear of the network
    device: int


def drawn(seed: int, count: int = 5) -> list[Fault]:
    """Faults of one schedule: at least a device, one of the server's processes and the network."""
    rng = random.Random(f"faults {seed}")
    kinds = ["device", rng.choice(["server", "link", "coordinator"]), rng.choice(["cut", "slow", "tear"])]
    kinds += rng.choices(["device", "server", "link", "coordinator", "cut", "tear"], [3, 1, 1, 1, 1, 1], k=count - 3)
    rng.shuffle(kinds)
    return [
        Fault(rng.uniform(0.0, 0.8 if within else 3.0), within, kind, rng.randrange(DEVICES))
        for number, kind in enumerate(kinds)
        for within in [number == 0 or rng.random() < 0.6]
    ]


def child(fleet: Deployment, module: str) -> psutil.Process | None:
    """The server's process of that module, if there is one now."""
    if fleet.up.running is None:
        return None
    for process in psutil.Process(fleet.up.running.pid).children():
        try:
            if any(module in word for word in process.cmdline()):
                return process
        except psutil.NoSuchProcess:
            continue
    return None


def strike(fleet: Deployment, network: RoughNetwork, fault: Fault, rng: random.Random) -> None:
    """SIGKILL, and a restart a moment later where nothing else restarts it; or something of the network."""
    network.slow(0.0)
    if fault.kind == "cut":
        network.cut(rng.uniform(0.5, 5.0))
    elif fault.kind == "slow":
        network.slow(rng.uniform(0.01, 0.1))
    elif fault.kind == "tear":
        network.tear(rng.randrange(1_000, 40_000))
    elif fault.kind == "device":
        device = fleet.devices[fault.device]
        device.kill()
        time.sleep(rng.uniform(0.0, 3.0))
        device.start()
    elif fault.kind == "server":
        fleet.up.kill()
        time.sleep(rng.uniform(0.0, 3.0))
        fleet.start()
    else:
        found = child(fleet, {"link": "deployment.link", "coordinator": "deployment.serving"}[fault.kind])
        if found is not None:
            found.kill()


def live_through(folder: Path, seed: int) -> str:
    """Eight devices, five rounds, faults of ``seed``; what happened, in one line. Fails where a law is broken."""
    rng = random.Random(f"pauses {seed}")
    with (
        Deployment(folder, settings=QUICK, devices=20, participations=ROUNDS).start() as fleet,
        rough_network(fleet.port) as network,
    ):
        fleet.door = network.port
        for number in range(DEVICES):
            fleet.enrol(number, examples=12)
        for device in fleet.devices:
            device.start()
        eventually(lambda: _online(fleet) == DEVICES, "devices are not there", 180)
        fleet.schedule("only", "--rounds", str(ROUNDS))
        eventually(lambda: fleet.run("only")["state"] == "running", "the run does not begin", 60)
        under_way = 0
        for fault in drawn(seed):
            if fault.within:
                wait_for_a_round(fleet)
            time.sleep(fault.after)
            under_way += newest_entry(fleet) == "reserve"
            strike(fleet, network, fault, rng)
        network.slow(0.0)
        run = fleet.ended("only", _PATIENCE_S)
        for device in fleet.devices:
            device.stop()
        assert under_way, "nothing was struck while a round was under way"
        return f"{check(fleet, run, seed)}, {under_way} faults within a round"


def newest_entry(fleet: Deployment) -> str:
    """Of the ledger; a reservation means that a round is under way."""
    with closing(sqlite3.connect(fleet.server / "server.db")) as database:
        found = database.execute('select payload from ledger order by "index" desc limit 1').fetchone()
    return str(json.loads(found[0])["kind"]) if found else ""


def wait_for_a_round(fleet: Deployment) -> None:
    """Until one is under way, or the run is over."""
    until = time.monotonic() + _ROUND_S
    while newest_entry(fleet) not in ("reserve", "end") and time.monotonic() < until:
        time.sleep(0.02)


def check(fleet: Deployment, run: dict[str, Any], seed: int) -> str:
    """The laws: the ledger verifies and says what the server says; nobody is counted twice, or unpaid."""
    found: Verification = fleet.verified()
    entries = fleet.entries()
    kinds = Counter(entry["kind"] for entry in entries)
    assert found.ok, found.problems
    assert run["state"] == "finished", run
    assert kinds["reserve"] == kinds["commit"] + kinds.get("lost", 0) + kinds.get("abandon", 0), kinds
    assert abs(found.epsilon - fleet.told("status")["epsilon"]) < 1e-9 or kinds.get("abandon", 0)
    receipts = [json.loads(line) for line in (fleet.folder / "exported" / "receipts.jsonl").read_text().splitlines()]
    signed = [json.loads(row["receipt"]) for row in receipts if row.get("receipt")]
    seen = Counter((row["run"], row["round"], row["device"]) for row in signed)
    assert not [key for key, times in seen.items() if times > 1], "an update was counted twice"
    assert run["released"] == kinds["commit"]
    in_ledger = {(row["round"], row["device"]) for row in signed}
    for number, finished in committed_rounds(fleet).items():
        lost = {key for key in delivered(fleet, before=finished - 1.0) if key[0] == number} - in_ledger
        assert not lost, f"delivered in time and not counted: {lost}"
    struck = " ".join(fault.kind for fault in drawn(seed))
    return f"seed {seed}, {struck}: {dict(kinds)}, {len(signed)} receipts, epsilon {found.epsilon:.3f}"


def committed_rounds(fleet: Deployment) -> dict[int, float]:
    """When each round that was released had its last update, server clock."""
    with closing(sqlite3.connect(fleet.server / "server.db")) as database:
        records = [json.loads(row) for (row,) in database.execute("select record from rounds")]
    return {record["round"]: record["finished"] for record in records if record["released"]}


def delivered(fleet: Deployment, before: float) -> set[tuple[int, str]]:
    """(round, device) of every update that a device was told has arrived, before a moment."""
    found = set()
    for device in fleet.devices:
        lines = [json.loads(line) for line in device.said().splitlines() if line.startswith("{")]
        identity = next((line["identity"] for line in lines if line["event"] == "device"), "")
        for line in lines:
            is_update = line["event"] == "delivered" and line.get("round")
            if is_update and datetime.fromisoformat(line["timestamp"]).timestamp() < before:
                found.add((line["round"], identity))
    return found


def _online(fleet: Deployment) -> int:
    return sum(device["online"] for device in fleet.told("status")["devices"])
