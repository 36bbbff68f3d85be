"""What a device may take of its machine is kept, and a round that would need more is refused and ends nothing."""

import resource
import sys
from pathlib import Path

import psutil
import pytest
from deployments import Deployment, Process, eventually, tacit

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process's limits be read and set"),
]
MB = 2**20


def limited(folder: Path, memory_mb: int) -> None:
    path = folder / "device1" / "device.toml"
    lines = [line for line in path.read_text().splitlines() if not line.startswith("memory_mb")]
    path.write_text("\n".join([*lines, f"memory_mb = {memory_mb}", ""]))


def room(device: Process, more: int) -> None:
    """Let the process have so much more than it has now."""
    assert device.running is not None
    process = psutil.Process(device.running.pid)
    most = process.memory_info().data + more
    process.rlimit(resource.RLIMIT_DATA, (most, resource.RLIM_INFINITY))


def test_a_device_keeps_within_its_memory_and_goes_on(tmp_path: Path) -> None:
    settings = {"federation": {"deadline_s": 15.0, "minimum_share": 0.4}}
    with Deployment(tmp_path, settings=settings, devices=10).start() as fleet:
        device, other = fleet.enrol(1, examples=300), fleet.enrol(2)
        limited(tmp_path, 50)
        said = tacit("device", "run", "--dir", "device1", folder=tmp_path, code=2)
        assert said.startswith("tacit: limits.memory_mb 50 is too little: the program takes "), said

        limited(tmp_path, 4_000)
        device.start()
        other.start()
        eventually(
            lambda: sum(known["online"] for known in fleet.told("status")["devices"]) == 2, "devices are not there"
        )
        assert device.running is not None
        assert psutil.Process(device.running.pid).rlimit(resource.RLIMIT_DATA)[0] == 4_000 * MB
        room(device, 20 * MB)  # enough for all but a gradient of so many examples
        fleet.schedule("tight", "--rounds", "1", "--cohort", "2", "--set", "training.batch_size=256")
        assert fleet.ended("tight")["released"] == 1, fleet.up.said()
        assert "out of memory; see limits.memory_mb" in device.said() and device.alive, device.said()

        room(device, 1_000 * MB)
        fleet.schedule("roomy", "--rounds", "1", "--cohort", "2")
        assert fleet.ended("roomy")["released"] == 1, fleet.up.said()
        fleet.verified()
        receipts = (tmp_path / "exported" / "receipts.jsonl").read_text()
        assert receipts.count('"receipt"') == 3, receipts
        assert device.stop() == 0, device.said()
