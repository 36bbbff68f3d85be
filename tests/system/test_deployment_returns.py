"""Who was away comes back: a device after rounds without it, a server as it was yesterday."""

import shutil
from pathlib import Path

import pytest
from deployments import Deployment, eventually, tacit, told

pytestmark = pytest.mark.timeout(600)
QUICK = {"federation": {"deadline_s": 30.0, "minimum_share": 0.5, "cohort": 2}, "joining": {"answer_s": 20.0}}


def test_a_device_that_was_away_for_three_rounds_is_right(tmp_path: Path) -> None:
    with Deployment(tmp_path, settings=QUICK, devices=10, participations=9).start() as fleet:
        away = fleet.enrol(1).start()
        for number in (2, 3):
            fleet.enrol(number).start()
        fleet.schedule("first", "--rounds", "1", "--cohort", "3")
        assert fleet.ended("first")["released"] == 1
        away.kill()
        fleet.schedule("second", "--rounds", "3", "--cohort", "2")
        assert fleet.ended("second", 180)["released"] >= 3 - 1
        away.start()
        fleet.schedule("third", "--rounds", "1", "--cohort", "3")
        assert fleet.ended("third", 180)["released"] == 1
        eventually(
            lambda: told("device", "status", "--dir", "device1", folder=tmp_path)["rounds"] == 2, "no third round"
        )
        assert fleet.verified().ok
        assert "refused" not in away.said()


def test_a_server_of_yesterday_is_refused_until_it_owns_up(tmp_path: Path) -> None:
    with Deployment(tmp_path, settings=QUICK, devices=10, participations=20, epsilon=50).start() as fleet:
        for number in (1, 2):
            fleet.enrol(number).start()
        fleet.schedule("first", "--rounds", "1")
        assert fleet.ended("first")["released"] == 1
        fleet.up.stop()
        shutil.copytree(fleet.server, tmp_path / "yesterday")
        fleet.start()
        fleet.schedule("second", "--rounds", "2")
        assert fleet.ended("second", 180)["released"] == 2
        fleet.up.stop()
        before = fleet.verified()
        shutil.rmtree(fleet.server)
        shutil.copytree(tmp_path / "yesterday", fleet.server)
        fleet.start()
        for device in fleet.devices:  # they report at once when they begin
            device.stop()
            device.start()
        seen = eventually(lambda: fleet.told("resolve")["witnesses"], "no device notices")
        assert {one["entries"] for one in seen} <= set(range(before.entries - 2, before.entries + 1))
        eventually(lambda: all("was put back" in device.said() for device in fleet.devices), "a device does not refuse")
        fleet.schedule("third", "--rounds", "1")
        said = tacit("server", "resolve", "--dir", "server", "--entries", "99", folder=tmp_path, code=2)
        assert "another tacit server up runs" in said
        fleet.up.stop()
        assert tacit("server", "resolve", "--dir", "server", "--entries", "99", folder=tmp_path, code=2)
        length = max(one["entries"] for one in seen)
        done = fleet.told("resolve", "--entries", str(length))
        assert (done["witnesses"], done["charged"] >= 2) == ([], True)
        fleet.start()
        assert fleet.ended("third", 240)["released"] == 1
        found = fleet.verified()
        assert (found.ok, found.epsilon >= before.epsilon) == (True, True), found.problems
