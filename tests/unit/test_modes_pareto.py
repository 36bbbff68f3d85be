"""Fronts and hypervolumes, by hand and by law."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit_simulations.evaluation.modes.pareto import front, hypervolume, label

POINT = st.tuples(st.integers(0, 20).map(float), st.integers(0, 10).map(lambda tenth: tenth / 10))


def test_a_front_by_hand() -> None:
    points = [(0.0, 0.4), (5.0, 0.4), (3.0, 0.7), (3.0, 0.6), (9.0, 0.9), (9.0, 0.9), (8.0, 0.65)]
    assert front(points) == [0, 2, 4]


def test_a_hypervolume_by_hand() -> None:
    # from 0 to 10: 0.4 everywhere, 0.3 more from 3 on, 0.2 more from 9 on
    assert hypervolume([(9.0, 0.9), (0.0, 0.4), (3.0, 0.7)], 10.0) == pytest.approx((4 + 2.1 + 0.2) / 10)
    assert hypervolume([(12.0, 1.0)], 10.0) == 0
    assert hypervolume([], 10.0) == 0
    assert hypervolume([(0.0, 0.5), (0.0, 0.7)], 0.0) == 0.7


@given(st.lists(POINT, min_size=1, max_size=12))
def test_nothing_beats_the_front_and_it_beats_the_rest(points: list[tuple[float, float]]) -> None:
    best = front(points)
    for index, (cost, quality) in enumerate(points):
        better = [p for p in points if p[0] <= cost and p[1] >= quality and p != (cost, quality)]
        if index in best:
            assert not better
        else:
            assert better or points.index((cost, quality)) in best


@given(st.lists(POINT, min_size=1, max_size=8), POINT)
def test_a_further_point_never_covers_less(points: list[tuple[float, float]], more: tuple[float, float]) -> None:
    assert hypervolume([*points, more], 20.0) >= hypervolume(points, 20.0) - 1e-12
    assert hypervolume(points, 20.0) == pytest.approx(hypervolume([points[i] for i in front(points)], 20.0))


def test_labels() -> None:
    assert label({"mode": "auto", "baseline": None, "knob": "auto.threshold", "value": 0.8}) == "auto threshold 0.8"
    assert label({"mode": "llm", "baseline": "always-llm-raw", "knob": None, "value": None}) == "always-llm-raw"
