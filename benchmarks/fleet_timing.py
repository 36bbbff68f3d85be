"""Timing-only fleet: device completions per second on one core, and what they cost in memory and population.

Each figure stands beside what it is compared with, measured in the same run: a bare ``heapq`` loop over the same number
of completions (no device model at all), and the same rounds at other sizes of the population.
"""

import argparse
import heapq
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
from figures import Figure, save

from tacit_simulations.fleet.config import FleetConfig
from tacit_simulations.fleet.dispatch import Work
from tacit_simulations.fleet.emulator import Emulator
from tacit_simulations.timing import RoundTiming, TimingPlan, TimingSimulation

PARAMETERS, ADAPTER, TOKENS, EXAMPLES = 1.5e6, 8_192, 32, 48  # a small model, rank 8
TARGET_RATE, TARGET_BYTES = 300_000, 2_000_000_000
COHORT = 10_000


def emulator_of(devices: int, mix: str = "household") -> Emulator:
    config = FleetConfig(devices=devices, mix=mix)
    return Emulator.of(1, config, Work.of_model(PARAMETERS, ADAPTER, TOKENS, EXAMPLES, config))


def measure(devices: int, cohort: int, rounds: int, mix: str = "household", policy: str = "sync") -> dict[str, Any]:
    """Completions a second of whole rounds: draw, dispatch, close, count. The first round warms up and is left out.

    ``seconds_per_round`` is the median, ``completions_per_second`` all completions over all time.
    """
    begin = time.perf_counter()
    emulator = emulator_of(devices, mix)
    drawn = time.perf_counter() - begin
    if policy == "sync":
        plan = TimingPlan(rounds + 1, cohort, over_selection=1.2)
    else:
        plan = TimingPlan(rounds + 1, cohort, policy="buffered", concurrency=2 * cohort)
    simulation = TimingSimulation(emulator, plan, seed=1).rounds()
    next(simulation)
    spent, completed, settled = [], 0, 0
    for _ in range(rounds):
        begin = time.perf_counter()
        timing = next(simulation)
        spent.append(time.perf_counter() - begin)
        completed, settled = completed + timing.completed, settled + timing.sampled
    return {
        "population": devices,
        "cohort": cohort,
        "mix": mix,
        "policy": policy,
        "rounds": rounds,
        "completions_per_second": completed / sum(spent),
        "tasks_per_second": settled / sum(spent),
        "seconds_per_round": float(np.median(spent)),
        "seconds_to_draw_population": drawn,
        "lost_share": lost_share(timing),
        "virtual_seconds_per_round": timing.virtual_seconds,
        "peak_rss_bytes": peak_rss(),
    }


def lost_share(timing: RoundTiming) -> float:
    """Share of the asked devices that never replied; displaced ones did."""
    return (timing.sampled - timing.completed - timing.dropped.get("displaced", 0)) / timing.sampled


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


def dispatch_seconds(devices: int, asked: int, repeats: int = 20) -> float:
    """Median seconds to send work to ``asked`` of ``devices`` devices and know what becomes of it, all of it."""
    emulator, spent = emulator_of(devices), []
    rng, now = np.random.default_rng(1), emulator.config.start
    for _ in range(repeats):
        chosen = rng.choice(devices, asked, replace=False)
        begin = time.perf_counter()
        emulator.dispatch(chosen, now, now + 600.0)
        spent.append(time.perf_counter() - begin)
        now += 1_000.0
    return float(np.median(spent))


def peak_rss() -> int:
    """Peak resident memory of this process, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def in_own_process(*arguments: str) -> dict[str, Any]:
    """Measure in a fresh process on one thread, so that peak memory is that of one population alone."""
    command = [sys.executable, __file__, "--one", *arguments]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=one_thread).stdout
    found: dict[str, Any] = json.loads(printed)
    return found


def everything(rounds: int) -> dict[str, Any]:
    heap = bare_heap(COHORT * rounds)
    sizes = [
        in_own_process(str(size), "1000", str(rounds), "household", "sync") for size in (10_000, 100_000, 1_000_000)
    ]
    main = in_own_process("100000", str(COHORT), str(rounds), "household", "sync")
    million = in_own_process("1000000", str(COHORT), str(rounds), "household", "sync")
    others = [
        in_own_process("100000", "5000", str(rounds), "household", "sync"),
        in_own_process("100000", str(COHORT), str(rounds), "phones", "sync"),
        in_own_process("100000", str(COHORT), str(rounds), "household", "buffered"),
    ]
    return {
        "bare_heap_completions_per_second": heap,
        "population_100k": main,
        "population_100k_others": others,
        "population_1m": million,
        "cohort_1000_by_population": sizes,
        "dispatch_500_of_10000_seconds": dispatch_seconds(10_000, 500),
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
    ]


def show(found: dict[str, Any]) -> None:
    print(f"bare heap, no device model            {found['bare_heap_completions_per_second']:>12,.0f} completions/s")
    for row in (found["population_100k"], *found["population_100k_others"], found["population_1m"]):
        name = f"{row['population']:,} devices, {row['policy']} {row['cohort']:,}, {row['mix']}"
        print(
            f"{name:<38}{row['completions_per_second']:>12,.0f} completions/s  {row['lost_share']:6.1%} lost  "
            f"{row['virtual_seconds_per_round']:6.0f} virtual s/round  {row['peak_rss_bytes'] / 1e6:6.0f} MB"
        )
    for row in found["cohort_1000_by_population"]:
        print(f"round of 1,000 of {row['population']:>9,}           {row['seconds_per_round'] * 1e3:>12.2f} ms")
    print(f"dispatch of 500 of 10,000             {found['dispatch_500_of_10000_seconds'] * 1e3:>12.2f} ms")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="measured rounds of each figure")
    parser.add_argument("--one", nargs=5, metavar=("DEVICES", "COHORT", "ROUNDS", "MIX", "POLICY"))
    options = parser.parse_args()
    if options.one:
        devices, cohort, rounds, mix, policy = options.one
        print(json.dumps(measure(int(devices), int(cohort), int(rounds), mix, policy)))
        return 0
    found = everything(options.rounds)
    show(found)
    rows = judge(found)
    save("fleet_timing", rows, found)
    return 0 if all(row.ok for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
