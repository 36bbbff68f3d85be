"""How fast this machine emulates: completions of a fleet without a model, client trainings of an engine with one."""

import os
import platform
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from tacit_privacy.errors import BadInput
from tacit_privacy.wording import sentence
from tacit_simulations.fleet.config import FleetConfig
from tacit_simulations.fleet.dispatch import Work
from tacit_simulations.fleet.emulator import Emulator
from tacit_simulations.progress import Silent
from tacit_simulations.timing import RoundTiming, TimingPlan, TimingSimulation

SEED = 1
PARAMETERS, ADAPTER, TOKENS, EXAMPLES = 1.5e6, 8_192, 32, 48  # of the model that the timed fleet would train
_OVER_SELECTION, _DISPATCHES = 1.2, 20
TRAINING_COHORT, TRAINING_ROUNDS = 32, 3
TRAINING_WORK = "4 SGD steps of 8 generated requests, tacit-nano, rank 8 on query and value projections"


@dataclass(frozen=True, slots=True)
class FleetSpeed:
    """Whole rounds without a model: draw, dispatch, close, count. Seconds are real unless they say virtual.

    ``completions_per_second`` counts replies that were used, ``tasks_per_second`` every device that was asked;
    ``seconds_per_round`` and ``dispatch_seconds`` are medians. ``peak_rss_bytes`` is the whole process with its
    libraries, by the end of the rounds.
    """

    devices: int
    cohort: int
    rounds: int
    mix: str
    policy: str
    completions_per_second: float
    tasks_per_second: float
    seconds_per_round: float
    dispatch_seconds: float  # to send work to one cohort and know what becomes of it
    seconds_to_draw_population: float
    lost_share: float  # of the devices asked; those that only came too late to be needed are not lost
    virtual_seconds_per_round: float
    peak_rss_bytes: int


@dataclass(frozen=True, slots=True)
class TrainingSpeed:
    """Whole rounds with a model: cohort, ledger, messages, guard, training, clip, sum, noise, checkpoint."""

    engine: str
    workers: int
    work: str
    cohort: int
    rounds: int
    trainings_per_second: float  # of the median round; workers start in a round before, which is left out


def measure_fleet(
    devices: int, cohort: int, rounds: int, mix: str = "household", policy: Literal["sync", "buffered"] = "sync"
) -> FleetSpeed:
    """Time ``rounds`` rounds; one before them warms up and is left out. Raises BadInput."""
    if cohort > devices:
        raise BadInput(f"a cohort of {cohort} does not fit a fleet of {devices}; lower --cohort or raise --devices")
    begin = time.perf_counter()
    emulator = _emulator(devices, mix)
    drawn = time.perf_counter() - begin
    asked_for = _OVER_SELECTION if policy == "sync" else 1.0
    plan = TimingPlan(rounds + 1, cohort, asked_for, policy=policy)
    simulation = TimingSimulation(emulator, plan, SEED).rounds()
    next(simulation)
    spent: list[float] = []
    timings: list[RoundTiming] = []
    for _ in range(rounds):
        begin = time.perf_counter()
        timings.append(next(simulation))
        spent.append(time.perf_counter() - begin)
    completed, asked = sum(t.completed for t in timings), sum(t.sampled for t in timings)
    displaced = sum(t.dropped.get("displaced", 0) for t in timings)
    peak = peak_rss()
    return FleetSpeed(
        devices=devices,
        cohort=cohort,
        rounds=rounds,
        mix=mix,
        policy=policy,
        completions_per_second=completed / sum(spent),
        tasks_per_second=asked / sum(spent),
        seconds_per_round=float(np.median(spent)),
        dispatch_seconds=_dispatch_seconds(devices, cohort, mix),
        seconds_to_draw_population=drawn,
        lost_share=(asked - completed - displaced) / asked,
        virtual_seconds_per_round=sum(t.virtual_seconds for t in timings) / rounds,
        peak_rss_bytes=peak,
    )


def measure_training(engine: str, workers: int) -> TrainingSpeed:
    """Time the rounds of one fixed small run on ``engine``; 0 workers means one a core. Writes to a folder of its own.

    Raises BadInput for an engine there is none of, EngineFailed where one cannot start.
    """
    from tacit_simulations.run import simulate
    from tacit_simulations.scenario import Scenario

    marks: list[float] = []

    class Marks(Silent):
        def step(self, note: str = "") -> None:
            marks.append(time.perf_counter())

    try:
        scenario = Scenario.model_validate(_training_job() | {"runtime": {"engine": engine, "workers": workers}})
    except ValidationError as error:
        raise BadInput(sentence(error, Scenario)) from error
    with tempfile.TemporaryDirectory(prefix="tacit-bench-") as folder:
        result = simulate(scenario, Path(folder) / "run", False, Marks())
    trained = [row["completed"] for row in result["rounds"]][1:]
    rates = [count / seconds for count, seconds in zip(trained, np.diff(marks), strict=True)]
    count = scenario.runtime.worker_count if engine != "inline" else 1
    return TrainingSpeed(engine, count, TRAINING_WORK, TRAINING_COHORT, TRAINING_ROUNDS, float(np.median(rates)))


def machine() -> dict[str, Any]:
    """What a speed belongs to."""
    return {
        "processor": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "torch": version("torch"),
    }


def peak_rss() -> int:
    """Peak resident memory of this process, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _emulator(devices: int, mix: str) -> Emulator:
    config = FleetConfig(devices=devices, mix=mix)
    return Emulator.of(SEED, config, Work.of_model(PARAMETERS, ADAPTER, TOKENS, EXAMPLES, config))


def _dispatch_seconds(devices: int, asked: int, mix: str) -> float:
    """Median seconds of a dispatch to ``asked`` devices, on a fleet where nobody is at work yet."""
    emulator, spent = _emulator(devices, mix), []
    rng, now = np.random.default_rng(SEED), emulator.config.start
    for _ in range(_DISPATCHES):
        chosen = rng.choice(devices, asked, replace=False)
        begin = time.perf_counter()
        emulator.dispatch(chosen, now, now + 600.0)
        spent.append(time.perf_counter() - begin)
        now += 1_000.0
    return float(np.median(spent))


def _training_job() -> dict[str, Any]:
    """The fixed run: everybody is asked often, nobody crashes, nothing is scored."""
    return {
        "name": "bench",
        "seed": SEED,
        "fleet": {"devices": 6 * TRAINING_COHORT, "crash_rate": 0.0},
        "federation": {"rounds": TRAINING_ROUNDS + 1, "cohort": TRAINING_COHORT},
        "privacy": {"participations": TRAINING_ROUNDS + 1},
        "adapter": {"rank": 8, "targets": ["q_proj", "v_proj"]},
        "training": {"optimizer": "sgd", "learning_rate": 0.1, "batch_size": 8, "max_steps": 4, "epochs": 4},
        "evaluation": {"devices": 0, "compare": []},
    }
