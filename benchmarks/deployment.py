"""A real deployment on this machine: beside stock SuperNodes, with a large adapter, with many devices.

`deployment.py stock`, `bytes` or `light` measures one of the three. Others' work on the machine slows all of it down;
what is compared is measured minutes apart at most, and the resident fleet before and after the stock one.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from figures import RESULTS, Figure, save, verdict

from tacit_privacy.logs import silent
from tacit_privacy.mechanisms.gaussian import GaussianSum
from tacit_privacy.mechanisms.noise import SystemNoise
from tacit_simulations.evaluation.deployment.measure import Plan, measure
from tacit_simulations.evaluation.deployment.transfer import download

STOCK_DEVICES, STOCK_ROUNDS, RESIDENT_ROUNDS, FASTER = 8, 3, 6, 3.0
SMALL, LARGE, LARGE_DEVICES, LARGE_ROUNDS = 10_240, 1_024_000, 2, 6
LIGHT_DEVICES, LIGHT_ROUNDS, GROWTH = 200, 10, 1.1


def held(what: str, plan: Plan, also: Any = None) -> dict[str, Any]:
    print(f"-- {what}", flush=True)
    found = measure(plan, lambda line: print(f"   {line}", flush=True), also)
    if not found["ledger_ok"] or min(found["completed"]) < plan.devices:
        print(f"   not everybody was in every round: {found['completed']}, {found['dropped']}", flush=True)
    return found


def stock() -> list[Figure]:
    """One step of tacit-nano on 8 short examples, everybody in every round."""
    own = Plan(resident=STOCK_DEVICES, rounds=RESIDENT_ROUNDS)
    before = held("resident devices", own)
    peer = held("stock SuperNodes", Plan(resident=0, stock=STOCK_DEVICES, rounds=STOCK_ROUNDS))
    after = held("resident devices again", own)
    mine = max(run["seconds"]["p50"] for run in (before, after))
    theirs = peer["seconds"]["p50"]
    rows = [
        Figure(
            f"a round of {STOCK_DEVICES} resident devices, one step of tacit-nano on 8 short examples each; median of "
            f"{RESIDENT_ROUNDS} rounds, the slower of two runs around the stock one",
            f"{mine:.2f} s",
            f"the same server with as many stock SuperNodes, median of {STOCK_ROUNDS} rounds: {theirs:.1f} s, "
            f"{theirs / mine:.1f} times as long",
            f"at least {FASTER:g} times faster",
            theirs >= FASTER * mine,
        ),
        Figure(
            "what such a device and its server send each other in a round, updates of "
            f"{before['update_bytes'] / 1000:.1f} kB",
            f"{before['bytes_per_device'] / before['rounds'] / 1000:.1f} kB",
            f"a stock SuperNode: {peer['bytes_per_device'] / peer['rounds'] / 1000:.1f} kB",
        ),
    ]
    save("deployment_stock", rows, {"resident": [before, after], "stock": peer})
    return rows


def large() -> list[Figure]:
    """Devices without examples, so that nothing but what follows from an adapter's size differs."""
    few = held("small adapter", Plan(resident=LARGE_DEVICES, rounds=LARGE_ROUNDS, dimension=SMALL, examples=0))
    many = held(
        "large adapter",
        Plan(resident=LARGE_DEVICES, rounds=LARGE_ROUNDS, dimension=LARGE, examples=0),
        download,
    )
    again = held("small adapter again", Plan(resident=LARGE_DEVICES, rounds=LARGE_ROUNDS, dimension=SMALL, examples=0))
    small = max(run["seconds"]["p50"] for run in (few, again))
    added, one = many["seconds"]["p50"] - small, many["also"]["seconds"]
    transfers = 3 * LARGE_DEVICES + 1  # to each device and back, each reply to the coordinator, and the adapter from it
    noise = noise_s(many["parameters"])
    kept = LARGE_DEVICES + 3  # a reply by each device; the server's state, twice as wide, and the adapter
    written = kept * written_s(many["also"]["bytes"])
    megabytes = many["also"]["bytes"] / 1e6
    rows = [
        Figure(
            f"a round of {LARGE_DEVICES} resident devices with an adapter of {megabytes:.1f} MB",
            f"{many['seconds']['p50']:.2f} s",
            f"one of {4 * few['parameters'] / 1e6:.2f} MB: {small:.2f} s; the {transfers} times that the large one "
            f"crosses TLS in a round, at {megabytes / one:.0f} MB/s of a plain download from the same port: "
            f"{transfers * one:.2f} s",
            "no slower than the bytes explain",
            added <= transfers * one,
        ),
        Figure(
            "what the large adapter adds beyond those bytes",
            f"{added - transfers * one:.2f} s",
            f"the noise of so many coordinates, drawn by the server: {noise:.2f} s; the {kept} times that so many "
            f"bytes are kept on disk, written and synced as they are: {written:.2f} s; the rest packs, hashes, seals",
        ),
    ]
    save(
        "deployment_bytes",
        rows,
        {"small": [few, again], "large": many, "transfers": transfers, "noise_s": noise, "written_s": written},
    )
    return rows


def noise_s(dimension: int) -> float:
    """Median seconds to noise a sum of so many coordinates."""
    mechanism, total = GaussianSum(clip_norm=0.5, noise_multiplier=1.0), np.zeros(dimension, np.int64)
    seconds = []
    for number in range(5):
        begin = time.perf_counter()
        mechanism.release(total, SystemNoise(), 2.0, f"round {number}")
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def written_s(size: int) -> float:
    """Median seconds to write so many bytes to a file of their own, on disk when it returns."""
    data, seconds = bytes(size), []
    for _ in range(5):
        with TemporaryFile() as file:
            begin = time.perf_counter()
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def light() -> list[Figure]:
    found = held("light devices", Plan(resident=0, light=LIGHT_DEVICES, rounds=LIGHT_ROUNDS))
    peer = json.loads((RESULTS / "deployment_stock.json").read_text(encoding="utf-8"))["details"]["stock"]
    memory = {int(number): sum(parts.values()) / 1e6 for number, parts in found["server"]["memory_bytes"].items()}
    first, middle, last = (memory[number] for number in (1, LIGHT_ROUNDS // 2, LIGHT_ROUNDS))
    mine, theirs = found["seconds"]["per_device"], peer["seconds"]["p50"] / peer["devices"]
    rows = [
        Figure(
            f"a device's share of a round of {LIGHT_DEVICES} light devices, mean of {LIGHT_ROUNDS} rounds: enrolled by "
            "tokens, signed receipts, no model",
            f"{1e3 * mine:.0f} ms",
            f"of {peer['devices']} stock SuperNodes, each with a process for its message and one step of tacit-nano: "
            f"{1e3 * theirs:.0f} ms, {theirs / mine:.0f} times as long",
        ),
        Figure(
            f"resident memory of the server's three processes after round {LIGHT_ROUNDS} of {LIGHT_DEVICES} devices",
            f"{last:.0f} MB",
            f"after round {LIGHT_ROUNDS // 2}: {middle:.0f} MB, after the first: {first:.0f} MB",
            "flat, within a tenth",
            last <= GROWTH * first,
        ),
        Figure(
            "processor time of the server for a device in a round",
            f"{1e3 * found['server']['processor_s_per_round'] / LIGHT_DEVICES:.0f} ms",
            f"{peer['devices']} stock SuperNodes at the same server: "
            f"{1e3 * peer['server']['processor_s_per_round'] / peer['devices']:.0f} ms",
        ),
    ]
    save("deployment_light", rows, {"light": found})
    return rows


PARTS: dict[str, Callable[[], list[Figure]]] = {"stock": stock, "bytes": large, "light": light}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="without: all three, in this order")
    silent()
    chosen = parser.parse_args().parts or list(PARTS)
    sys.exit(verdict([row for part in chosen for row in PARTS[part]()]))


if __name__ == "__main__":
    main()
