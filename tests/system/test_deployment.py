"""A real server with TLS, real devices in processes of their own, real training: what an operator puts up."""

import json
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
        lines = [json.loads(line) for line in fleet.up.said().splitlines()]  # of all its processes, Flower's words too
        assert {line["process"] for line in lines} == {"server", "link", "run first"}
        assert [line for line in lines if line["level"] == "error"] == []


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


def test_a_run_says_what_it_waits_for_and_rests_where_nobody_may_take_part_any_more(tmp_path: Path) -> None:
    with Deployment(tmp_path, devices=10, participations=2).start() as fleet:
        first, second = fleet.enrol(1).start(), fleet.enrol(2)
        fleet.schedule("first", "--rounds", "2", "--cohort", "2")
        eventually(lambda: fleet.run("first")["reason"].startswith("waits for devices"), "nothing is said")
        fleet.told("run", "pause", "first")
        eventually(lambda: fleet.run("first")["state"] == "paused", "a run that waits does not rest when it is to")
        fleet.told("run", "resume", "first")
        second.start()
        run = fleet.ended("first", 180)
        assert (run["state"], run["released"]) == ("finished", 2), (run, fleet.up.said())
        fleet.schedule("more", "--rounds", "1", "--cohort", "2")
        spent = "0 devices may take part once more, and a round needs 1"
        eventually(lambda: spent in fleet.run("more")["reason"], "nothing is said", 180)
        assert fleet.run("more")["state"] == "paused" and first.alive


def test_what_cannot_be_used_costs_no_token_and_leaves_nothing(tmp_path: Path) -> None:
    with Deployment(tmp_path, devices=10).start() as fleet:
        token, enrol = (
            {"TACIT_ENROLMENT_TOKEN": fleet.token()},
            ("device", "enroll", "--server", fleet.url, "--dir", "d"),
        )
        (tmp_path / "bad.jsonl").write_text("not JSON\n")
        for name, words in (("nofile.jsonl", "cannot read the examples"), ("bad.jsonl", "is no example")):
            said = tacit(*enrol, "--data", name, folder=tmp_path, environment=token, code=2)
            assert words in said and not (tmp_path / "d").exists(), said
        said = tacit(
            *enrol,
            folder=tmp_path,
            code=2,
            environment={"TACIT_ENROLMENT_TOKEN": token["TACIT_ENROLMENT_TOKEN"][:-1] + "0"},
        )
        assert not (tmp_path / "d").exists(), said
        tacit(*enrol, folder=tmp_path, environment=token)
        said = tacit(*enrol, "--data", "bad.jsonl", folder=tmp_path, environment=token, code=2)
        (tmp_path / "bad.jsonl").write_text('{"prompt": "a", "target": "b"}\n')
        said = tacit(*enrol, "--data", "bad.jsonl", folder=tmp_path, environment=token, code=2)
        assert "says another data" in said, said
        tacit("device", "leave", "--dir", "d", folder=tmp_path)
        for words in ("status", "run"):
            said = tacit("device", words, "--dir", "d", folder=tmp_path, code=0 if words == "status" else 2)
            assert "no keys" in said and "tacit device enroll" in said, said


def test_bad_words_change_nothing(tmp_path: Path) -> None:
    for words, why in (
        (("--database", "mysql://x"), "mysql is no database that Tacit knows"),
        (("--database", "sqlite:////nowhere/at/all.db"), "cannot be used"),
    ):
        assert why in tacit("server", "init", *words, folder=tmp_path, code=2)
        assert list(tmp_path.iterdir()) == []
    said = tacit("server", "up", "--dir", "nowhere", folder=tmp_path, code=2)
    assert "tacit server init makes one" in said
    said = tacit("device", "run", "--dir", "nowhere", folder=tmp_path, code=2)
    assert "tacit device enroll makes one" in said
    said = tacit("device", "enroll", "--server", "http://x", "--token", "t", folder=tmp_path, code=2)
    assert "tacit1" in said
    assert list(tmp_path.iterdir()) == []
