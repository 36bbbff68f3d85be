"""What an operator does to a server that real devices use: new keys, a copy in another place, another database."""

from pathlib import Path

import pytest
from deployments import Deployment, eventually, tacit, told

pytestmark = pytest.mark.timeout(900)


def learnt(fleet: Deployment, name: str) -> None:
    """A run of one round that both devices take part in."""
    fleet.schedule(name, "--rounds", "1", "--cohort", "2")
    run = fleet.ended(name, patience_s=240)
    assert (run["state"], run["released"]) == ("finished", 1), fleet.up.said() + fleet.devices[0].said()


def test_devices_follow_a_new_key_and_a_new_certificate(tmp_path: Path) -> None:
    with Deployment(tmp_path, devices=10).start() as fleet:
        for number in (1, 2):
            fleet.enrol(number).start()
        learnt(fleet, "first")
        said = tacit("server", "rotate", "key", "--dir", "server", folder=tmp_path, code=2)
        assert "end it first" in said
        assert fleet.told("rotate", "certificate")["restart_needed"]
        fleet.up.stop()
        key = fleet.told("rotate", "key")
        fleet.start()
        learnt(fleet, "second")
        for device in fleet.devices:
            assert key["now"] in device.said(), "the device does not say that it followed"
        found = fleet.verified()
        assert found.problems == []
        kinds = [entry["kind"] for entry in fleet.entries()]
        assert kinds.count("rotate") == 1 and kinds.count("commit") == 2


def test_a_copy_takes_the_place_of_a_server_that_was_lost(tmp_path: Path) -> None:
    with Deployment(tmp_path, devices=10).start() as fleet:
        for number in (1, 2):
            fleet.enrol(number).start()
        learnt(fleet, "first")
        made = fleet.told("backup", "--out", "copy.tar")
        fleet.up.kill()
        fleet.server.rename(tmp_path / "lost")
        told("server", "restore", "--from", "copy.tar", "--dir", "server", folder=tmp_path)
        assert fleet.told("status")["restored"]["entries"] == made["entries"]
        fleet.start()
        learnt(fleet, "second")
        found = fleet.verified()
        assert found.problems == [] and found.entries > made["entries"]


def test_what_was_just_put_up_is_found_well(tmp_path: Path) -> None:
    """The code that is installed is trusted since the device enrolled, and both sides' doctors find nothing broken."""
    with Deployment(tmp_path, devices=10).start() as fleet:
        fleet.enrol(1)
        trusted = told("device", "trust", "--dir", "device1", folder=tmp_path)
        assert trusted["before"] == trusted["now"]
        found = told("doctor", "--server", "server", "--device", "device1", folder=tmp_path)
        states = {(row["section"], row["name"]): row["state"] for row in found["findings"]}
        assert found["ok"] and states.pop(("server", "backup")) == "warning"
        assert set(states.values()) <= {"ok", "info"}, found
        assert {("server", "port"), ("server", "name"), ("device", "server"), ("device", "clock")} <= set(states)
        fleet.up.stop()
        said = tacit("doctor", "--device", "device1", folder=tmp_path, code=1)
        assert "cannot be reached" in said and "see that the server is up" in said


def test_a_server_on_postgresql_holds_a_round(tmp_path: Path, postgres: str) -> None:
    with Deployment(tmp_path, devices=10, database=postgres).start() as fleet:
        for number in (1, 2):
            fleet.enrol(number).start()
        learnt(fleet, "first")
        assert not (fleet.server / "server.db").exists()
        found = fleet.verified()
        assert (found.ok, found.noise_source) == (True, "system"), found.problems
        adapter = eventually(lambda: fleet.told("status")["devices"][0]["seen"], "no device reports")
        assert adapter > 0
        fleet.told("backup", "--out", "copy.tar")
