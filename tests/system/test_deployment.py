"""A real server with TLS, real devices in processes of their own, real training: what an operator puts up."""

from pathlib import Path

import pytest
from deployments import Deployment, eventually, tacit, told

pytestmark = pytest.mark.timeout(300)


def test_two_devices_learn_together_and_the_ledger_proves_it(tmp_path: Path) -> None:
    with Deployment(tmp_path, devices=10).start() as fleet:
        for number in (1, 2):
            fleet.enrol(number).start()
        fleet.schedule("first", "--rounds", "2", "--cohort", "2")
        run = fleet.ended("first")
        assert (run["state"], run["rounds"], run["released"]) == ("finished", 2, 2), fleet.up.said()
        found = fleet.verified()
        assert (found.ok, found.state, found.noise_source) == (True, "open", "system"), found.problems
        assert found.epsilon == pytest.approx(run["epsilon"])
        assert fleet.told("status")["epsilon"] == pytest.approx(run["epsilon"])
        for device in fleet.devices:
            assert device.stop() == 0, device.said()
        status = told("device", "status", "--dir", "device1", folder=tmp_path)
        assert (status["rounds"], status["running"]) == (2, False)
        assert fleet.up.stop() == 0


def test_a_device_takes_the_newest_adapter_into_use(tmp_path: Path) -> None:
    with Deployment(tmp_path, devices=10).start() as fleet:
        first = fleet.enrol(1).start()
        fleet.enrol(2).start()
        fleet.schedule("first", "--rounds", "1", "--cohort", "2")
        assert fleet.ended("first")["state"] == "finished"
        first.stop()
        first.start()  # it reports when it begins, and hears of the adapter

        def decided() -> bool:
            return '"event": "adapter"' in first.said()

        eventually(decided, "the device does not hear of the adapter")
        installed = (tmp_path / "device1" / "current").exists()
        assert installed == ('"outcome": "installed"' in first.said())


def test_bad_words_change_nothing(tmp_path: Path) -> None:
    said = tacit("server", "up", "--dir", "nowhere", folder=tmp_path, code=2)
    assert "tacit server init makes one" in said
    said = tacit("device", "run", "--dir", "nowhere", folder=tmp_path, code=2)
    assert "tacit device enroll makes one" in said
    said = tacit("device", "enroll", "--server", "http://x", "--token", "t", folder=tmp_path, code=2)
    assert "tacit1" in said
    assert list(tmp_path.iterdir()) == []
