"""The privacy mechanism on one core: draws of noise a second, and updates clipped, checked and summed.

Noise comes from the operating system, at scales from less than a grid step to far beyond the default grid. Clipping
and summing stand beside ``numpy.copyto`` over the same updates, whose bytes are all that any kernel has to read. The
repetitions of what is compared alternate, and seconds are those of the processor: other processes cost neither side.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from figures import Figure, save, verdict

from tacit_privacy.mechanisms.discrete import arithmetic_error
from tacit_privacy.mechanisms.gaussian import GaussianSum, clip_to_grid
from tacit_privacy.mechanisms.grid import GridSum
from tacit_privacy.mechanisms.noise import SystemNoise

TARGET_DRAWS, TARGET_SHARE = 2_000_000, 0.2
SIGMAS = {"0.5": 0.5, "3": 3.0, "1,000": 1e3, "2^20": 2.0**20, "2^30": 2.0**30, "2^45": 2.0**45}
DIMENSION = 500_000
DISTINCT, PASSES = 250, 4  # 1,000 updates: 500 MB, many times the cache, gone through four times
CLIP = 100.0  # every update is about seven times as long

Job = Callable[[], object]


def alternating(jobs: Mapping[str, Job], repetitions: int) -> dict[str, list[float]]:
    """Processor seconds of each repetition of each job, one after the other, after one that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for repetition in range(repetitions + 1):
        for name, job in jobs.items():
            begin = time.thread_time()
            job()
            if repetition:
                taken[name].append(time.thread_time() - begin)
    return taken


def draws(repetitions: int) -> dict[str, Any]:
    """Draws a second at every scale; beside them, their words and NumPy's floats, which promise nothing."""
    system, rng = SystemNoise(), np.random.default_rng(1)
    jobs: dict[str, Job] = {
        name: partial(system.discrete_gaussian, sigma, DIMENSION, "bench") for name, sigma in SIGMAS.items()
    }
    jobs |= {"numpy_normal": lambda: rng.standard_normal(DIMENSION), "urandom": lambda: os.urandom(8 * DIMENSION)}
    taken = alternating(jobs, repetitions)
    return {
        "seconds": taken,
        "per_second": {name: DIMENSION / median(seconds) for name, seconds in taken.items()},
        "relative_error": {name: arithmetic_error(sigma).relative for name, sigma in SIGMAS.items()},
    }


def sums(repetitions: int) -> dict[str, Any]:
    """Input bytes a second of 1,000 float32 updates, as a device and a server go through them."""
    rng = np.random.default_rng(2)
    updates = [rng.standard_normal(DIMENSION, dtype=np.float32) for _ in range(DISTINCT)]
    grids = [clip_to_grid(update, CLIP) for update in updates]
    mechanism, target = GaussianSum(CLIP, 1.0), np.empty(DIMENSION, dtype=np.float32)

    def copy() -> None:
        for update in updates * PASSES:
            np.copyto(target, update)

    def clip() -> None:
        for update in updates * PASSES:
            clip_to_grid(update, CLIP)

    def clip_and_sum() -> None:
        total = GridSum(DIMENSION, mechanism.levels)
        for update in updates * PASSES:
            total.add(clip_to_grid(update, CLIP))
        _ = total.total

    def check_and_sum() -> None:
        total = GridSum(DIMENSION, mechanism.levels)
        for grid in grids * PASSES:
            mechanism.check(grid, DIMENSION)
            total.add(grid)
        _ = total.total

    jobs = {job.__name__: job for job in (copy, clip, clip_and_sum, check_and_sum)}
    taken = alternating(jobs, repetitions)
    count = DIMENSION * 4 * DISTINCT * PASSES
    return {"seconds": taken, "bytes_per_second": {name: count / median(seconds) for name, seconds in taken.items()}}


def judge(found: dict[str, Any]) -> list[Figure]:
    rates, speeds = found["draws"]["per_second"], found["sums"]["bytes_per_second"]
    beside = (
        f"8-byte words of os.urandom: {rates['urandom'] / 1e6:.0f} million; "
        f"NumPy's seeded normal floats: {rates['numpy_normal'] / 1e6:.0f} million"
    )
    copied = f"numpy.copyto: {speeds['copy'] / 1e9:.1f} GB/s"
    both = speeds["clip_and_sum"] / speeds["copy"]
    return [
        *(
            Figure(
                f"draws a second of system noise, sigma {name} grid steps",
                f"{rates[name] / 1e6:.1f} million",
                beside,
                f"at least {TARGET_DRAWS // 10**6} million",
                rates[name] >= TARGET_DRAWS,
            )
            for name in SIGMAS
        ),
        Figure(
            "clip and sum 1,000 float updates of 500,000 parameters",
            f"{speeds['clip_and_sum'] / 1e9:.1f} GB/s, {both:.2f} of a copy",
            copied,
            f"at least {TARGET_SHARE} of a copy",
            both >= TARGET_SHARE,
        ),
        _part("a device's half of it: clip to the grid", speeds["clip"], speeds["copy"], copied),
        _part("a server's half: check the norm in integers, sum", speeds["check_and_sum"], speeds["copy"], copied),
    ]


def _part(what: str, speed: float, copy: float, beside: str) -> Figure:
    return Figure(what, f"{speed / 1e9:.1f} GB/s, {speed / copy:.2f} of a copy", beside)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=7, help="measured repetitions of each kernel")
    parser.add_argument("--one", action="store_true", help="measure in this process and print what was found")
    options = parser.parse_args()
    if options.one:
        print(json.dumps({"draws": draws(options.repetitions), "sums": sums(options.repetitions)}))
        return 0
    one_thread = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--one", "--repetitions", str(options.repetitions)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=one_thread).stdout
    found = json.loads(printed)
    rows = judge(found)
    save("privacy_kernels", rows, found)
    return verdict(rows)


if __name__ == "__main__":
    sys.exit(main())
