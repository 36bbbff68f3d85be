"""Rounds without a model, and that they are the rounds a message-by-message server would see."""

import heapq
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tacit_privacy.errors import BadInput
from tacit_simulations.fleet.config import FleetConfig
from tacit_simulations.fleet.dispatch import Work
from tacit_simulations.fleet.emulator import Dispatch, Emulator
from tacit_simulations.fleet.outcomes import Outcome
from tacit_simulations.timing import RoundTiming, TimingPlan, TimingSimulation, close

PLAN = TimingPlan(rounds=6, cohort=40, over_selection=1.3)


def emulator_of(devices: int = 1500, mix: str = "household", **settings: Any) -> Emulator:
    config = FleetConfig.model_validate({"devices": devices, "mix": mix, **settings})
    return Emulator.of(5, config, Work.of_model(1.5e6, 8192, 32, 48, config))


def run(plan: TimingPlan, seed: int = 1, **settings: Any) -> list[RoundTiming]:
    return TimingSimulation(emulator_of(**settings), plan, seed).run()


def test_the_same_seed_gives_the_same_rounds() -> None:
    assert run(PLAN) == run(PLAN)
    assert run(PLAN, seed=2) != run(PLAN)


def test_rounds_follow_each_other_and_every_device_is_accounted_for() -> None:
    rounds = run(PLAN)
    for before, after in pairwise(rounds):
        assert after.virtual_start >= before.virtual_start + before.virtual_seconds
    for timing in rounds:
        assert timing.sampled == 52 == timing.completed + sum(timing.dropped.values())
        assert timing.sampled == sum(tier["sampled"] for tier in timing.tiers.values())
        assert timing.completed <= 40 and timing.virtual_seconds <= PLAN.deadline_seconds
        assert timing.bytes_down >= timing.bytes_up > 0 and timing.energy_j > 0


def test_an_over_selected_round_closes_by_count_and_others_at_the_deadline() -> None:
    assert all(
        timing.completed == 40 and timing.virtual_seconds < 600 for timing in run(replace(PLAN, over_selection=2.0))
    )
    exact = run(replace(PLAN, over_selection=1.0))
    short = [timing for timing in exact if timing.completed < 40]
    assert short and all(timing.virtual_seconds == PLAN.deadline_seconds for timing in short)


def heap_server(
    emulator: Emulator, cohorts: list[np.ndarray], cohort: int, deadline: float
) -> list[tuple[float, list[int]]]:
    """A server that looks at one reply at a time: slow, obvious, and what the vectorised rounds must agree with."""
    now, rounds = emulator.config.start, []
    for devices in cohorts:
        replies: list[tuple[float, int, int]] = []
        for order, device in enumerate(devices):  # one message, one dispatch
            task = emulator.dispatch([int(device)], now, [now + deadline])
            if task.outcome[0] == Outcome.COMPLETED:
                heapq.heappush(replies, (float(task.finish[0]), order, int(device)))
        accepted: list[int] = []
        last, everybody = now, len(replies) == len(devices)
        while replies and len(accepted) < cohort:
            last, _, device = heapq.heappop(replies)
            accepted.append(device)
        now = last if len(accepted) == cohort or everybody else now + deadline
        rounds.append((now, sorted(accepted)))
    return rounds


def test_batches_and_single_messages_see_equal_schedules() -> None:
    simulation = TimingSimulation(emulator_of(mix="mixed"), PLAN, seed=9)
    cohorts: list[np.ndarray] = []
    draw = simulation.draw

    def remember(wanted: int, number: int, attempt: int) -> np.ndarray:
        cohorts.append(draw(wanted, number, attempt))
        return cohorts[-1]

    simulation.draw = remember  # type: ignore[method-assign]
    batched = simulation.run()
    single = heap_server(emulator_of(mix="mixed"), cohorts, PLAN.cohort, PLAN.deadline_seconds)
    assert [timing.virtual_start + timing.virtual_seconds for timing in batched] == [end for end, _ in single]
    assert [timing.completed for timing in batched] == [len(accepted) for _, accepted in single]


@pytest.mark.parametrize("policy", ["sync", "buffered"])
def test_nobody_contributes_more_often_than_allowed(policy: str) -> None:
    plan = replace(PLAN, participations=1, rounds=6, policy=policy)  # type: ignore[arg-type]
    taken: list[int] = []
    emulator = emulator_of(devices=400)
    dispatch = emulator.dispatch

    def remember(devices: Any, now: float, deadlines: Any) -> Dispatch:
        assert not set(devices.tolist()) & set(taken)
        found = dispatch(devices, now, deadlines)
        if policy == "buffered":
            taken.extend(found.device[found.completes].tolist())
        else:
            accepted, _ = close(found, plan.cohort, now, now + plan.deadline_seconds)
            taken.extend(found.device[accepted].tolist())
        return found

    emulator.dispatch = remember  # type: ignore[method-assign]
    rounds = TimingSimulation(emulator, plan, seed=1).run()
    assert len(taken) >= sum(timing.completed for timing in rounds) >= 6 * 35


def test_a_fleet_that_is_used_up_says_so() -> None:
    plan = replace(PLAN, participations=1, rounds=100, deadline_seconds=300.0)
    with pytest.raises(BadInput, match="for two days"):
        run(plan, devices=60)


def test_a_model_that_fits_nobody_says_so() -> None:
    config = FleetConfig(devices=100, mix="edge")
    with pytest.raises(BadInput, match=r"needs 840350 MB but the roomiest of 100 devices offers \d+ MB"):
        Emulator.of(1, config, Work.of_model(70e9, 8192, 32, 48, config))


def test_a_poisson_cohort_counts_those_who_could_not_be_asked() -> None:
    rounds = run(replace(PLAN, sampling="poisson", participations=1, rounds=20, over_selection=1.0), mix="phones")
    assert 20 < np.mean([timing.sampled for timing in rounds]) < 60
    for timing in rounds:
        assert timing.sampled == timing.completed + sum(timing.dropped.values())
    assert sum(timing.dropped.get("unavailable", 0) for timing in rounds) > 100
    assert sum(timing.dropped.get("exhausted", 0) for timing in rounds) > 0


def test_buffered_rounds_step_whenever_the_buffer_is_full() -> None:
    plan = TimingPlan(rounds=20, cohort=30, policy="buffered", concurrency=90)
    rounds = run(plan)
    assert all(timing.completed == 30 for timing in rounds)
    assert rounds == run(plan)
    assert all(timing.virtual_seconds >= 0 for timing in rounds)
    for before, after in pairwise(rounds):
        assert after.virtual_start == before.virtual_start + before.virtual_seconds
    stale = [timing.staleness for timing in rounds[3:] if timing.staleness is not None]
    assert len(stale) == 17 and max(timing.staleness_max or 0 for timing in rounds) >= max(stale)
    assert 0.5 < np.mean(stale) < 4  # three buffers' worth of devices at work: replies are a step or two old


def test_buffered_rounds_outpace_synchronous_ones() -> None:
    slow: dict[str, Any] = {"mix": "mixed", "stragglers": {"share": 0.2}}
    waiting = sum(timing.virtual_seconds for timing in run(replace(PLAN, over_selection=1.0), **slow))
    buffered = sum(timing.virtual_seconds for timing in run(TimingPlan(rounds=6, cohort=40, policy="buffered"), **slow))
    assert buffered < waiting / 2


@pytest.mark.parametrize(
    "settings",
    [
        {"cohort": 0},
        {"deadline_seconds": float("inf")},
        {"over_selection": 0.5},
        {"policy": "buffered", "buffer_size": 50, "concurrency": 10},
        {"buffer_size": -1},
    ],
)
def test_an_impossible_plan_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        replace(PLAN, **settings)  # type: ignore[arg-type]


def test_a_cohort_larger_than_the_fleet_is_refused() -> None:
    with pytest.raises(BadInput, match="fleet has 10"):
        run(PLAN, devices=10)
