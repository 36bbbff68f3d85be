"""The arithmetic of the comparison, against figures worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from made_up_modes import BLANK

from tacit_simulations.evaluation.modes import baselines, measures, profiles
from tacit_simulations.evaluation.modes.asking import Outcome
from tacit_simulations.evaluation.modes.measures import Pool, right
from tacit_simulations.evaluation.modes.rows import device, latency
from tacit_simulations.evaluation.modes.tapping import Work
from tacit_simulations.evaluation.modes.tasks import Task
from tacit_simulations.fleet.network import MeanNetwork


def outcome(is_right: bool, calls: int = 0, **more: object) -> Outcome:
    return replace(BLANK, right=is_right, whole=Work(calls=calls, llm_in=10 * calls), **more)  # type: ignore[arg-type]


LOCAL = [outcome(r) for r in (True, False, False, True)]
LLM = [outcome(r, 1) for r in (True, True, False, False)]
TASKS = [Task(str(at), "x" * length, ("y",)) for at, length in enumerate((3, 9, 9, 1))]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_random_is_the_straight_line_between_both_models(share: float) -> None:
    llm = [outcome(True, 1) for _ in LLM]
    pool = baselines.random(LOCAL, llm, share)
    assert pool.mean(right) == pytest.approx((1 - share) * 0.5 + share * 1.0)
    assert pool.mean(measures.escalated) == pytest.approx(share)
    assert pool.mean(lambda o: o.whole.llm_in) == pytest.approx(10 * share)
    assert measures.area_recovered([(share, pool.mean(right))], 0.5, 1.0) == pytest.approx(0.5)


def test_length_sends_the_longest_prompts_and_of_equal_ones_the_earlier() -> None:
    assert [o.whole.calls for o in baselines.length(TASKS, LOCAL, LLM, 0.25).outcomes] == [0, 1, 0, 0]
    assert [o.whole.calls for o in baselines.length(TASKS, LOCAL, LLM, 0.75).outcomes] == [1, 1, 1, 0]
    assert baselines.length(TASKS, LOCAL, LLM, 0.25).mean(right) == 0.75


def test_quantiles_are_nearest_rank_and_follow_weights() -> None:
    values = np.array([4.0, 1.0, 3.0, 2.0])
    assert [measures.quantile(values, np.ones(4), p) for p in (0.25, 0.5, 0.51, 0.95, 1.0)] == [1, 2, 3, 4, 4]
    assert measures.quantile(values, np.array([0.0, 1.0, 0.0, 9.0]), 0.5) == 2
    assert measures.quantile(np.array([5.0]), np.ones(1), 0.99) == 5


def test_an_interval_holds_the_mean_is_repeatable_and_shrinks() -> None:
    few, many = np.array([1.0, 0.0] * 10), np.array([1.0, 0.0] * 1000)
    low, high = measures.interval(few, 3)
    assert low < 0.5 < high and measures.interval(few, 3) == (low, high)
    # 1.96 standard errors each way
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(20), rel=0.15)
    assert np.diff(measures.interval(many, 3))[0] == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(2000), rel=0.15)
    assert measures.interval(np.ones(5), 0) == (1.0, 1.0)


def test_calibration_error_by_hand() -> None:
    # bin 0.9 to 1: two answers, mean confidence 0.95, half right: gap 0.45; bin 0.2: one, wrong: gap 0.2
    confidence, correct = np.array([0.92, 0.98, 0.2, np.nan]), np.array([1.0, 0.0, 0.0, 1.0])
    assert measures.calibration_error(confidence, correct) == pytest.approx((2 * 0.45 + 0.2) / 3)
    assert measures.calibration_error(np.array([1.0]), np.array([1.0])) == 0
    assert measures.calibration_error(np.array([np.nan]), np.array([1.0])) is None


def test_gap_recovered() -> None:
    assert measures.gap_recovered(0.75, 0.5, 1.0) == 0.5
    assert measures.gap_recovered(0.4, 0.5, 1.0) == pytest.approx(-0.2)
    assert measures.gap_recovered(0.5, 0.5, 0.5) is None


def test_the_interval_of_a_gap_resamples_all_three_alike() -> None:
    rng = np.random.default_rng(4)
    slm = (rng.random(800) < 0.6).astype(float)
    llm = np.maximum(slm, rng.random(800) < 0.5)
    whole = measures.gap_interval(llm, slm, llm, 1)
    assert None not in whole and whole == pytest.approx((1.0, 1.0))
    assert measures.gap_interval(slm, slm, llm, 1) == (0.0, 0.0)
    half = np.where(rng.random(800) < 0.5, slm, llm)
    low, high = measures.gap_interval(half, slm, llm, 1)
    assert low is not None and high is not None
    told = measures.gap_recovered(half.mean(), slm.mean(), llm.mean())
    assert told is not None and low < told < high and high - low < 0.25


def test_a_gap_that_some_resample_has_not_gets_no_interval() -> None:
    slm, llm = np.array([1.0, 0.0, 0.0, 1.0]), np.array([1.0, 1.0, 0.0, 0.0])
    assert measures.gap_interval(llm, slm, llm, 1) == (None, None)


def test_a_sweeps_area_and_calls_by_hand() -> None:
    # (0, 0.5), (0.2, 0.9), (1, 1): trapezia 0.2 * 0.7 + 0.8 * 0.95 = 0.9, so (0.9 - 0.5) / 0.5
    points = [(0.2, 0.9)]
    assert measures.area_recovered(points, 0.5, 1.0) == pytest.approx(0.8)
    assert measures.calls_to_recover(points, 0.5, 0.5, 1.0) == pytest.approx(0.125)  # half way to 0.9 is 5/8 of 0.2
    assert measures.calls_to_recover(points, 0.8, 0.5, 1.0) == pytest.approx(0.2)
    assert measures.calls_to_recover(points, 0.9, 0.5, 1.0) == pytest.approx(0.6)
    assert measures.area_recovered(points, 0.5, 0.5) is None
    assert measures.calls_to_recover(points, 0.5, 0.5, 0.4) is None


def test_a_curve_of_confidences_asks_the_least_sure_first_and_equals_together() -> None:
    confidence, slm = np.array([0.9, 0.1, 0.5, 0.5]), np.array([1.0, 0, 0, 1])
    found = measures.confidence_curve(confidence, slm, np.ones(4))
    assert found == [(0.25, 0.75), (0.75, 1.0), (1.0, 1.0)]
    same = measures.confidence_curve(np.full(4, 0.5), slm, np.ones(4))
    assert measures.area_recovered(same, 0.5, 1.0) == pytest.approx(0.5)  # says nothing: a coin


def test_routing_errors_by_hand() -> None:
    asked, slm, llm = np.array([1.0, 1, 0, 0, 0.5]), np.array([1.0, 0, 0, 0, 0]), np.array([1.0, 0, 1, 0, 1])
    found = measures.routing_errors(asked, slm, llm)
    assert found == measures.RoutingErrors(over_escalation=0.2, under_escalation=0.3, both_wrong_waste=0.2)


def test_only_keeps_whole_questions() -> None:
    named = [replace(o, family=name) for o, name in zip(LOCAL, "abab", strict=True)]
    part = Pool.of(named).only(lambda o: o.family == "b")
    assert (part.n, part.mean(right)) == (2, 0.5)


def test_an_answer_that_failed_took_no_time() -> None:
    came = [outcome(True, 1, latency_ms=ms, ttft_ms=ms / 2) for ms in (100.0, 300.0)]
    lost = outcome(False, 1, latency_ms=1.0, ttft_ms=1.0, failed="unreachable")
    found = latency(Pool.of([*came, lost, lost]))
    assert (found.latency_ms_p50, found.latency_ms_p95, found.ttft_ms_p50) == (100.0, 300.0, 50.0)
    assert latency(Pool.of([lost])).latency_ms_p50 is None and latency(Pool.of([lost])).llm_ms is None
    # of a coin's two answers to a question one is missing: then the question is
    mixed = baselines.random([came[0], came[1]], [came[0], lost], 0.5)
    assert latency(mixed).latency_ms_p95 == 100.0


def test_a_stated_rate_makes_no_time_of_calls_that_failed() -> None:
    lost, place = outcome(False, 1, failed="unreachable"), profiles.place("pi-5-8gb@wifi-dsl")
    for answers, known in (([lost], False), ([lost, outcome(True, 1)], True)):
        pool = Pool.of(answers)
        emulated = profiles.emulate(pool, place, 1e6, MeanNetwork(), profiles.Remote(10.0))
        found = device(pool, emulated, emulated)
        assert (found.device_latency_ms_p50 is not None) is known and (found.device_llm_ms is not None) is known
        assert found.energy_j is not None
