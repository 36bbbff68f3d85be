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

from tacit_simulations.result import WALL

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


def content(folder: Path) -> dict[str, Any]:
    """The result without its wall times, and the bytes of ledger and adapter."""
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    for key in WALL:
        result.pop(key)
    files = ("ledger.jsonl", "ledger.pub", "adapter/adapter_model.safetensors")
    return {"result": result} | {name: (folder / name).read_bytes() for name in files}


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
    result = content(reference)["result"]
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
    assert found["epsilon"] == content(reference)["result"]["privacy"]["epsilon"]


@pytest.mark.parametrize("engine", [("pool", 1), ("pool", 2), ("ray", 2)])
def test_engines_and_workers_change_no_byte(reference: Path, tmp_path: Path, engine: tuple[str, int]) -> None:
    name, workers = engine
    done = tacit("simulate", *SMALL, f"--engine={name}", f"--workers={workers}", "--out=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "run") == content(reference)


def test_a_killed_run_resumes_to_the_same_bytes(reference: Path, tmp_path: Path) -> None:
    rng = random.Random(os.environ.get("PYTEST_XDIST_TESTRUNUID", "seed"))
    command = [str(Path(sys.executable).with_name("tacit")), "simulate", *SMALL, "--engine=inline", "--out=run"]
    for extra in ([], ["--resume"]):
        running = subprocess.Popen([*command, *extra], cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True)
        wait_for(tmp_path / "run" / "state" / "private.db")
        time.sleep(rng.uniform(0.0, 6.0))
        running.send_signal(signal.SIGKILL)
        running.wait()
    done = tacit("simulate", *SMALL, "--engine=inline", "--out=run", "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "run") == content(reference)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.05)


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
    assert not (tmp_path / "run" / "result.json").exists()


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
