"""What a device sends that trained nothing: a valid update and its receipt, without a model."""

from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from numpy.typing import NDArray

from tacit_privacy.contract import RECORD_RECEIPT, RECORD_TERMS, RECORD_UPDATE, Receipt, RoundTerms, digest


def terms_of(message: Message) -> RoundTerms:
    """The terms that came with a message."""
    return RoundTerms.from_bytes(_payload(message))


def update_for(message: Message, device: object, vector: NDArray[Any]) -> RecordDict:
    """``vector`` beside the receipt for it, unsigned."""
    terms = terms_of(message)
    receipt = Receipt(
        run=terms.run,
        round=terms.round,
        device=str(device),
        terms=digest(_payload(message)),
        update=digest(vector.tobytes()),
        participation=1,
        ledger_head=terms.ledger_head,
        ledger_length=terms.ledger_length,
    )
    signed = ConfigRecord({"payload": receipt.to_bytes(), "signature": b""})
    return RecordDict({RECORD_UPDATE: ArrayRecord([vector]), RECORD_RECEIPT: signed})


def _payload(message: Message) -> bytes:
    payload = message.content.config_records[RECORD_TERMS]["payload"]
    assert isinstance(payload, bytes)
    return payload
