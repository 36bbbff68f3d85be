"""Every engine: results in order, and a device that raises, hangs or dies costs itself alone."""

import os
import time
from collections.abc import Iterator

import pytest

from tacit_simulations.engines import Engine, Failed, RuntimeConfig, make_engine


def misbehave(item: str) -> str:
    """What a broken device does; anything else answers."""
    if item == "raise":
        raise ValueError("a device's own text must not travel")
    if item == "hang":
        while True:
            time.sleep(0.01)
    if item == "die":
        os._exit(9)
    return f"{item} done"


@pytest.fixture(params=["inline", "pool", "ray"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "ray":
        pytest.importorskip("ray")
    with make_engine(RuntimeConfig(engine=request.param, workers=2, device_timeout_s=2.0)) as running:
        yield running


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_faults_cost_their_own_device_alone(engine: Engine) -> None:
    items = ["a", "raise", "b", "hang", "c", "d", "e", "f"]
    results = engine.map(misbehave, items)
    assert results[1] == Failed("raised", "ValueError")
    assert results[3] == Failed("hung")
    assert [r for i, r in enumerate(results) if i not in (1, 3)] == [f"{x} done" for x in "abcdef"]


def test_a_device_that_takes_its_worker_down_costs_itself_alone() -> None:
    with make_engine(RuntimeConfig(engine="pool", workers=2, device_timeout_s=5.0)) as running:
        assert running.map(misbehave, ["a", "die", "b", "c"]) == ["a done", Failed("died"), "b done", "c done"]
        assert running.map(misbehave, ["again"]) == ["again done"]


def test_a_failure_never_carries_a_devices_text() -> None:
    with make_engine(RuntimeConfig(engine="inline")) as running:
        assert "travel" not in repr(running.map(misbehave, ["raise"]))
