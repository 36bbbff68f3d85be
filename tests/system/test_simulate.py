"""``tacit simulate`` as a person runs it: one result on every engine and after a kill, clear words for bad input."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from runs import content

SMALL = [
    "home-quick",
    "--devices=60",
    "--rounds=3",
    "--set=federation.cohort=10",
    "--set=evaluation.devices=4",
    "--set=evaluation.curve_examples=24",
    "--set=evaluation.personal.epochs=1",
    "--set=training.max_steps=1",
    "--set=adapter.tiers.phone-low=2",
]


def tacit(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("tacit")), *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=280, check=False)


def result_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    done = tacit("simulate", *SMALL, "--engine=inline", "--out=run", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["scenario"] == "home-quick"  # one JSON document and nothing else
    return folder / "run"


def test_the_folder_holds_what_the_contract_names(reference: Path) -> None:
    names = {path.name for path in reference.iterdir()}
    assert {"result.json", "report.html", "ledger.jsonl", "ledger.pub", "adapter"} <= names
    result = result_of(reference)
    assert len(result["rounds"]) == 3
    assert result["privacy"]["epsilon"] <= 8
    assert result["privacy"]["noise_source"] == "seeded"
    evaluation = result["evaluation"]
    for arm in ("untrained", "centralised", "local_only", "federated", "federated_private", "personalised"):
        assert 0 <= evaluation[arm]["metric"] <= 1


def test_the_ledger_of_a_run_verifies_offline(reference: Path) -> None:
    done = tacit("audit", "verify", "ledger.jsonl", "--key=ledger.pub", "--json", cwd=reference)
    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"], found["state"], found["noise_source"]) == (0, True, "closed", "seeded")
    assert found["epsilon"] == result_of(reference)["privacy"]["epsilon"]


@pytest.mark.parametrize("engine", [("pool", 1), ("pool", 2), ("ray", 2)])
def test_engines_and_workers_change_no_byte(reference: Path, tmp_path: Path, engine: tuple[str, int]) -> None:
    name, workers = engine
    done = tacit("simulate", *SMALL, f"--engine={name}", f"--workers={workers}", "--out=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "run") == content(reference)


@pytest.mark.parametrize("engine", ["inline", "pool"])
def test_a_killed_run_resumes_to_the_same_bytes(reference: Path, tmp_path: Path, engine: str) -> None:
    """Killed at a moment that nobody chose, once it has begun; the moments are in the message of a failure."""
    command = [str(Path(sys.executable).with_name("tacit")), "simulate", *SMALL, f"--engine={engine}", "--out=run"]
    moments, ends = [], []
    for extra in ([], ["--resume"]):
        running = subprocess.Popen([*command, *extra], cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True)
        wait_for(tmp_path / "run" / "state" / ("plain.db" if extra else "private.jsonl"))
        moments.append(random.uniform(0.0, 1.5))
        time.sleep(moments[-1])
        os.killpg(running.pid, signal.SIGKILL)
        ends.append(running.wait())
    assert -signal.SIGKILL in ends, f"both runs were over when they were to be killed, {moments} s after they began"
    done = tacit("simulate", *SMALL, f"--engine={engine}", "--out=run", "--resume", cwd=tmp_path)
    assert done.returncode == 0, f"killed {moments} s after it began: {done.stderr}"
    assert content(tmp_path / "run") == content(reference), f"killed {moments} s after it began"


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no-such-scenario"], "no scenario no-such-scenario"),
        (["home-quick", "--set=federation.cohrt=3"], "unknown setting federation.cohrt"),
        (["home-quick", "--set=federation.cohort=5000"], "cohort"),
        (["home-quick", "--set=model.name=./nothing"], "no model folder"),
        (["home-quick", "--set=data.kind=file"], "data.path"),
        (["home-quick", "--set=fleet.mix={esp32-s3-hub = 1.0}"], "training needs"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path: Path, words: list[str], said: str) -> None:
    done = tacit("simulate", *words, "--out=run", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line and not line.startswith("Tacit simulates")]
    assert len(lines) == 1
    assert said in lines[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["train", "timing"])
def test_a_fleet_with_nobody_to_ask_leaves_nothing(tmp_path: Path, mode: str) -> None:
    """Whoever mends the settings can use the same folder."""
    nobody = [f"--set=mode={mode}", "--set=federation.minimum_share=1.0", "--set=federation.cohort=60"]
    done = tacit("simulate", *SMALL, *nobody, "--engine=inline", "--out=run", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "for two days fewer than 60" in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    done = tacit("simulate", "home-quick", "--out=run", cwd=tmp_path)
    assert done.returncode == 2
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_a_million_devices_without_a_model(tmp_path: Path) -> None:
    done = tacit("simulate", "million", "--rounds=3", "--out=run", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["devices"] == 1_000_000
    assert all(row["completed"] == 10_000 for row in result["rounds"])
