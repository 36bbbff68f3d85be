"""What goes wrong around a run: a full disk, a folder that cannot be written, devices that hang, damaged files.

Each is one sentence and exit code 2, leaves nothing half-written, and, where the files are whole, can be gone on with.
"""

import errno
import json
import os
import resource
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hanging import hang_or_answer
from runs import content
from tiny import TINY

from tacit_privacy import cli
from tacit_privacy.adapter_folder import save_adapter
from tacit_privacy.contract import AdapterSpec, LinearSpec, LocalTraining
from tacit_privacy.errors import BadInput
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.mechanisms.gaussian import GaussianSum
from tacit_privacy.mechanisms.noise import SeededNoise
from tacit_server.charging import NoBudget
from tacit_server.config import FederationConfig, PrivacyConfig
from tacit_server.coordinator import Coordinator, Job
from tacit_server.store import Store
from tacit_simulations import run
from tacit_simulations.clock import VirtualClock
from tacit_simulations.engines import RuntimeConfig, make_engine
from tacit_simulations.fleet.config import FleetConfig
from tacit_simulations.fleet.dispatch import Work
from tacit_simulations.fleet.emulator import Emulator
from tacit_simulations.fleet.roster import FleetRoster
from tacit_simulations.grid import FleetGrid
from tacit_simulations.outputs import Journal

COMMAND = ["simulate", "home-quick", *(f"--set={setting}" for setting in [*TINY, "evaluation.devices=2"])]


def tacit(folder: Path, *more: str) -> int:
    return cli.main([*COMMAND, f"--out={folder}", *more])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert tacit(folder) == 0
    return content(folder)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was ended by its user after the first of two rounds."""
    folder, before = tmp_path_factory.mktemp("interrupted") / "run", Coordinator._round

    def interrupt(self: Coordinator, state: Any) -> Any:
        if state.round == 1:
            raise KeyboardInterrupt
        return before(self, state)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Coordinator, "_round", interrupt)
        assert tacit(folder) == 130
    assert not (folder / "result.json").exists()
    return folder


@pytest.fixture
def stopped(interrupted: Path, tmp_path: Path) -> Path:
    """A copy of it, to damage."""
    return Path(shutil.copytree(interrupted, tmp_path / "run"))


def refused(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> None:
    """One sentence with those words, and nothing that looks like a result or is half one."""
    printed = capsys.readouterr()
    said = [line for line in printed.err.splitlines() if not line.startswith((" ", "Tacit simulates"))]
    said = [line for line in said if not line.endswith("steps)")]
    assert len(said) == 1 and said[0].startswith("tacit: "), printed.err
    assert all(word in said[0] for word in words), said[0]
    assert "defect" not in said[0] and "Traceback" not in printed.err
    assert printed.out == ""
    if folder.is_dir():
        assert not (folder / "result.json").exists()
        assert not [path.name for path in folder.rglob(".*")]  # what is written beside and renamed


# ---- no room


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Writing beyond ``size`` bytes of a file fails in the system, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [4_000, 40_000, 100_000])
def test_no_room_for_the_state_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str], size: int) -> None:
    """Before the database is made, while its tables are, and in the middle of a round."""
    folder = tmp_path / "run"
    with files_of_at_most(size):
        assert tacit(folder) == 2
    refused(capsys, folder, "database")
    assert not (folder / "ledger.jsonl").exists() and not (folder / "adapter").exists()


def test_a_run_that_ran_out_of_room_goes_on_when_there_is_some(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], whole: dict[str, bytes]
) -> None:
    with files_of_at_most(100_000):
        assert tacit(tmp_path / "run") == 2
    capsys.readouterr()
    assert tacit(tmp_path / "run", "--resume") == 0
    assert content(tmp_path / "run") == whole


@pytest.mark.parametrize(("size", "named"), [(2_000, "ledger.jsonl"), (8_000, "adapter"), (20_000, "report.html")])
def test_no_room_for_what_a_run_leaves_is_one_sentence(
    stopped: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    whole: dict[str, bytes],
    size: int,
    named: str,
) -> None:
    """The disk fills up at the very end, before each of the files that people read."""
    last = {"ledger.jsonl": "_export", "adapter": "save_adapter", "report.html": "_write_report"}[named]
    before = getattr(run, last)

    def full(*args: Any) -> Any:
        with files_of_at_most(size):
            return before(*args)

    with monkeypatch.context() as patched:
        patched.setattr(run, last, full)
        assert tacit(stopped, "--resume") == 2
    refused(capsys, stopped, "cannot write", named, "File too large")
    assert tacit(stopped, "--resume") == 0
    assert content(stopped) == whole


def test_too_little_room_is_said_before_the_first_round(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("tacit_simulations.outputs.shutil.disk_usage", lambda path: usage._replace(free=5_000_000))
    assert tacit(tmp_path / "run") == 2
    refused(capsys, tmp_path / "run", "has 5 MB free", "choose another --out")
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_line_that_found_no_room_is_not_taken_for_written() -> None:
    journal = Journal(Path("/dev/full"))
    with pytest.raises(BadInput, match=f"{os.strerror(errno.ENOSPC)}; make room, then --resume"):
        journal.put("score/1", {"metric": 0.5})
    assert journal.get("score/1") is None


def test_an_adapter_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    linear = (LinearSpec(name="w", rows=800, columns=400),)
    spec = AdapterSpec(model="m", method="ffa", rank=2, alpha=2, seed=1, linear=linear)
    save_adapter(tmp_path / "adapter", spec, np.ones(spec.dimension))
    before = {path.name: path.read_bytes() for path in (tmp_path / "adapter").iterdir()}
    with files_of_at_most(2_000), pytest.raises(BadInput, match=r"cannot write .*adapter: File too large"):
        save_adapter(tmp_path / "adapter", spec, np.zeros(spec.dimension))
    assert {path.name: path.read_bytes() for path in (tmp_path / "adapter").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "adapter").iterdir()} == {0o666 & ~umask()}


def umask() -> int:
    found = os.umask(0)
    os.umask(found)
    return found


# ---- nowhere to write


def below_a_file(parent: Path) -> Path:
    (parent / "file").write_text("mine")
    return parent / "file" / "run"


def a_file(parent: Path) -> Path:
    (parent / "file").write_text("mine")
    return parent / "file"


def below_a_dangling_link(parent: Path) -> Path:
    (parent / "link").symlink_to(parent / "nowhere" / "else")
    return parent / "link"


def read_only(parent: Path) -> Path:
    if os.geteuid() == 0:
        return Path("/proc/tacit/run")  # root may write to any folder but those of the kernel
    (parent / "shut").mkdir(mode=0o555)
    return parent / "shut" / "run"


@pytest.mark.parametrize("place", [below_a_file, a_file, below_a_dangling_link, read_only])
def test_a_folder_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: Callable[[Path], Path]
) -> None:
    folder = place(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert tacit(folder) == 2
    refused(capsys, folder, str(folder), "choose another --out")
    assert sorted(tmp_path.rglob("*")) == before


# ---- damaged files


def rewrite(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], object]:
    def damage(state: Path) -> object:
        path = state / "private.jsonl"
        return path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    return damage


def sql(statement: str, *values: object) -> Callable[[Path], None]:
    def damage(state: Path) -> None:
        with closing(sqlite3.connect(state / "private.db")) as connection, connection:
            assert connection.execute(statement, values).rowcount != 0

    return damage


def halve_checkpoint(state: Path) -> None:
    with closing(sqlite3.connect(state / "private.db")) as connection, connection:
        (blob,) = connection.execute("SELECT state FROM checkpoints").fetchone()
        connection.execute("UPDATE checkpoints SET state = ?", (blob[: len(blob) // 2],))


def halve_database(state: Path) -> None:
    with closing(sqlite3.connect(state / "private.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = state / "private.db"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 // 4096 * 4096])


def no_database(state: Path) -> None:
    for path in state.glob("private.db*"):
        path.unlink()
    (state / "private.db").write_bytes(b"no database at all " * 300)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "journal: not text": (rewrite(lambda lines: [b"\xff\xfe\n", *lines]), "private.jsonl, line 1"),
    "journal: not JSON": (rewrite(lambda lines: [lines[0][:10] + b"\n", *lines[1:]]), "private.jsonl, line 1"),
    "journal: no pair": (rewrite(lambda lines: [lines[0], b"5\n", *lines[1:]]), "private.jsonl, line 2"),
    "journal: no key": (rewrite(lambda lines: [lines[0], b"[1,2]\n", *lines[1:]]), "private.jsonl, line 2"),
    "checkpoint: junk": (sql("UPDATE checkpoints SET state = ?", b"junk" * 50), "checkpoint"),
    "checkpoint: cut": (halve_checkpoint, "checkpoint"),
    "checkpoint: gone": (sql("DELETE FROM checkpoints"), "checkpoint"),
    "database: junk": (no_database, "database"),
    "database: cut": (halve_database, "database"),
    "database: newer": (sql("UPDATE tacit_server_version SET version_num = 's9999'"), "upgrade Tacit"),
    "ledger: not JSON": (sql('UPDATE ledger SET payload = ? WHERE "index" = 1', "{"), "ledger"),
    "marker: not text": (lambda state: (state / "scenario.sha256").write_bytes(b"\xff"), "other settings"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_state_is_one_sentence(stopped: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    damage, said = DAMAGES[case]
    damage(stopped / "state")
    assert tacit(stopped, "--resume") == (1 if case.startswith("ledger") else 2)  # a broken ledger is a failed check
    refused(capsys, stopped, said)


@pytest.mark.parametrize("cut", [1, 7])
def test_the_last_line_of_a_killed_run_may_be_cut(stopped: Path, whole: dict[str, bytes], cut: int) -> None:
    path = stopped / "state" / "private.jsonl"
    path.write_bytes(path.read_bytes() + b'["dispatch/2",{"asked":{}}]\n'[:-cut])
    assert tacit(stopped, "--resume") == 0
    assert content(stopped) == whole
    for line in path.read_text().splitlines():
        json.loads(line)


def test_an_interrupted_run_ends_as_it_would_have(stopped: Path, whole: dict[str, bytes]) -> None:
    assert tacit(stopped, "--resume") == 0
    assert content(stopped) == whole


@pytest.mark.parametrize("after", ["commit", "score"])
def test_a_kill_around_the_score_of_a_round_loses_no_score(
    tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    """The score of a round and its commit are two writes; whichever came first, a resumed run has both."""
    target, name = (Coordinator, "_commit") if after == "commit" else (run, "_note_score")
    before, calls = getattr(target, name), [0]

    def killed(*args: Any) -> Any:
        found = before(*args)
        calls[0] += 1
        if calls[0] == (1 if after == "commit" else 2):  # the first score is of the untouched model
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patched:
        patched.setattr(target, name, killed)
        assert tacit(tmp_path / "run") == 130
    assert tacit(tmp_path / "run", "--resume") == 0
    assert content(tmp_path / "run") == whole


def test_resuming_nothing_or_something_else_is_one_sentence(
    stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tacit(tmp_path / "none", "--resume") == 2
    refused(capsys, tmp_path / "none", "nothing to resume")
    assert tacit(stopped, "--resume", "--seed=2") == 2
    refused(capsys, stopped, "other settings")


# ---- devices that hang


FLEET = FleetConfig(devices=40, mix={"mini-pc-n150": 1.0}, crash_rate=0.0, require_idle=False, require_charging=False)
HANGS = 9  # every ninth device
SPEC = AdapterSpec(model="m", method="ffa", rank=1, alpha=1, seed=1, linear=(LinearSpec(name="w", rows=4, columns=4),))


def federate(folder: Path, engine: Literal["inline", "pool"]) -> tuple[list[float], list[dict[str, Any]]]:
    """Two rounds over a fleet of which some devices hang; the adapter and the records."""
    folder.mkdir()
    store, clock = Store(f"sqlite:///{folder / 'run.db'}"), VirtualClock(FLEET.start)
    emulator = Emulator.of(1, FLEET, Work(64.0, 64.0, 1e6, 8.0, 1e6))
    job = Job(
        run="test",
        spec=SPEC,
        training=LocalTraining(),
        federation=FederationConfig(rounds=2, cohort=6, deadline_s=900),
        privacy=PrivacyConfig(enabled=False),
        initial=np.zeros(SPEC.dimension, np.float32),
        config_digest="0" * 64,
        seed=2,
    )
    runtime = RuntimeConfig(engine=engine, workers=2, device_timeout_s=0.5)
    with make_engine(runtime) as running:
        grid = FleetGrid(emulator, clock, running, partial(hang_or_answer, HANGS))
        roster, mechanism, key = FleetRoster(emulator, 1), GaussianSum(1.0, 0.0), SigningKey.simulated(3)
        server = Coordinator(job, grid, clock, roster, mechanism, NoBudget(), SeededNoise(5), store, key).run()
    records = store.rounds()
    store.close()
    return server.adapter.tolist(), records


def test_devices_that_hang_in_a_pool_do_not_stop_a_run(tmp_path: Path) -> None:
    """They are ended, count as silent, and cost the round its deadline; every engine says so alike."""
    adapter, records = federate(tmp_path / "pool", "pool")
    assert len(records) == 2 and sum(record["dropped"].get("missing", 0) for record in records) > 0
    for record in records:
        assert record["released"] and record["accepted"]
        assert all(device % HANGS for device in record["accepted"])
        assert record["completed"] + record["dropped"].get("missing", 0) == record["sampled"] == 6
        if record["dropped"]:
            assert record["finished"] - record["started"] == pytest.approx(900)
    mean = sum(sum(record["accepted"]) / record["completed"] for record in records)
    assert adapter == pytest.approx([mean / GaussianSum(1.0, 0.0).levels] * 4)
    assert federate(tmp_path / "inline", "inline") == (adapter, records)
