"""Throughput traces: reading them, and replaying them."""

import os
from pathlib import Path

import numpy as np
import pytest

from tacit_privacy.errors import BadInput
from tacit_simulations.fleet.config import FleetConfig
from tacit_simulations.fleet.dispatch import Work
from tacit_simulations.fleet.emulator import Emulator
from tacit_simulations.fleet.hashing import key_of
from tacit_simulations.fleet.links import LINK_INDEX
from tacit_simulations.fleet.network import TraceNetwork, read_trace

KEY = key_of(1, "trace")


def moved(network: TraceNetwork, begin: float, size: float, link: str = "cellular-4g", mbit: float = 8.0) -> float:
    one = np.ones(1)
    kind = np.array([LINK_INDEX[link]], dtype=np.uint8)
    return float(network.seconds(np.zeros(1, dtype=np.intp), one * begin, one * size, one * mbit, kind)[0])


def test_a_constant_trace_is_a_constant_bandwidth() -> None:
    network = TraceNetwork.of([(np.array([0.0, 1.0, 5.0]), np.array([2.0, 2.0]))], KEY, rescale=False)
    for begin in (0.0, 3.3, 1e6):
        assert moved(network, begin, 1e6) == pytest.approx(4.0)  # 8 Mbit at 2 Mbit/s, over the trace's end


def test_rescaling_keeps_the_device_its_mean_bandwidth() -> None:
    trace = (np.arange(11.0), np.array([1.0, 3.0] * 5))
    network = TraceNetwork.of([trace], KEY, rescale=True)
    assert moved(network, 0.0, 10e6, mbit=8.0) == pytest.approx(10.0)  # 80 Mbit at a mean of 8, one whole lap


def test_fixed_lines_do_not_follow_mobile_traces() -> None:
    network = TraceNetwork.of([(np.array([0.0, 1.0]), np.array([0.01]))], KEY, rescale=False)
    assert moved(network, 0.0, 1e6, link="ethernet", mbit=8.0) == pytest.approx(1.0)


def test_a_trace_is_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "bus.log"
    path.write_text("0.0\t2.0\n1.5\t3.0\n\n2.5\t0.0\n")
    knots, rates = read_trace(path)
    assert knots.tolist() == [0.0, 1.5, 2.5, 3.75]  # the last sample lasts a median step
    assert rates.tolist() == [2.0, 3.0, 0.0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0 1\nfast\n", "line 2"),
        ("0 1\n1 -2\n", "line 2"),
        ("5 1\n1 2\n", "times rise"),
        ("0 nan\n1 1\n", "line 1"),
        ("0 1\n", "1 samples"),
        ("", "0 samples"),
    ],
)
def test_a_broken_trace_is_refused_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "a.log").write_text(text)
    with pytest.raises(BadInput, match=says):
        TraceNetwork.load(tmp_path, KEY)


def test_a_missing_or_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not a folder"):
        TraceNetwork.load(tmp_path / "nowhere", KEY)
    with pytest.raises(BadInput, match="no throughput trace"):
        TraceNetwork.load(tmp_path, KEY)


def test_a_fleet_replays_recorded_traces() -> None:
    if "TACIT_DATA" not in os.environ:
        pytest.skip("TACIT_DATA is not set: it names the folder that holds bandwidth_traces")
    folder = Path(os.environ["TACIT_DATA"]) / "bandwidth_traces"
    settings = {"require_charging": False, "require_unmetered": False, "require_idle": False}
    config = FleetConfig(devices=1000, mix="phones", traces=folder, traces_rescale=False, **settings)
    emulator = Emulator.of(1, config, Work(1e6, 1e6, 1e6, 10, 0.0))
    now = 12 * 3600.0
    tasks = emulator.dispatch(emulator.reachable(now), now, now + 86_400.0)
    metered = tasks.take(tasks.completes & (tasks.money > 0))
    mbit = 8.0 / metered.download
    assert len(metered) > 100
    assert 0.3 < np.median(mbit) < 6.0  # recorded on buses, trams and DSL: medians of 1 to 3 Mbit/s
