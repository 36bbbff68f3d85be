"""Devices of an emulated fleet of which some never come back. A module of its own, so that workers can import it."""

import time

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

from tacit_privacy.contract import (
    RECORD_RECEIPT,
    RECORD_TERMS,
    RECORD_UPDATE,
    Receipt,
    RoundTerms,
    digest,
)
from tacit_simulations.grid import Answer, Call, adopt_identity


def hang_or_answer(every: int, call: Call) -> Answer:
    """Every ``every``-th device hangs; device i of the others sends i in each coordinate."""
    adopt_identity()
    if call.device % every == 0:
        while True:
            time.sleep(0.01)
    payload = call.message.content.config_records[RECORD_TERMS]["payload"]
    assert isinstance(payload, bytes)
    terms = RoundTerms.from_bytes(payload)
    update = np.full(terms.spec.prefix(terms.rank), call.device, np.int32)
    receipt = Receipt(
        run=terms.run,
        round=terms.round,
        device=str(call.device),
        terms=digest(payload),
        update=digest(update.tobytes()),
        participation=1,
    )
    signed = ConfigRecord({"payload": receipt.to_bytes(), "signature": b""})
    content = RecordDict({RECORD_UPDATE: ArrayRecord([update]), RECORD_RECEIPT: signed})
    return Answer(Message(content, reply_to=call.message), call.state)
