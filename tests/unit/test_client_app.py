"""The ClientApp by real Flower messages: what leaves a device, what stays, and how it refuses."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.supercore.object_ref import validate
from numpy.typing import NDArray

from tacit_clients import app as client
from tacit_clients.flower_seam import adopt_identity
from tacit_clients.guard import Floor
from tacit_clients.plain import DATASETS, device_of
from tacit_clients.slm.adapters import AdaptedModel, build_spec, initial_vector
from tacit_clients.slm.models import NANO, load, single_thread
from tacit_clients.training import local
from tacit_clients.training.examples import DeviceData, Example, Task
from tacit_privacy.contract import (
    QUERY_DESCRIBE,
    RECORD_ADAPTER,
    RECORD_RECEIPT,
    RECORD_REFUSAL,
    RECORD_TERMS,
    RECORD_UPDATE,
    AdapterSpec,
    Bits,
    ExampleDp,
    LocalTraining,
    Receipt,
    RoundTerms,
    Statistic,
    commitment,
)
from tacit_privacy.errors import BadInput, TacitError
from tacit_privacy.ledger.keys import SigningKey, verifies
from tacit_privacy.mechanisms.coding import Coding, update_bytes
from tacit_privacy.mechanisms.gaussian import clip_to_grid
from tacit_privacy.mechanisms.noise import SeededNoise
from tacit_privacy.randomness import stream

Values = dict[str, bool | float | int | str]
SERVER, OWN = SigningKey.simulated(1), SigningKey.simulated(2)
DATA = tuple(Example(f"turn the {thing} on", f"{thing}.on()") for thing in ("lamp", "radio", "fan", "oven"))


@pytest.fixture(scope="module")
def adapted() -> Iterator[AdaptedModel]:
    adopt_identity()
    single_thread()
    model = load(NANO)
    adapted = AdaptedModel(model, build_spec(model, "ffa", 4, 8.0, 0, ("q_proj", "v_proj")))
    yield adapted
    adapted.remove()


@pytest.fixture
def device(adapted: AdaptedModel) -> client.Device:
    return client.Device(
        identity="device-7",
        data=DeviceData(DATA[:3], DATA[3:]),
        task=Task.INSTRUCT,
        adapted=adapted,
        rng=lambda number: stream(0, "device", number),
        key=OWN,
        server_key=SERVER.public,
    )


def context() -> Context:
    return Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})


def terms_for(spec: AdapterSpec, **changes: Any) -> RoundTerms:
    values: dict[str, Any] = {
        "run": "r",
        "round": 1,
        "version": 0,
        "spec": spec,
        "rank": 3,
        "clip_norm": 0.5,
        "training": LocalTraining(optimizer="sgd", learning_rate=0.5),
        "participations": 1,
        "deadline": 60.0,
        "ledger_head": "0" * 64,
        "ledger_length": 1,
    }
    return RoundTerms.model_validate(values | changes)


def content_of(terms: RoundTerms, vector: NDArray[Any] | None = None) -> RecordDict:
    payload = terms.to_bytes()
    start = initial_vector(terms.spec)[: terms.spec.prefix(terms.rank)] if vector is None else vector
    record = ConfigRecord({"payload": payload, "signature": SERVER.sign(payload)})
    return RecordDict({RECORD_TERMS: record, RECORD_ADAPTER: ArrayRecord([start])})


def ask(device: client.Device, at: Context, content: RecordDict, kind: str = "train") -> RecordDict:
    reply = client.make_client_app(lambda _: device)(Message(content, dst_node_id=1, message_type=kind), at)
    assert not reply.has_error()
    return reply.content


def refused(device: client.Device, at: Context, content: RecordDict) -> str:
    """The reason; nothing else is in the reply and nothing changes on the device."""
    before = {name: dict(record) for name, record in at.state.items()}
    reply = ask(device, at, content)
    assert list(reply) == [RECORD_REFUSAL]
    assert list(reply[RECORD_REFUSAL]) == ["reason"]
    assert {name: dict(record) for name, record in at.state.items()} == before
    return str(reply.config_records[RECORD_REFUSAL]["reason"])


def test_a_round_gives_one_clipped_vector_and_one_signed_receipt(device: client.Device) -> None:
    at, terms = context(), terms_for(device.adapted.spec)
    reply = ask(device, at, content_of(terms))
    assert sorted(reply) == sorted([RECORD_UPDATE, RECORD_RECEIPT])
    assert not any(isinstance(record, MetricRecord) for record in reply.values())
    (grid,) = reply.array_records[RECORD_UPDATE].to_numpy_ndarrays()
    assert grid.dtype == np.int32
    assert grid.shape == (terms.spec.prefix(3),)
    assert 0 < int((grid.astype(np.int64) ** 2).sum()) <= terms.levels**2
    record = reply.config_records[RECORD_RECEIPT]
    payload, signature, nonce = record["payload"], record["signature"], record["nonce"]
    assert isinstance(payload, bytes) and isinstance(signature, bytes) and isinstance(nonce, bytes)
    assert len(nonce) == 32 and nonce not in payload
    assert verifies(OWN.public, payload, signature)
    assert Receipt.from_bytes(payload) == Receipt(
        run="r",
        round=1,
        device="device-7",
        public_key=OWN.public,
        terms=terms.digest,
        update=commitment(nonce, grid.tobytes()),
        participation=1,
        ledger_head=terms.ledger_head,
        ledger_length=terms.ledger_length,
    )


@pytest.mark.parametrize("bits", [8, 4])
def test_an_update_in_few_bits_stands_for_what_a_whole_one_says(device: client.Device, bits: Bits) -> None:
    """Bytes that the receipt covers to the last, statistics in full, each coordinate within a quantum."""
    seeded = replace(device, noise=lambda number: SeededNoise(1, number))
    plain = terms_for(device.adapted.spec, statistics=STATISTICS)
    length = plain.spec.prefix(3)
    coding = Coding.of(bits, plain.levels, length)
    terms = plain.model_copy(update={"bits": bits, "quantum": coding.quantum})
    (whole,) = ask(seeded, context(), content_of(plain)).array_records[RECORD_UPDATE].to_numpy_ndarrays()
    replies = [ask(seeded, context(), content_of(terms)) for _ in range(2)]
    sent, again = (reply.array_records[RECORD_UPDATE].to_numpy_ndarrays()[0] for reply in replies)
    assert sent.dtype == np.uint8 and len(sent) == update_bytes(length, bits) + 4 * 3
    assert sent.tobytes() == again.tobytes()
    record = replies[0].config_records[RECORD_RECEIPT]
    payload, nonce = record["payload"], record["nonce"]
    assert isinstance(payload, bytes) and isinstance(nonce, bytes)
    assert Receipt.from_bytes(payload).update == commitment(nonce, sent.tobytes())
    found = coding.decode(sent, length, 3).astype(np.int64)
    assert found[length:].tolist() == whole[length:].tolist()
    assert 0 < int((found[:length] ** 2).sum()) <= terms.levels**2
    reach = coding.quantum * (2 ** (bits - 1) - 1)
    shortened = np.clip(whole[:length] * (coding.room(length) / terms.levels), -reach, reach)
    assert np.abs(found[:length] - shortened).max() < coding.quantum + 1


def test_a_coding_that_leaves_nothing_is_refused(device: client.Device) -> None:
    asked = terms_for(device.adapted.spec, bits=4, quantum=2**18)
    assert refused(device, context(), content_of(asked)) == "bits"


def test_a_refused_round_says_one_word_and_changes_nothing(device: client.Device) -> None:
    at, spec = context(), device.adapted.spec
    good = terms_for(spec)
    assert refused(device, at, RecordDict()) == "malformed"
    assert refused(device, at, content_of(terms_for(spec.model_copy(update={"alpha": 1.0})))) == "adapter"
    assert refused(device, at, content_of(good, np.zeros(spec.prefix(2), dtype=np.float32))) == "adapter"
    assert refused(device, at, content_of(good, np.zeros(spec.prefix(3), dtype=np.float64))) == "adapter"
    assert refused(device, at, content_of(good, np.full(spec.prefix(3), np.nan, dtype=np.float32))) == "adapter"
    assert refused(replace(device, rank=2), at, content_of(good)) == "rank"
    assert refused(replace(device, server_key=OWN.public), at, content_of(good)) == "signature"
    ask(device, at, content_of(good))  # none of these counted as a participation
    assert refused(device, at, content_of(terms_for(spec, round=2))) == "exhausted"


def test_a_memory_that_was_tampered_with_refuses_every_round(device: client.Device) -> None:
    at, spec = context(), device.adapted.spec
    ask(device, at, content_of(terms_for(spec, participations=2)))
    kept = at.state.config_records[client.STATE_GUARD]
    forged = str(kept["runs"]).replace('"participations":1', '"participations":0')
    at.state[client.STATE_GUARD] = ConfigRecord({**kept, "runs": forged})
    assert refused(device, at, content_of(terms_for(spec, round=2, participations=2))) == "memory"
    at.state[client.STATE_GUARD] = ConfigRecord({"runs": str(kept["runs"])})
    assert refused(device, at, content_of(terms_for(spec, round=2, participations=2))) == "memory"
    at.state[client.STATE_GUARD] = kept
    ask(device, at, content_of(terms_for(spec, round=2, participations=2)))


def test_the_owners_conditions_refuse_a_round(device: client.Device) -> None:
    asked = content_of(terms_for(device.adapted.spec, noise_multiplier=0.5))
    assert refused(replace(device, floor=Floor(least_noise=1.0)), context(), asked) == "noise"
    assert sorted(ask(device, context(), asked)) == sorted([RECORD_UPDATE, RECORD_RECEIPT])


STATISTICS = (
    Statistic(name="within_clip", low=0.0, high=1.0),
    Statistic(name="loss", low=0.0, high=20.0),
    Statistic(name="metric", low=0.0, high=1.0),
)


def numbers_of(device: client.Device, **changes: Any) -> list[int]:
    """The slots behind the update, and that the update is as without them."""
    at, terms = context(), terms_for(device.adapted.spec, statistics=STATISTICS, **changes)
    (grid,) = ask(device, at, content_of(terms)).array_records[RECORD_UPDATE].to_numpy_ndarrays()
    plain = ask(device, context(), content_of(terms_for(device.adapted.spec, **changes)))
    assert grid[:-3].tobytes() == plain.array_records[RECORD_UPDATE].to_numpy_ndarrays()[0].tobytes()
    assert grid.dtype == np.int32 and not set(at.state) - {client.STATE_GUARD}
    return [int(slot) for slot in grid[-3:]]


def test_statistics_stand_behind_the_update(device: client.Device) -> None:
    levels = terms_for(device.adapted.spec).levels
    within, loss, metric = numbers_of(device, clip_norm=1e6)
    outside, *same = numbers_of(device, clip_norm=1e-6)
    assert (within, outside) == (levels, -levels) and same == [loss, metric]
    known = client._score(
        device, initial_vector(device.adapted.spec)[: device.adapted.spec.prefix(3)], terms_for(device.adapted.spec)
    )
    assert loss / levels * 10 + 10 == pytest.approx(known["loss"], abs=1e-4)
    assert metric == (levels if known["metric"] else -levels)  # one held-out example


def test_a_device_without_numbers_is_in_the_middle_of_every_range(device: client.Device) -> None:
    assert numbers_of(replace(device, data=DeviceData((), ()))) == [0, 0, 0]
    assert numbers_of(replace(device, data=DeviceData(DATA, ())))[1:] == [0, 0]


@pytest.mark.parametrize("examples", [(), DATA])
def test_a_device_without_numbers_contributes_zeros_as_others_contribute(
    device: client.Device, examples: tuple[Example, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal would tell what its data holds, and give its place in a cohort to another device."""
    wild = LocalTraining(optimizer="sgd", learning_rate=1e38, epochs=9)
    own = replace(device, data=DeviceData(examples, ()), personal=client.Personal(rank=1, training=wild))
    at, honest = context(), ask(device, context(), content_of(terms_for(device.adapted.spec)))
    with monkeypatch.context() as lost:  # whether a wild rate ends in NaN or in a flat place is the processor's choice
        lost.setattr(local, "_backward", lambda *arguments: float("nan"))
        reply = ask(own, at, content_of(terms_for(device.adapted.spec, training=wild)))
    assert sorted(reply) == sorted(honest)
    (vector,) = reply.array_records[RECORD_UPDATE].to_numpy_ndarrays()
    assert vector.dtype == np.int32 and not vector.any()
    payload = reply.config_records[RECORD_RECEIPT]["payload"]
    assert isinstance(payload, bytes) and Receipt.from_bytes(payload).participation == 1
    assert client.STATE_PERSONAL not in at.state
    again = ask(device, context(), content_of(terms_for(device.adapted.spec)))
    assert again.array_records[RECORD_UPDATE].to_numpy_ndarrays()[0].tobytes() == (
        honest.array_records[RECORD_UPDATE].to_numpy_ndarrays()[0].tobytes()
    )


@pytest.mark.parametrize("message_type", ["train", QUERY_DESCRIBE])
def test_no_exception_carries_a_devices_words_to_the_server(device: client.Device, message_type: str) -> None:
    """Flower sends the text of what a ClientApp raises."""

    def broken(at: Context) -> client.Device:
        raise KeyError("what Anna said")

    adopt_identity()
    content = content_of(terms_for(device.adapted.spec))
    message = Message(content, dst_node_id=1, message_type=message_type)
    with pytest.raises(TacitError) as failed:
        client.make_client_app(broken)(message, context())
    assert str(failed.value) == "the device failed with KeyError"
    assert failed.value.__cause__ is None and failed.value.__suppress_context__


def test_the_personal_adapter_stays(device: client.Device) -> None:
    """No reply holds it, nor anything else that the device keeps for its owner; the update is as without it."""
    device = replace(device, noise=lambda number: SeededNoise(number))  # the nonce of a receipt, else new every time
    plain = ask(device, context(), content_of(terms_for(device.adapted.spec)))
    training = LocalTraining(learning_rate=0.02, epochs=3)
    own = replace(device, personal=client.Personal(rank=2, training=training), scores=True)
    at = context()
    reply = ask(own, at, content_of(terms_for(device.adapted.spec)))
    (personal,) = at.state.array_records[client.STATE_PERSONAL].to_numpy_ndarrays()
    assert personal.any()
    assert sorted(reply) == sorted([RECORD_UPDATE, RECORD_RECEIPT])
    sent, kept = reply.array_records[RECORD_UPDATE], plain.array_records[RECORD_UPDATE]
    assert sent.to_numpy_ndarrays()[0].tobytes() == kept.to_numpy_ndarrays()[0].tobytes()
    assert dict(reply[RECORD_RECEIPT]) == dict(plain[RECORD_RECEIPT])
    scores = at.state.config_records[client.STATE_SCORES]
    assert set(scores) == {f"{n}_{w}" for n in ("loss", "metric") for w in ("before", "after", "personal")} | {"round"}
    device.adapted.drop_personal()


def test_what_example_level_dp_spent_stays_and_adds_up(device: client.Device) -> None:
    private = ExampleDp(noise_multiplier=1.0, clip_norm=1.0, expected_batch=3)
    training = LocalTraining(optimizer="sgd", learning_rate=0.1, epochs=2, max_steps=2, example_dp=private)
    at = context()
    for number in (1, 2):
        reply = ask(
            device, at, content_of(terms_for(device.adapted.spec, round=number, participations=2, training=training))
        )
        assert sorted(reply) == sorted([RECORD_UPDATE, RECORD_RECEIPT])
    assert dict(at.state.config_records[client.STATE_EXAMPLE_DP]) == {"1.0/1.0": 4}


def test_a_device_describes_itself_and_not_its_data(device: client.Device) -> None:
    reply = ask(replace(device, rank=2), context(), RecordDict(), QUERY_DESCRIBE)
    record = reply.config_records[client.RECORD_DESCRIPTION]
    spec = record["spec"]
    assert isinstance(spec, str)
    assert AdapterSpec.from_bytes(spec.encode()) == device.adapted.spec
    assert (record["identity"], record["rank"], len(record)) == ("device-7", 2, 4)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution that brings a data set, as anybody may install one."""
    (tmp_path / "lamps_data.py").write_text(
        "from types import SimpleNamespace as Source\n"
        "from tacit_clients.training.examples import DeviceData, Example, Task\n"
        "def source(settings, seed, devices):\n"
        "    def device(index):\n"
        "        return DeviceData((Example(f'lamp {index} of {devices}', settings['answer']),), ())\n"
        "    return Source(task=Task.INSTRUCT, labels=(), devices=devices, device=device)\n"
    )
    folder = tmp_path / "lamps_data-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: lamps-data\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[{DATASETS}]\nlamps = lamps_data:source\n")
    monkeypatch.syspath_prepend(str(tmp_path))


def under_flower(**run: Any) -> Context:
    settings: Values = {"data": "lamps", "data-settings": '{"answer": "on"}'}
    settings |= {"adapter-rank": 2, "adapter-targets": "q_proj, v_proj"}
    node: Values = {"partition-id": 3, "num-partitions": 5, "server-key": SERVER.public}
    return Context(run_id=1, node_id=9, node_config=node, state=RecordDict(), run_config=settings | run)


def test_the_app_that_flower_loads_trains_on_an_installed_data_set(installed: None) -> None:
    """Seeded it is reproducible; the pinned key is the node's own and no app configuration replaces it."""
    adopt_identity()
    valid, problem = validate("tacit_clients.app:app")
    assert valid, problem
    query = Message(RecordDict(), dst_node_id=9, message_type=QUERY_DESCRIBE)
    record = client.app(query, under_flower()).content.config_records[client.RECORD_DESCRIPTION]
    assert (record["identity"], record["rank"]) == ("device-3", 2)
    spec = AdapterSpec.from_bytes(str(record["spec"]).encode())
    content = content_of(terms_for(spec, rank=1, noise_multiplier=0.5))
    quiet = client.app(
        Message(content_of(terms_for(spec, rank=1)), dst_node_id=9, message_type="train"), under_flower()
    )
    assert quiet.content.config_records[RECORD_REFUSAL]["reason"] == "noise"  # without any, no device takes part
    sent = [
        client.app(Message(content, dst_node_id=9, message_type="train"), under_flower(seed=4)).content
        for _ in range(2)
    ]
    first, second = (reply.array_records[RECORD_UPDATE].to_numpy_ndarrays()[0] for reply in sent)
    assert first.any()
    assert first.tobytes() == second.tobytes()
    forged = RecordDict(dict(content))
    forged[RECORD_TERMS] = ConfigRecord({"payload": terms_for(spec, rank=1).to_bytes(), "signature": b"0" * 64})
    at = under_flower(**{"server-key": OWN.public})
    reply = client.app(Message(forged, dst_node_id=9, message_type="train"), at).content
    assert reply.config_records[RECORD_REFUSAL]["reason"] == "signature"
    device = device_of(under_flower())
    at = under_flower(seed=4)
    at.node_config["personal-rank"] = 1
    assert device.personal is None and device_of(at).personal is not None
    client.app(Message(content, dst_node_id=9, message_type="train"), at)
    assert client.STATE_PERSONAL in at.state


def test_the_owners_conditions_come_from_the_node_alone(installed: None) -> None:
    at = under_flower(**{"least-noise": 0.0, "most-participations": 99})
    assert device_of(at).floor == Floor(least_noise=1e-3)  # some noise, whatever a server says
    for name, value in (("least-noise", 0.5), ("largest-clip", "2.5"), ("most-participations", 7)):
        at.node_config[name] = value
    assert device_of(at).floor == Floor(0.5, 2.5, 7)
    at.node_config["largest-clip"] = "nan"
    with pytest.raises(BadInput, match="largest-clip is 'nan'"):
        device_of(at)


def test_no_server_chooses_the_noise_that_guards_a_device_against_it(installed: None) -> None:
    """A seed in the app's configuration comes from the server; only the node's own makes noise and coins repeat."""
    asked, own = under_flower(seed=4), under_flower(seed=4)
    own.node_config["simulated-seed"] = 4
    for draw in (
        lambda at: device_of(at).noise(1).discrete_gaussian(1e5, 64, "step"),
        lambda at: device_of(at).noise(1).coins(0.5, 256, "step"),
    ):
        assert (draw(asked) != draw(asked)).any()
        assert (draw(own) == draw(own)).all()


@pytest.mark.parametrize(
    ("run", "named"),
    [({"data": "nowhere"}, "nowhere"), ({"data-settings": "{"}, "JSON"), ({"adapter-method": "dora"}, "dora")],
)
def test_settings_that_mean_nothing_are_named(installed: None, run: dict[str, str], named: str) -> None:
    with pytest.raises(BadInput, match=named):
        device_of(under_flower(**run))


def test_state_is_plain_enough_for_any_store(device: client.Device) -> None:
    at = context()
    ask(device, at, content_of(terms_for(device.adapted.spec)))
    (values,) = (dict(at.state.config_records[name]) for name in at.state)
    assert json.loads(json.dumps(values)) == values


def test_a_simulated_canary_sends_what_it_is_told_to_and_trains_nothing(device: client.Device) -> None:
    terms = terms_for(device.adapted.spec)
    told = stream(3, "told").standard_normal(terms.spec.prefix(terms.rank)).astype(np.float32)
    canary = replace(device, contribution=lambda terms: told * np.float32(terms.round))
    reply = ask(canary, context(), content_of(terms))
    (sent,) = reply.array_records[RECORD_UPDATE].to_numpy_ndarrays()
    assert np.array_equal(sent, clip_to_grid(told, terms.clip_norm, terms.levels))
    assert set(reply) == {RECORD_UPDATE, RECORD_RECEIPT}
