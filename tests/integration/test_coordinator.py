"""The round loop over real Flower messages: bad devices cost themselves, never the round; a resumed run is the same."""

import io
import json
import math
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from numpy.typing import NDArray
from replies import terms_of, update_for

from tacit_privacy.accounting.budget import Budget
from tacit_privacy.accounting.events import Adjacency, Correlation
from tacit_privacy.accounting.policy import BudgetPolicy
from tacit_privacy.contract import (
    RECORD_RECEIPT,
    RECORD_REFUSAL,
    RECORD_UPDATE,
    AdapterSpec,
    Bits,
    LinearSpec,
    LocalTraining,
)
from tacit_privacy.ledger.chain import Ledger
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.ledger.verify import verify
from tacit_privacy.mechanisms.coding import Coding, update_bytes
from tacit_privacy.mechanisms.correlated import CorrelatedNoise
from tacit_privacy.mechanisms.joint import JointSum
from tacit_privacy.mechanisms.noise import SeededNoise
from tacit_server.buffered import BufferedCoordinator
from tacit_server.charging import NoBudget
from tacit_server.config import FederationConfig, PrivacyConfig
from tacit_server.coordinator import Coordinator, Job
from tacit_server.planning import begun_for
from tacit_server.store import Store
from tacit_simulations.clock import VirtualClock
from tacit_simulations.engines import RuntimeConfig, make_engine
from tacit_simulations.fleet.config import FleetConfig
from tacit_simulations.fleet.dispatch import Work
from tacit_simulations.fleet.emulator import Emulator
from tacit_simulations.fleet.roster import FleetRoster
from tacit_simulations.grid import Answer, Call, FleetGrid

SPEC = AdapterSpec(model="m", method="ffa", rank=2, alpha=2, seed=1, linear=(LinearSpec(name="w", rows=8, columns=4),))
KEY = SigningKey.simulated(3)
FLEET = FleetConfig(devices=120, mix={"mini-pc-n150": 1.0}, crash_rate=0.0, require_idle=False, require_charging=False)


def honest(call: Call) -> RecordDict:
    """The update of device i points along coordinate i: sums tell who is in them."""
    terms = terms_of(call.message)
    update = np.zeros(SPEC.prefix(terms.rank), np.float32)
    update[call.device % len(update)] = 5.0
    coding, noise = Coding(terms.bits, terms.quantum, terms.levels), SeededNoise(1, call.device, terms.round)
    sent = coding.encode(update, terms.clip_norm, np.zeros(0, np.int32), noise)
    return update_for(call.message, call.device, sent)


def device(fault: str, call: Call) -> Answer:
    """Every third device has ``fault``; the others are honest."""
    content = honest(call)
    if call.device % 3 == 0:
        content = FAULTS[fault](call, content)
    return Answer(Message(content, reply_to=call.message), call.state)


def swapped(vector: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[Call, RecordDict], RecordDict]:
    """The honest reply with another vector and a receipt for it."""

    def change(call: Call, content: RecordDict) -> RecordDict:
        before = next(iter(content.array_records[RECORD_UPDATE].values())).numpy()
        return update_for(call.message, call.device, vector(before))

    return change


def raises(call: Call, content: RecordDict) -> RecordDict:
    raise RuntimeError("a device's own trouble")


def another_receipt(call: Call, content: RecordDict) -> RecordDict:
    content[RECORD_RECEIPT] = update_for(call.message, call.device, np.zeros(16, np.int32))[RECORD_RECEIPT]
    return content


def bytes_of(data: bytes) -> Callable[[Call, RecordDict], RecordDict]:
    """The honest reply with ``data`` where the serialised array was."""

    def change(call: Call, content: RecordDict) -> RecordDict:
        array = Array(dtype="int32", shape=(16,), stype="numpy.ndarray", data=data)
        content[RECORD_UPDATE] = ArrayRecord({"0": array})
        return content

    return change


def zipped() -> bytes:
    """A valid archive of one array."""
    file = io.BytesIO()
    np.savez(file, np.zeros(16, np.int32))
    return file.getvalue()


ENDLESS = "{'descr': '<i4', 'fortran_order': False, 'shape': (1125899906842624,), }"
FAULTS: dict[str, Callable[[Call, RecordDict], RecordDict]] = {
    "raises": raises,
    "nan": swapped(lambda v: np.full(len(v), math.nan, np.float32)),
    "shape": swapped(lambda v: v[:-1]),
    "dtype": swapped(lambda v: v.astype(np.int64)),
    "norm": swapped(lambda v: np.full(len(v), 2**30, np.int32)),
    "zeros": swapped(lambda v: np.zeros_like(v)),
    "elsewhere": swapped(lambda v: np.roll(v, 3)),
    "empty": lambda call, content: RecordDict(),
    "refusal": lambda call, content: RecordDict({RECORD_REFUSAL: ConfigRecord({"reason": "exhausted"})}),
    "receipt": another_receipt,
    "infinity": swapped(lambda v: np.full(len(v), math.inf, np.float32)),
    "cut zip": bytes_of(b"PK\x03\x04x"),
    "zip": bytes_of(zipped()),
    "endless": bytes_of(b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + ENDLESS.ljust(117).encode() + b"\n"),
    "unbalanced": bytes_of(b"\x93NUMPY\x01\x00" + (8).to_bytes(2, "little") + b"{'descr'"),
    "nothing": bytes_of(b""),
    "code": swapped(lambda v: np.full(len(v), 0x88, np.uint8)),
    "largest codes": swapped(lambda v: np.full(len(v), 0x77, np.uint8)),
}
REASONS = {
    "raises": "failed",
    "nan": "non_finite",
    "shape": "wrong_shape",
    "dtype": "wrong_dtype",
    "norm": "norm",
    "empty": "malformed",
    "refusal": "refused",
    "receipt": "receipt",
    "infinity": "non_finite",
    "cut zip": "malformed",
    "zip": "malformed",
    "endless": "malformed",
    "unbalanced": "malformed",
    "nothing": "malformed",
}


class Killed(BaseException):
    """What a SIGKILL is to a process: nothing below may catch it."""


def run(
    folder: Path,
    fault: str = "zeros",
    rounds: int = 2,
    private: bool = True,
    kill: Callable[[str], None] | None = None,
    policy: Literal["sync", "buffered"] = "sync",
    grid_type: type[FleetGrid] = FleetGrid,
    sealed: bool = False,
    replay: bool = True,
    guarantee: dict[str, Any] | None = None,
    bits: Bits = 32,
    epsilon: float | None = None,
) -> tuple[NDArray[np.float64], list[dict[str, Any]], list[str]]:
    """One coordinator over an emulated fleet: adapter, round records and ledger lines."""
    store, clock = Store(f"sqlite:///{folder / 'run.db'}"), VirtualClock(FLEET.start)
    emulator = Emulator.of(1, FLEET, Work(64.0, 64.0, 1e6, 8.0, 1e6))
    mechanism = JointSum(1.0, 0.6 if private else 0.0)
    privacy = PrivacyConfig.model_validate(
        {"enabled": private, "sampling": "poisson" if sealed else "fixed"} | (guarantee or {})
    )
    if privacy.noise == "correlated":
        correlated = CorrelatedNoise(Correlation(bands=privacy.reach, rounds=rounds))
        mechanism = JointSum(1.0, 0.6, correlated=correlated)
    ledger = Ledger(KEY.sign, clock.now)
    allowed = BudgetPolicy(
        epsilon=epsilon or (8.0 if guarantee is None else 100.0),
        delta=1e-2,
        participations=(guarantee or {}).get("participations", 1),
        adjacency=Adjacency.ZERO_OUT,
        roster_sealed=sealed,
        population=FLEET.devices,
    )
    begun = begun_for("test", "0" * 64, mechanism, SPEC.dimension, SeededNoise(5))
    budget = Budget(allowed, ledger, begun, SeededNoise(5), replay)
    job = Job(
        run="test",
        spec=SPEC,
        training=LocalTraining(),
        federation=FederationConfig(
            rounds=rounds,
            cohort=24,
            over_selection=1.25,
            deadline_s=900,
            minimum_share=0.25,
            policy=policy,
            update_bits=bits,
        ),
        privacy=privacy,
        initial=np.zeros(SPEC.dimension, np.float32),
        config_digest="0" * 64,
        seed=5,
    )
    with make_engine(RuntimeConfig(engine="inline")) as engine:
        grid = grid_type(emulator, clock, engine, partial(device, fault))
        charging = budget if private else NoBudget()
        coordinator = (BufferedCoordinator if policy == "buffered" else Coordinator)(
            job, grid, clock, FleetRoster(emulator, 2), mechanism, charging, SeededNoise(5), store, KEY
        )
        if kill is not None:
            install(kill, coordinator, grid, charging, store)
        try:
            server = coordinator.run()
        finally:
            with store.begin() as session:
                lines = [entry.line() for entry in ledger.entries(session)]
            records = store.rounds()
            store.close()
    return server.adapter, records, lines


class ForgetfulGrid(FleetGrid):
    """Cannot send every fifth message, and leaves it out of what it returns, as Flower's grids do."""

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return super().push_messages([message for index, message in enumerate(messages) if index % 5])


class DoublingGrid(FleetGrid):
    """Delivers everything twice, and an answer to a message that nobody sent."""

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        for reply in super().pull_messages(message_ids):
            yield from (reply, reply)
            stray = Message(reply.content, reply_to=reply)
            stray.metadata.__dict__["_reply_to_message_id"] = "nobody's"
            yield stray


class DeafGrid(FleetGrid):
    """Can send nothing to anybody."""

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return super().push_messages([])


class HonestlyForgetfulGrid(FleetGrid):
    """Says None for what it could not send, as Flower's HTTP grid does."""

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        batch = list(messages)
        sent = iter(super().push_messages([message for index, message in enumerate(batch) if index % 5]))
        return [next(sent) if index % 5 else None for index in range(len(batch))]  # type: ignore[misc]


def install(kill: Callable[[str], None], coordinator: Coordinator, grid: Any, charging: Any, store: Any) -> None:
    """Let ``kill`` see every boundary of a round."""
    for owner, name in (
        (grid, "push_messages"),
        (charging, "reserve"),
        (charging, "commit"),
        (store, "save"),
        (charging, "close"),
    ):
        before = getattr(owner, name)

        def wrapped(*args: Any, _before: Any = before, _name: str = name, **kwargs: Any) -> Any:
            kill(f"before {_name}")
            found = _before(*args, **kwargs)
            kill(f"after {_name}")
            return found

        setattr(owner, name, wrapped)


@pytest.mark.parametrize("fault", sorted(REASONS))
def test_a_bad_reply_costs_its_sender_not_the_round(tmp_path: Path, fault: str) -> None:
    _, records, lines = run(tmp_path, fault)
    assert len(records) == 2
    for record in records:
        assert record["released"]
        assert record["dropped"].get(REASONS[fault], 0) > 0
        assert all(number % 3 for number in record["accepted"])
        assert record["completed"] + sum(record["dropped"].values()) == record["sampled"]
    assert json.loads(lines[-1])["kind"] == "close"


IN_FEW_BITS = {"shape": "wrong_shape", "dtype": "wrong_dtype", "nan": "wrong_dtype", "largest codes": "norm"}


@pytest.mark.parametrize(("fault", "bits"), [*((fault, 8) for fault in IN_FEW_BITS), ("code", 4)])
def test_a_bad_reply_in_few_bits_costs_its_sender_not_the_round(tmp_path: Path, fault: str, bits: Bits) -> None:
    _, records, _ = run(tmp_path, fault, bits=bits)
    for record in records:
        assert record["released"] and record["dropped"].get(IN_FEW_BITS.get(fault, "codes"), 0) > 0
        assert all(number % 3 for number in record["accepted"])


@pytest.mark.parametrize("policy", ["sync", "buffered"])
@pytest.mark.parametrize("bits", [8, 4])
def test_updates_in_few_bits_are_summed_noised_and_charged_as_whole_ones(
    tmp_path: Path, policy: Literal["sync", "buffered"], bits: Bits
) -> None:
    """The same noise, the same records but for bytes, the same events; and nearly the same adapter."""
    for name in ("whole", "few"):
        (tmp_path / name).mkdir()
    whole, few = run(tmp_path / "whole", policy=policy), run(tmp_path / "few", policy=policy, bits=bits)
    for record, same in zip(few[1], whole[1], strict=True):
        assert record["bytes_up"] == record["completed"] * update_bytes(SPEC.dimension, bits)
        assert same["bytes_up"] == same["completed"] * 4 * SPEC.dimension
        assert record | {"bytes_up": 0} == same | {"bytes_up": 0}
    assert (few[0] != whole[0]).any()
    np.testing.assert_allclose(few[0], whole[0], atol={8: 0.05, 4: 0.2}[bits])
    events = [[json.loads(line)["body"].get("event") for line in lines] for lines in (few[2], whole[2])]
    assert events[0] == events[1]
    assert verify(few[2], KEY.public).problems == []


@pytest.mark.parametrize("policy", ["sync", "buffered"])
def test_a_resumed_run_in_few_bits_is_the_same(tmp_path: Path, policy: Literal["sync", "buffered"]) -> None:
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    seen: list[str] = []

    def kill(where: str) -> None:
        seen.append(where)
        if seen.count("before commit") == 2:
            raise Killed

    whole = run(tmp_path / "whole", rounds=3, policy=policy, bits=4)
    with pytest.raises(Killed):
        run(tmp_path / "cut", rounds=3, policy=policy, bits=4, kill=kill)
    resumed = run(tmp_path / "cut", rounds=3, policy=policy, bits=4)
    assert np.array_equal(resumed[0], whole[0]) and resumed[1:] == whole[1:]


def test_without_privacy_updates_travel_whole(tmp_path: Path) -> None:
    """Nothing says there how far codes would have to reach."""
    _, records, _ = run(tmp_path, rounds=1, private=False, bits=8)
    assert records[0]["bytes_up"] == records[0]["completed"] * 4 * SPEC.dimension


@pytest.mark.parametrize("policy", ["sync", "buffered"])
def test_what_is_delivered_twice_counts_once(tmp_path: Path, policy: Literal["sync", "buffered"]) -> None:
    for name in ("once", "twice"):
        (tmp_path / name).mkdir()
    once = run(tmp_path / "once", policy=policy)
    twice = run(tmp_path / "twice", policy=policy, grid_type=DoublingGrid)
    assert twice[0].tobytes() == once[0].tobytes()
    assert all(record["dropped"]["duplicate"] > 0 for record in twice[1])
    assert [record["accepted"] for record in twice[1]] == [record["accepted"] for record in once[1]]


@pytest.mark.parametrize("boundary", ["before push_messages", "after push_messages", "before commit", "after commit"])
def test_a_crash_of_a_deployment_costs_those_it_had_asked_and_the_run_goes_on(tmp_path: Path, boundary: str) -> None:
    def kill(where: str) -> None:
        if where == boundary:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path, kill=kill, replay=False)
    _, records, lines = run(tmp_path, replay=False)
    assert [(record["released"], record["dropped"].get("lost")) for record in records] == [(False, 30), (True, None)]
    found = verify(lines, KEY.public)
    assert (found.problems, found.state) == ([], "closed")
    kinds = ["open", "run", "reserve", "lost", "reserve", "commit", "close"]
    assert [json.loads(line)["kind"] for line in lines] == kinds
    with closing(sqlite3.connect(tmp_path / "run.db")) as database:
        counted = database.execute("select device, count, newest from participations").fetchall()
        assert database.execute("select * from reserved").fetchall() == []
    lost = {device for device, _, newest in counted if newest == 3}
    assert len(lost) == 30 and all(count == 1 for _, count, _ in counted)
    assert not lost & {device for record in records for device in record["accepted"]}


@pytest.mark.parametrize("replay", [True, False])
def test_a_run_that_the_budget_ended_is_over_however_often_it_is_begun_again(tmp_path: Path, replay: bool) -> None:
    def kill(where: str) -> None:
        if where == "after close":
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path, kill=kill, replay=replay, epsilon=0.01)
    for _ in range(2):
        _, records, lines = run(tmp_path, replay=replay, epsilon=0.01)
        assert (records, [json.loads(line)["kind"] for line in lines]) == ([], ["open", "run", "close"])


def test_zeros_are_an_update_like_any_other(tmp_path: Path) -> None:
    _, records, _ = run(tmp_path, "zeros")
    assert any(number % 3 == 0 for record in records for number in record["accepted"])


def test_without_noise_the_release_is_the_mean_of_clipped_updates(tmp_path: Path) -> None:
    adapter, records, _ = run(tmp_path, "refusal", rounds=1, private=False)
    expected = np.zeros(SPEC.dimension)
    for number in records[0]["accepted"]:
        expected[number % SPEC.dimension] += 1.0 / records[0]["completed"]
    np.testing.assert_allclose(adapter, expected, atol=1e-5)


def test_over_selection_takes_the_first_and_leaves_the_rest(tmp_path: Path) -> None:
    _, records, _ = run(tmp_path, "zeros")
    assert [record["completed"] for record in records] == [24, 24]
    assert all(record["dropped"]["displaced"] == 6 for record in records)


def test_no_device_takes_part_more_often_than_it_may(tmp_path: Path) -> None:
    _, records, _ = run(tmp_path, "zeros", rounds=4)
    accepted = [number for record in records for number in record["accepted"]]
    assert len(accepted) == len(set(accepted))


RESTING = {"participations": 3, "separation": 3}


@pytest.mark.parametrize("policy", ["sync", "buffered"])
def test_a_device_rests_between_two_participations(tmp_path: Path, policy: Literal["sync", "buffered"]) -> None:
    _, records, _ = run(tmp_path, "zeros", rounds=7, policy=policy, guarantee=RESTING)
    rounds: dict[int, list[int]] = {}
    for record in records:
        for number in record["accepted"]:
            rounds.setdefault(number, []).append(record["round"])
    gaps = [later - earlier for known in rounds.values() for earlier, later in pairwise(known)]
    assert gaps and min(gaps) >= 3
    assert max(map(len, rounds.values())) <= 3


def test_who_was_in_a_round_that_a_crash_cut_off_rests_too(tmp_path: Path) -> None:
    """Its release may have happened: the devices in it come back after the pause and not in the round held anew."""

    def kill(where: str) -> None:
        if where == "before commit":
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path, kill=kill, replay=False, guarantee=RESTING)
    with closing(sqlite3.connect(tmp_path / "run.db")) as database:
        ((devices,),) = database.execute("select devices from reserved")
    lost = set(np.frombuffer(devices, dtype=np.int64).tolist())
    _, records, _ = run(tmp_path, rounds=4, replay=False, guarantee=RESTING)
    back = {record["round"]: lost & set(record["accepted"]) for record in records}
    assert lost and not back[1] and not back[2] and not back[3]


CORRELATED = {"participations": 3, "separation": 3, "noise": "correlated"}


def noise_rows(folder: Path) -> NDArray[np.int64]:
    store = Store(f"sqlite:///{folder / 'run.db'}")
    found = store.newest()
    store.close()
    assert found is not None
    return np.asarray(found.arrays["rows"])


@pytest.mark.parametrize("policy", ["sync", "buffered"])
def test_correlated_noise_goes_on_where_a_simulation_was_cut_off(
    tmp_path: Path, policy: Literal["sync", "buffered"]
) -> None:
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    seen: list[str] = []

    def kill(where: str) -> None:
        seen.append(where)
        if seen.count("before commit") == 3:
            raise Killed

    whole = run(tmp_path / "whole", rounds=5, policy=policy, guarantee=CORRELATED)
    with pytest.raises(Killed):
        run(tmp_path / "cut", rounds=5, policy=policy, guarantee=CORRELATED, kill=kill)
    resumed = run(tmp_path / "cut", rounds=5, policy=policy, guarantee=CORRELATED)
    assert np.array_equal(resumed[0], whole[0]) and resumed[1:] == whole[1:]
    rows = noise_rows(tmp_path / "whole")
    assert rows.shape == (2, SPEC.dimension) and rows.all()
    np.testing.assert_array_equal(noise_rows(tmp_path / "cut"), rows)


def test_a_deployment_forgets_noise_that_a_crash_made_doubtful(tmp_path: Path) -> None:
    """What the lost release was noised with is gone, so the next one takes back nothing of the rounds before it."""

    def kill(where: str) -> None:
        if where == "before commit" and (tmp_path / "second").exists():
            raise Killed
        if where == "before commit":
            (tmp_path / "second").touch()

    with pytest.raises(Killed):
        run(tmp_path, rounds=3, replay=False, guarantee=CORRELATED, kill=kill)
    assert noise_rows(tmp_path)[0].all()
    run(tmp_path, rounds=3, replay=False, guarantee=CORRELATED)
    rows = noise_rows(tmp_path)
    assert rows[0].all() and not rows[1].any()  # of round 3, and nothing of those before


def test_a_round_that_releases_nothing_is_a_row_of_zeros(tmp_path: Path) -> None:
    _, records, _ = run(tmp_path, rounds=2, guarantee=CORRELATED, grid_type=DeafGrid)
    assert not any(record["released"] for record in records)
    assert not noise_rows(tmp_path).any()


@pytest.mark.parametrize(
    "boundary", ["before reserve", "after reserve", "after push_messages", "before commit", "after save"]
)
@pytest.mark.parametrize(("policy", "sealed"), [("sync", False), ("buffered", False), ("sync", True)])
def test_a_kill_at_any_boundary_changes_nothing(
    tmp_path: Path, boundary: str, policy: Literal["sync", "buffered"], sealed: bool
) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = run(tmp_path / "whole", rounds=3, policy=policy, sealed=sealed)
    seen: list[str] = []

    def kill(where: str) -> None:
        seen.append(where)
        if seen.count(boundary) == 2 and where == boundary:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path / "cut", rounds=3, kill=kill, policy=policy, sealed=sealed)
    resumed = run(tmp_path / "cut", rounds=3, policy=policy, sealed=sealed)
    assert np.array_equal(resumed[0], whole[0])
    assert resumed[1:] == whole[1:]
    assert leaves(tmp_path / "cut") == leaves(tmp_path / "whole")
    assert len({reservation for reservation, *_ in leaves(tmp_path / "cut")}) == 3


def leaves(folder: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "run.db")) as database:
        return database.execute("select * from receipts order by reservation, position").fetchall()


@pytest.mark.parametrize("grid_type", [ForgetfulGrid, HonestlyForgetfulGrid])
@pytest.mark.parametrize("policy", ["sync", "buffered"])
def test_a_message_that_cannot_be_sent_costs_its_device_only(
    tmp_path: Path, policy: Literal["sync", "buffered"], grid_type: type[FleetGrid]
) -> None:
    _, records, _ = run(tmp_path, rounds=2, policy=policy, grid_type=grid_type)
    assert [record["released"] for record in records] == [True, True]
    assert all(record["dropped"]["unreachable"] >= 6 for record in records)
    assert all(record["completed"] >= 20 for record in records)


def test_a_round_that_reaches_nobody_lasts_until_its_deadline(tmp_path: Path) -> None:
    """Else a server without a connection would be through with all its rounds in an instant."""
    _, records, _ = run(tmp_path, rounds=3, grid_type=DeafGrid)
    assert [record["released"] for record in records] == [False] * 3
    assert [record["finished"] - record["started"] for record in records] == [900.0] * 3


def test_a_record_tells_nothing_that_a_device_knows(tmp_path: Path) -> None:
    """Other updates of the same devices leave the same records, and the same ledger but for what the noise covers."""
    for name in ("zeros", "receipts"):
        (tmp_path / name).mkdir()
    adapter, records, lines = run(tmp_path / "zeros", "zeros")
    other_adapter, others, other_lines = run(tmp_path / "receipts", "elsewhere")
    assert (adapter != other_adapter).any()
    assert records == others
    for one, other in zip(map(json.loads, lines), map(json.loads, other_lines), strict=True):
        for entry in (one, other):
            for name in ("release", "receipts"):
                entry["body"].pop(name, None)
        assert one["body"] == other["body"] and one["time"] == other["time"]


def test_buffered_rounds_use_old_updates_at_a_lower_weight(tmp_path: Path) -> None:
    adapter, records, _ = run(tmp_path, "zeros", rounds=3, private=False, policy="buffered")
    assert all(record["completed"] >= 24 for record in records)
    total = sum(record["completed"] for record in records)
    weighted = float(np.sum(adapter)) * 24
    honest_updates = sum(1 for record in records for number in record["accepted"] if number % 3)
    assert 0 < weighted < honest_updates <= total  # 48 were sent at version 0, and the second buffer holds some of them


def test_a_buffered_round_records_how_old_its_updates_were(tmp_path: Path) -> None:
    """Of version numbers alone: 48 devices start from version 0, and a buffer holds 24."""
    _, records, _ = run(tmp_path, "zeros", rounds=4, policy="buffered")
    assert (records[0]["staleness"], records[0]["staleness_max"]) == (0.0, 0)
    for number, record in enumerate(records):
        assert 0 <= record["staleness"] <= record["staleness_max"] <= number
        steps = record["staleness"] * record["completed"]
        assert steps == pytest.approx(round(steps))
    assert records[1]["staleness"] > 0


def test_rounds_that_close_have_no_age_to_record(tmp_path: Path) -> None:
    _, records, _ = run(tmp_path, "zeros", rounds=1)
    assert (records[0]["staleness"], records[0]["staleness_max"]) == (None, None)


def test_buffered_devices_are_in_one_buffer_once(tmp_path: Path) -> None:
    _, records, _ = run(tmp_path, "raises", rounds=2, policy="buffered")
    accepted = [number for record in records for number in record["accepted"]]
    assert len(accepted) == len(set(accepted))
    assert all(record["dropped"]["failed"] > 0 for record in records)
