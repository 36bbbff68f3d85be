"""`tacit bench deployment`: figures that hang together, and no process that stays, whatever it ends by."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from deployments import ENVIRONMENT, TACIT, eventually, tacit

pytestmark = pytest.mark.timeout(180)


def of_folder(folder: Path) -> Iterator[psutil.Process]:
    """Processes that work below the folder or name it; this one leads none of them."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        where = process.info["cwd"] or ""
        if process.pid != os.getpid() and (str(folder) in where or any(str(folder) in word for word in words)):
            yield process


def left_in(folder: Path) -> list[str]:
    """Folders of deployments; torch leaves a cache of its own."""
    return [path.name for path in folder.glob("tacit-deployment-*")]


def test_light_devices_hold_rounds_and_the_ledger_verifies(tmp_path: Path) -> None:
    arguments = ("bench", "deployment", "--light", "--devices", "3", "--rounds", "2", "--dimension", "10240", "--json")
    found = json.loads(tacit(*arguments, folder=tmp_path, environment={"TMPDIR": str(tmp_path)}))
    assert (found["rounds"], found["devices"], found["ledger_ok"]) == (2, 3, True)
    assert found["completed"] == [3, 3]
    assert (found["parameters"], found["update_bytes"]) == (10_240, 40_960)
    assert found["bytes_per_device"] >= found["rounds"] * 2 * found["update_bytes"]
    assert 0 < found["seconds"]["p50"] <= found["seconds"]["p95"]
    assert found["seconds_per_round"] > 0
    assert set(found["server"]["memory_bytes"]["2"]) == {"server", "link", "serving"}
    assert left_in(tmp_path) == []


def ended_by(process: "subprocess.Popen[bytes]", number: signal.Signals) -> int:
    """As at a terminal: once more where nothing comes of it, since Python drops an interrupt within a ``__del__``."""
    for _ in range(5):
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            return process.wait(20)
    raise AssertionError("it does not end")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_stays_when_it_is_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "said"
    folder = tmp_path / "work"
    folder.mkdir()
    with log.open("wb") as said:
        bench = subprocess.Popen(
            [TACIT, "bench", "deployment", "--light", "--devices", "2", "--rounds", "500"],
            env=os.environ | ENVIRONMENT | {"TMPDIR": str(folder)},
            stdout=said,
            stderr=said,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run behind
        )
    try:
        eventually(lambda: "enrolling" in log.read_text(), "no server is put up")
        assert len(list(of_folder(folder))) >= 2
        code = ended_by(bench, number)
    finally:
        bench.kill()
        bench.wait()
    assert code == (-9 if number == signal.SIGKILL else 130), log.read_text()
    eventually(lambda: not list(of_folder(folder)), "a process stays", patience_s=20)
    if number != signal.SIGKILL:
        assert left_in(folder) == []


def test_impossible_numbers_are_refused(tmp_path: Path) -> None:
    said = tacit("bench", "deployment", "--devices", "1", "--stock", "2", folder=tmp_path, code=2)
    assert "2 of 1 devices cannot be stock" in said
