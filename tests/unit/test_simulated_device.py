"""A device without a model keeps the rules of a real one: what it sends is taken, and what it should refuse it does."""

from dataclasses import replace

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

from tacit_clients.flower_seam import adopt_identity
from tacit_privacy.contract import (
    QUERY_DESCRIBE,
    RECORD_ADAPTER,
    RECORD_DESCRIPTION,
    RECORD_REFUSAL,
    RECORD_TERMS,
    AdapterSpec,
    LinearSpec,
    LocalTraining,
    RoundTerms,
    digest,
)
from tacit_privacy.ledger.keys import SigningKey
from tacit_server.roster import Identity
from tacit_server.rounds import Sent, read_update
from tacit_simulations.evaluation.deployment.simulated import SimulatedDevice

SPEC = AdapterSpec(
    model="none", method="ffa", rank=2, alpha=4.0, seed=1, linear=(LinearSpec(name="w", rows=8, columns=4),)
)
SERVER = SigningKey.generate()


@pytest.fixture
def device() -> SimulatedDevice:
    adopt_identity()
    return SimulatedDevice("device-1", SigningKey.generate(), SERVER.public, SPEC)


def terms(number: int = 1) -> RoundTerms:
    return RoundTerms(
        run="r",
        round=number,
        version=0,
        spec=SPEC,
        rank=SPEC.rank,
        clip_norm=1.0,
        levels=2**16,
        training=LocalTraining(),
        noise_multiplier=1.0,
        participations=2,
        deadline=1e12,
        ledger_head="0" * 64,
        ledger_length=number,
    )


def asked(told: RoundTerms, key: SigningKey = SERVER) -> Message:
    payload = told.to_bytes()
    signed = ConfigRecord({"payload": payload, "signature": key.sign(payload)})
    adapter = ArrayRecord([np.zeros(SPEC.dimension, np.float32)])
    return Message(RecordDict({RECORD_ADAPTER: adapter, RECORD_TERMS: signed}), 7, "train")


def reason(reply: RecordDict) -> object:
    return reply.config_records[RECORD_REFUSAL]["reason"]


def test_its_update_is_taken_and_no_two_are_alike(device: SimulatedDevice) -> None:
    other = replace(device, identity="device-2", rng=np.random.default_rng())
    updates = []
    for one in (device, other):
        told = terms()
        reply = Message(one.reply(asked(told)), reply_to=asked(told))
        sent = Sent(0, SPEC.rank, digest(told.to_bytes()), 1, 0, 1e12, told.ledger_head, told.ledger_length)
        vector, _ = read_update(reply, sent, "r", Identity(one.identity, one.key.public))
        assert vector.shape == (SPEC.dimension,)
        updates.append(vector)
    assert not np.array_equal(updates[0], updates[1])


def test_it_refuses_what_a_device_refuses(device: SimulatedDevice) -> None:
    assert reason(device.reply(asked(terms(), key=SigningKey.generate()))) == "signature"
    assert RECORD_REFUSAL not in device.reply(asked(terms(1)))
    assert reason(device.reply(asked(terms(1)))) == "replayed"
    assert RECORD_REFUSAL not in device.reply(asked(terms(2)))
    assert reason(device.reply(asked(terms(3)))) == "exhausted"


def test_it_says_who_it_is(device: SimulatedDevice) -> None:
    said = device.reply(Message(RecordDict(), 7, QUERY_DESCRIBE)).config_records[RECORD_DESCRIPTION]
    assert (said["identity"], said["public-key"], said["rank"]) == ("device-1", device.key.public, 2)
