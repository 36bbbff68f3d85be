"""What a device does with a message that it cannot answer: it says so, tells its own log why, and goes on."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import servers
from flwr.app import ConfigRecord, Message, RecordDict
from structlog.testing import capture_logs

from tacit_clients.app import STATE_GUARD
from tacit_clients.device.home import DeviceHome
from tacit_clients.device.journal import Journal, Turn
from tacit_clients.device.runner import DeviceRunner
from tacit_clients.flower_seam import Parcel, adopt_identity
from tacit_clients.guard import Memory, Seen
from tacit_privacy.contract import RECORD_REFUSAL
from tacit_privacy.enrolment import Notice, Placement

NANO = {"method": "lora", "rank": 2, "alpha": 4.0, "seed": 0, "targets": ["o_proj"]}
LAMP = '{"prompt": "turn on the lamp", "target": "done"}\n'


@pytest.fixture
def home(tmp_path: Path) -> DeviceHome:
    """Of a device that was admitted and has data."""
    (tmp_path / "examples.jsonl").write_text(20 * LAMP)
    settings = {"server": {"url": "https://localhost:1"}, "data": {"path": str(tmp_path / "examples.jsonl")}}
    found = DeviceHome.make(tmp_path / "device", settings, servers.directory(tmp_path / "server").authority.read_text())
    with found.journal(create=True) as journal:
        journal.make_keys()
        journal.place(Placement(state="admitted", identity="device-1", node_id="7", model="tacit-nano", adapter=NANO))
    return found


def asked(kind: str) -> Parcel:
    adopt_identity()
    return Parcel.of(Message(RecordDict({"terms": ConfigRecord({"payload": b"none"})}), 7, kind))


def reason(runner: DeviceRunner, kind: str) -> str:
    return str(runner._reply(asked(kind)).content.config_records[RECORD_REFUSAL]["reason"])


def test_a_message_that_no_function_is_for_is_refused_and_ends_nothing(home: DeviceHome) -> None:
    with home.journal() as journal, capture_logs() as said:
        runner = DeviceRunner(home, journal)
        assert reason(runner, "train.unheard_of") == "failed"
        assert reason(runner, "train") == "malformed"
    assert (said[0]["event"], said[0]["why"]) == ("a message could not be answered", "ValueError")


def test_a_message_over_which_the_process_ended_again_and_again_is_given_up(home: DeviceHome) -> None:
    for begun in range(1, 5):
        with home.journal() as journal, capture_logs():
            if begun == 1:
                journal.keep(Turn(RecordDict(), asked=asked("train")))
            runner = DeviceRunner(home, journal)
            assert journal.turn().begun == begun  # and here its process would end
            assert reason(runner, "train") == ("malformed" if begun <= 3 else "failed")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread")])
@pytest.mark.parametrize("fails", [1, 2, 3])
def test_a_step_that_finds_no_memory_leaves_all_as_it_was_and_is_taken_again(
    home: DeviceHome, monkeypatch: pytest.MonkeyPatch, error: Exception, fails: int
) -> None:
    """Whichever it is. What was delivered and could not be noted is brought again, the same to the byte."""
    delivered: list[bytes] = []
    kept = 0

    def keep(turn: Turn) -> None:
        nonlocal kept
        kept += 1
        if kept == fails:
            raise error
        Journal.keep(journal, turn)
        if turn.owed is None and turn.asked is None:
            runner._ending.set()

    def send(parcel: Parcel) -> int:
        delivered.append(parcel.pack())
        return 1

    mail = SimpleNamespace(receive=lambda: asked("train"), confirm=lambda parcel: None, send=send)
    with home.journal() as journal, capture_logs() as said:
        runner = DeviceRunner(home, journal)
        monkeypatch.setattr("signal.signal", lambda number, handler: None)
        monkeypatch.setattr(journal, "keep", keep)
        monkeypatch.setattr(runner, "_fleet", SimpleNamespace(messages=mail, online=lambda: None, close=lambda: None))
        monkeypatch.setattr(runner, "_check_bundle", lambda run: None)
        monkeypatch.setattr(runner, "_report_if_due", lambda: None)
        runner.run()
        assert len(delivered) == (2 if fails == 3 else 1) and len(set(delivered)) == 1
        assert [entry["event"] for entry in said].count("a step is taken again later") == 1
        assert journal.turn() == Turn(journal.turn().state)


def test_a_refusal_is_over_once_the_server_holds_again_what_was_seen(home: DeviceHome) -> None:
    """Put back to an older copy, and then to the newest: nothing has to be owned up to."""
    heads = {"whole": "2" * 64, "older": ""}
    with home.journal() as journal, capture_logs() as said:
        runner = DeviceRunner(home, journal)
        memory = Memory({}, {"a" * 64: Seen(10, heads["whole"])}).as_values(runner._signing)
        runner._turn.state[STATE_GUARD] = ConfigRecord(dict(memory))
        told = []
        for head in ("whole", "older", "older", "whole"):
            notice = Notice(time=1.0, node_id="7", counted=0, seen_head=heads[head])
            runner._compare_ledger(notice)
            told.append((runner._told().refusal, runner._rolled_back))
    assert told == [("", False), ("rollback", True), ("rollback", True), ("", False)]
    assert len(said) == 1  # the doubt is logged once


def test_what_the_log_says_of_an_unforeseen_error_quotes_no_example(
    home: DeviceHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "Ottilie Grünspan"

    def device(self: DeviceRunner) -> None:
        raise ValueError(secret)

    monkeypatch.setattr(DeviceRunner, "_device", device)
    with home.journal() as journal, capture_logs() as said:
        reply = DeviceRunner(home, journal)._reply(asked("train"))
    assert reply.content.config_records[RECORD_REFUSAL]["reason"] == "failed"
    assert "ValueError" in repr(said) and "test_device_answering.py:" in repr(said)
    assert secret not in repr(said) + repr(reply.content)
