"""Every engine: results in order, and a device that raises, hangs or dies costs itself alone."""

import gc
import warnings
from collections.abc import Iterator

import pytest
from misbehaving import misbehave

from tacit_simulations.engines import Engine, Failed, RuntimeConfig, make_engine


@pytest.fixture(params=["inline", "pool", "ray"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "ray":
        pytest.importorskip("ray")
    with make_engine(RuntimeConfig(engine=request.param, workers=2, device_timeout_s=2.0)) as running:
        yield running
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray leaves files open; they are found here, not by somebody else's test
        gc.collect()


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_faults_cost_their_own_device_alone(engine: Engine) -> None:
    items = ["a", "raise", "b", "hang", "c", "d", "e", "f"]
    results = engine.map(misbehave, items)
    assert results[1] == Failed("raised", "ValueError")
    assert results[3] == Failed("hung")
    assert [r for i, r in enumerate(results) if i not in (1, 3)] == [f"{x} done" for x in "abcdef"]


@pytest.mark.filterwarnings("ignore")  # Ray's own
@pytest.mark.parametrize("kind", ["pool", "ray"])
def test_a_device_that_takes_its_worker_down_costs_itself_alone(kind: str) -> None:
    config = RuntimeConfig.model_validate({"engine": kind, "workers": 2, "device_timeout_s": 5.0})
    with make_engine(config) as running:
        assert running.map(misbehave, ["a", "die", "b", "c"]) == ["a done", Failed("died"), "b done", "c done"]
        assert running.map(misbehave, ["again"]) == ["again done"]


@pytest.mark.parametrize("kind", ["inline", "pool"])
def test_patient_work_may_take_longer_than_a_device(kind: str) -> None:
    config = RuntimeConfig.model_validate({"engine": kind, "workers": 2, "device_timeout_s": 2.0})
    with make_engine(config) as running:
        assert running.map(misbehave, ["slow"]) == [Failed("hung")]
        assert running.map(misbehave, ["slow", "a"], patience=5.0) == ["slow done", "a done"]


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_failure_never_carries_a_devices_text(engine: Engine, capfd: pytest.CaptureFixture[str]) -> None:
    assert "travel" not in repr(engine.map(misbehave, ["raise", "a", "raise"]))
    printed = capfd.readouterr()
    assert "travel" not in printed.out + printed.err
