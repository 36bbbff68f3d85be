"""Timing-only fleet: device completions per second on one core, and what they cost in memory and population.

Each figure stands beside what it is compared with, measured in the same run: a bare ``heapq`` loop over the same number
of completions (no device model at all), and the same rounds at other sizes of the population.
"""

import argparse
import heapq
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from typing import Any

import numpy as np
from figures import Figure, save, verdict

from tacit_simulations.evaluation.speed import measure_fleet

TARGET_RATE, TARGET_BYTES = 300_000, 2_000_000_000
COHORT = 10_000


def bare_heap(completions: int) -> float:
    """Completions a second of a heap with an event for each device and nothing else: no device, no network, no time."""
    finish = np.random.default_rng(1).random(completions).tolist()
    begin = time.perf_counter()
    heap: list[tuple[float, int]] = []
    for device, at in enumerate(finish):
        heapq.heappush(heap, (at, device))
    while heap:
        heapq.heappop(heap)
    return completions / (time.perf_counter() - begin)


def in_own_process(*arguments: str) -> dict[str, Any]:
    """Measure in a fresh process on one thread, so that peak memory is that of one population alone."""
    command = [sys.executable, __file__, "--one", *arguments]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=one_thread).stdout
    found: dict[str, Any] = json.loads(printed)
    return found


def everything(rounds: int) -> dict[str, Any]:
    def measure(devices: int, cohort: int, mix: str = "household", policy: str = "sync") -> dict[str, Any]:
        return in_own_process(str(devices), str(cohort), str(rounds), mix, policy)

    return {
        "bare_heap_completions_per_second": bare_heap(COHORT * rounds),
        "population_100k": measure(100_000, COHORT),
        "population_1m": measure(1_000_000, COHORT),
        "others": [
            measure(100_000, 5_000),
            measure(100_000, COHORT, mix="phones"),
            measure(100_000, COHORT, policy="buffered"),
        ],
        "cohort_1000_by_population": [measure(devices, 1_000) for devices in (10_000, 100_000, 1_000_000)],
        "dispatch_500_of_10000": measure(10_000, 500),
    }


def judge(found: dict[str, Any]) -> list[Figure]:
    main, million, sizes = found["population_100k"], found["population_1m"], found["cohort_1000_by_population"]
    rate, heap = main["completions_per_second"], found["bare_heap_completions_per_second"]
    growth = sizes[2]["seconds_per_round"] / sizes[0]["seconds_per_round"]
    peak = million["peak_rss_bytes"]
    return [
        Figure(
            "device completions per second, one core, population 100,000",
            f"{rate:,.0f}",
            f"a bare heap of the same events: {heap:,.0f}",
            f"at least {TARGET_RATE:,}",
            rate >= TARGET_RATE,
        ),
        Figure(
            "memory of a million devices",
            f"{peak / 1e6:,.0f} MB",
            f"100,000 devices: {main['peak_rss_bytes'] / 1e6:,.0f} MB",
            "under 2 GB",
            peak < TARGET_BYTES,
        ),
        Figure(
            "a round of 1,000 at 1,000,000 devices over one at 10,000",
            f"{growth:.2f} times the time",
            "100 times the devices",
            "no growth beyond sampling",
            growth < 2,
        ),
        *(_other(row) for row in (*found["others"], million)),
        Figure(
            "schedule of 500 devices out of 10,000, without messages",
            f"{1e3 * found['dispatch_500_of_10000']['dispatch_seconds']:.1f} ms",
            "with messages: below",
        ),
    ]


def _other(row: dict[str, Any]) -> Figure:
    fleet = f"{row['devices']:,} devices, {row['mix']}, {row['policy']} rounds of {row['cohort']:,}"
    lost = (
        f"{row['lost_share']:.1%} of the devices asked lost, {row['virtual_seconds_per_round']:.0f} virtual s a round"
    )
    return Figure(f"completions per second: {fleet}", f"{row['completions_per_second']:,.0f}", lost)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="measured rounds of each figure")
    parser.add_argument("--one", nargs=5, metavar=("DEVICES", "COHORT", "ROUNDS", "MIX", "POLICY"))
    options = parser.parse_args()
    if options.one:
        devices, cohort, rounds, mix, policy = options.one
        print(json.dumps(asdict(measure_fleet(int(devices), int(cohort), int(rounds), mix, policy))))
        return 0
    found = everything(options.rounds)
    rows = judge(found)
    save("fleet_timing", rows, found)
    return verdict(rows)


if __name__ == "__main__":
    sys.exit(main())
