"""What a device does with a message that it cannot answer: it says so, tells its own log why, and goes on."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import servers
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.proto.message_pb2 import ObjectTree
from structlog.testing import capture_logs

from tacit_clients.app import STATE_GUARD
from tacit_clients.device.home import DeviceHome
from tacit_clients.device.journal import Journal, Turn
from tacit_clients.device.runner import DeviceRunner
from tacit_clients.flower_seam import Parcel, adopt_identity
from tacit_clients.guard import Memory, Seen
from tacit_privacy.contract import RECORD_ADAPTER, RECORD_REFUSAL, RECORD_TERMS, LocalTraining, RoundTerms, digest
from tacit_privacy.enrolment import DeviceReport, Notice, Placement
from tacit_privacy.errors import NodeUnknown, RequestRefused, RunOver, ServerUnreachable
from tacit_privacy.ledger.keys import SigningKey

NANO = {"method": "lora", "rank": 2, "alpha": 4.0, "seed": 0, "targets": ["o_proj"]}
SERVER = SigningKey.simulated(9)
LAMP = '{"prompt": "turn on the lamp", "target": "done"}\n'


@pytest.fixture(autouse=True)
def signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device in a test's process leaves the process's signals alone."""
    monkeypatch.setattr("signal.signal", lambda number, handler: None)


@pytest.fixture
def home(tmp_path: Path) -> DeviceHome:
    """Of a device that was admitted and has data."""
    (tmp_path / "examples.jsonl").write_text(20 * LAMP)
    settings = {"server": {"url": "https://localhost:1"}, "data": {"path": str(tmp_path / "examples.jsonl")}}
    found = DeviceHome.make(tmp_path / "device", settings, servers.directory(tmp_path / "server").authority.read_text())
    with found.journal(create=True) as journal:
        journal.make_keys()
        told = {"identity": "device-1", "node_id": "7", "server_key": SERVER.public}
        journal.place(Placement(state="admitted", model="tacit-nano", adapter=NANO, **told))
    return found


class Line:
    """In place of the line to a server: what waits there, what was delivered, and what else it says, if anything."""

    def __init__(self, *waiting: Parcel) -> None:
        self.waiting, self.whole_ones = list(waiting), {parcel.message_id: parcel for parcel in waiting}
        self.delivered: list[bytes] = []
        self.bundle: Callable[[int], str] = lambda run: ""
        self.messages = self

    def online(self) -> None: ...

    def close(self) -> None: ...

    def confirm(self, parcel: Parcel) -> None: ...

    def check_bundle(self, run: int) -> str:
        return self.bundle(run)

    def receive(self) -> Parcel | None:
        return self.waiting.pop() if self.waiting else None

    def whole(self, parcel: Parcel) -> Parcel:
        return self.whole_ones[parcel.message_id]

    def send(self, parcel: Parcel) -> int:
        self.delivered.append(parcel.pack())
        return 1


def on(line: Line, home: DeviceHome, journal: Journal) -> DeviceRunner:
    """A device at that line, which has reported just now."""
    runner = DeviceRunner(home, journal)
    runner._fleet = cast(Any, line)
    runner._reported = time.monotonic()
    runner._wait_for_mail = runner._ending.set  # type: ignore[method-assign]
    return runner


def asked(kind: str, number: int = 1) -> Parcel:
    adopt_identity()
    return Parcel.of(Message(RecordDict({"terms": ConfigRecord({"payload": b"none", "number": number})}), 7, kind))


def round_of(runner: DeviceRunner, number: int, **changes: Any) -> Parcel:
    """A round as its server asks for it."""
    spec = runner._adapted.spec
    values: dict[str, Any] = {
        "run": "r",
        "round": number,
        "version": 0,
        "spec": spec,
        "rank": spec.rank,
        "clip_norm": 1.0,
        "training": LocalTraining(max_steps=1),
        "noise_multiplier": 1.0,
        "participations": 5,
        "deadline": 60.0,
        "ledger": "a" * 64,
        "ledger_head": f"{number:064x}",
        "ledger_length": number,
    }
    payload = RoundTerms.model_validate(values | changes).to_bytes()
    terms = ConfigRecord({"payload": payload, "signature": SERVER.sign(payload)})
    adapter = ArrayRecord([np.zeros(spec.prefix(spec.rank), dtype=np.float32)])
    adopt_identity()
    return Parcel.of(Message(RecordDict({RECORD_TERMS: terms, RECORD_ADAPTER: adapter}), 7, "train"))


def refused(reply: Message) -> str:
    """The word that a reply refuses by; empty where it is an update."""
    records = reply.content.config_records
    return str(records[RECORD_REFUSAL]["reason"]) if RECORD_REFUSAL in records else ""


def reason(runner: DeviceRunner, kind: str) -> str:
    return refused(runner._reply(asked(kind))[0])


def test_a_message_that_no_function_is_for_is_refused_and_ends_nothing(home: DeviceHome) -> None:
    with home.journal() as journal, capture_logs() as said:
        runner = on(Line(), home, journal)
        assert reason(runner, "train.unheard_of") == "failed"
        assert reason(runner, "train") == "malformed"
    assert (said[0]["event"], said[0]["why"]) == ("a message could not be answered", "ValueError")


def test_a_message_over_which_the_process_ended_again_and_again_is_given_up(home: DeviceHome) -> None:
    """Without a look at it: what it holds may be what ended the process."""
    parcel = asked("train")

    def ended(run: int) -> str:
        raise _Killed

    for begun in range(1, 5):
        with home.journal() as journal, capture_logs() as said:
            if begun == 1:
                journal.keep(Turn(RecordDict(), asked=parcel))
            line = Line(parcel)
            line.waiting.clear()
            line.bundle = ended
            runner = on(line, home, journal)
            assert journal.turn().begun == begun
            if begun <= 3:
                with pytest.raises(_Killed):
                    runner.run()
                continue
            line.whole_ones.clear()
            runner.run()
            assert len(line.delivered) == 1 and refused(Parcel.unpack(line.delivered[0]).message()) == "failed"
            assert "a message is given up" in said[1]["event"]


class _Killed(BaseException):
    """What a kill looks like to the code that it comes over."""


@pytest.mark.parametrize("junk", [b"", b"Message 0", b"Message 99 \x00", 400 * b"[", bytes(range(256))])
def test_a_message_that_cannot_be_read_is_dropped_and_the_next_is_answered(home: DeviceHome, junk: bytes) -> None:
    """Its parts are what their names say, and yet no message."""
    good, name = asked("train"), digest(junk)
    tree = ObjectTree(object_id=name).SerializeToString()
    bad = replace(asked("train", 2), tree=tree, objects={name: junk})
    line = Line(good, bad)
    with home.journal() as journal, capture_logs() as said:
        on(line, home, journal).run()
        assert len(line.delivered) == 1
        assert journal.turn() == Turn(journal.turn().state)
    assert [entry["event"] for entry in said][1] == "a message was refused"


def test_a_run_that_ends_while_its_message_comes_ends_nothing_else(home: DeviceHome) -> None:
    line, good = Line(), asked("train")

    def receive() -> Parcel | None:
        line.receive = lambda: None if line.delivered else good  # type: ignore[method-assign]
        raise RunOver("the run of a message is over")

    line.receive = receive  # type: ignore[method-assign]
    with home.journal() as journal, capture_logs():
        runner = on(line, home, journal)
        waited = []

        def wait() -> None:
            waited.append(bool(line.delivered))
            if line.delivered:
                runner._ending.set()

        runner._wait_for_mail = wait  # type: ignore[method-assign]
        runner.run()
    assert len(line.delivered) == 1 and waited == [False, True]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread")])
@pytest.mark.parametrize("fails", [1, 2, 3])
def test_a_step_that_finds_no_memory_leaves_all_as_it_was_and_is_taken_again(
    home: DeviceHome, monkeypatch: pytest.MonkeyPatch, error: Exception, fails: int
) -> None:
    """Whichever it is. What was delivered and could not be noted is brought again, the same to the byte."""
    kept, line = 0, Line(asked("train"))

    def keep(turn: Turn) -> None:
        nonlocal kept
        kept += 1
        if kept == fails:
            line.waiting = [asked("train")] if fails == 1 else []  # which nobody has noted, and which SuperLink has
            raise error
        Journal.keep(journal, turn)

    with home.journal() as journal, capture_logs() as said:
        runner = on(line, home, journal)
        monkeypatch.setattr(journal, "keep", keep)
        runner.run()
        assert len(line.delivered) == (2 if fails == 3 else 1) and len(set(line.delivered)) == 1
        assert [entry["event"] for entry in said].count("a step is taken again later") == 1
        assert journal.turn() == Turn(journal.turn().state)


def test_a_device_takes_part_under_one_ledger(home: DeviceHome) -> None:
    """Another would have forgotten what was spent: of another run, or where the terms name none at all."""
    with home.journal() as journal, capture_logs():
        runner = on(Line(), home, journal)
        reply, state = runner._reply(round_of(runner, 1))
        assert refused(reply) == ""
        runner._keep(Turn(state))
        for changes in ({"ledger": "b" * 64}, {"ledger": ""}):
            assert refused(runner._reply(round_of(runner, 2, run="other", **changes))[0]) == "ledger"
        assert refused(runner._reply(round_of(runner, 2, training=LocalTraining(epochs=10**12)))[0]) == "training"
        assert refused(runner._reply(round_of(runner, 2))[0]) == ""


class Replies:
    """In place of the server's answers to reports: each in turn, and the last one for ever."""

    def __init__(self, *turns: Notice | Exception) -> None:
        self.turns = list(turns)

    def report(self, report: DeviceReport) -> Notice:
        found = self.turns.pop(0) if len(self.turns) > 1 else self.turns[0]
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None: ...


def said_so(node_id: str) -> Notice:
    return Notice(time=1.0, node_id=node_id, counted=0)


@pytest.mark.parametrize(
    ("first", "logged"),
    [
        (RequestRefused("replayed"), "the server refused a request"),
        (ServerUnreachable("no"), "the server cannot be reached"),
        (said_so("7"), "the server does not take what the node sends"),
    ],
)
def test_a_node_that_its_server_does_not_know_asks_until_it_is_told(
    home: DeviceHome, monkeypatch: pytest.MonkeyPatch, first: Notice | Exception, logged: str
) -> None:
    """As after a restart, also where the clocks are apart; and never without a pause."""
    line = Line()
    paused: list[float] = []

    def online() -> None:
        if runner._placement.node_id != "8":
            raise NodeUnknown()

    line.online = online  # type: ignore[method-assign]
    with home.journal() as journal, capture_logs() as said:
        runner = on(line, home, journal)
        monkeypatch.setattr(runner, "_server", Replies(first, said_so("8")))
        monkeypatch.setattr(runner._ending, "wait", paused.append)
        monkeypatch.setattr(line, "renew", lambda node_id: None, raising=False)
        runner.run()
        placement = journal.placement()
    assert placement is not None and placement.node_id == "8"
    assert len(paused) == 1 and paused[0] > 0
    assert logged in said[1]["event"]


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
        reply, _ = on(Line(), home, journal)._reply(asked("train"))
    assert reply.content.config_records[RECORD_REFUSAL]["reason"] == "failed"
    assert "ValueError" in repr(said) and "test_device_answering.py:" in repr(said)
    assert secret not in repr(said) + repr(reply.content)
