"""What a device sends that trained nothing: a valid update and its receipt, without a model."""

from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from numpy.typing import NDArray

from tacit_privacy.contract import RECORD_RECEIPT, RECORD_TERMS, RECORD_UPDATE, Receipt, RoundTerms, commitment, digest
from tacit_simulations.fleet.roster import device_key, device_name


def terms_of(message: Message) -> RoundTerms:
    """The terms that came with a message."""
    return RoundTerms.from_bytes(_payload(message))


def update_for(message: Message, device: object, vector: NDArray[Any], seed: int | None = 1) -> RecordDict:
    """``vector`` beside the receipt for it, signed as device number ``device`` of an emulated fleet of ``seed``.

    ``seed`` None: ``device`` is a name, and has no key.
    """
    key = None if seed is None or not isinstance(device, int) else device_key(seed, device)
    name = str(device) if key is None else device_name(int(str(device)))
    terms = terms_of(message)
    receipt = Receipt(
        run=terms.run,
        round=terms.round,
        device=name,
        public_key=key.public if key else "",
        terms=digest(_payload(message)),
        update=commitment(bytes(32), vector.tobytes()),
        participation=1,
        ledger_head=terms.ledger_head,
        ledger_length=terms.ledger_length,
    )
    payload = receipt.to_bytes()
    signed = ConfigRecord({"payload": payload, "signature": key.sign(payload) if key else b"", "nonce": bytes(32)})
    return RecordDict({RECORD_UPDATE: ArrayRecord([vector]), RECORD_RECEIPT: signed})


def _payload(message: Message) -> bytes:
    payload = message.content.config_records[RECORD_TERMS]["payload"]
    assert isinstance(payload, bytes)
    return payload
