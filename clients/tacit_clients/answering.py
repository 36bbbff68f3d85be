"""What every answer to a round has in common, whatever the update comes from. Loads no model and no torch."""

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray
from pydantic import ValidationError

from tacit_privacy.contract import (
    RECORD_ADAPTER,
    RECORD_DESCRIPTION,
    RECORD_RECEIPT,
    RECORD_REFUSAL,
    RECORD_TERMS,
    RECORD_UPDATE,
    AdapterSpec,
    Receipt,
    RoundTerms,
    commitment,
    digest,
)
from tacit_privacy.errors import BadInput, TermsRefused
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.mechanisms.noise import NoiseSource


def asked_terms(content: RecordDict) -> tuple[RoundTerms, bytes, bytes]:
    """The terms of a round, the very bytes that were signed, and the signature. Raises TermsRefused."""
    try:
        record = content.config_records[RECORD_TERMS]
        payload, signature = record["payload"], record["signature"]
        if not isinstance(payload, bytes) or not isinstance(signature, bytes):
            raise BadInput("terms are bytes")
        return RoundTerms.from_bytes(payload), payload, signature
    except (KeyError, BadInput, ValidationError) as error:
        raise TermsRefused("malformed", "the message carries no readable terms") from error


def sent_adapter(content: RecordDict, terms: RoundTerms, spec: AdapterSpec) -> NDArray[np.float32]:
    """The shared adapter that the server sent, (prefix,) float32 and finite. Raises TermsRefused."""
    try:
        (array,) = content.array_records[RECORD_ADAPTER].to_numpy_ndarrays()
    except (KeyError, ValueError) as error:
        raise TermsRefused("adapter", "the message carries no single array of an adapter") from error
    wanted = (spec.prefix(terms.rank),)
    if array.dtype != np.float32 or array.shape != wanted:
        raise TermsRefused("adapter", f"an adapter of {array.dtype} {array.shape} does not have rank {terms.rank}")
    if not np.isfinite(array).all():
        raise TermsRefused("adapter", "the adapter that was sent holds NaN or infinity")
    return np.asarray(array, dtype=np.float32)


def signed_update(
    terms: RoundTerms,
    payload: bytes,
    update: NDArray[np.int32] | NDArray[np.uint8],
    participation: int,
    identity: str,
    key: SigningKey | None,
    noise: NoiseSource,
) -> RecordDict:
    """The reply to a round: an encoded update beside the device's receipt for it. Nothing else is ever in it.

    ``payload``: the bytes of the terms. ``participation``: which one in its run this is, from 1.
    """
    nonce = noise.salt("receipt")
    receipt = Receipt(
        run=terms.run,
        round=terms.round,
        device=identity,
        public_key=key.public if key else "",
        terms=digest(payload),
        update=commitment(nonce, update.tobytes()),
        participation=participation,
        ledger_head=terms.ledger_head,
        ledger_length=terms.ledger_length,
    ).to_bytes()
    signed = key.sign(receipt) if key else b""
    return RecordDict(
        {
            RECORD_UPDATE: ArrayRecord([update]),
            RECORD_RECEIPT: ConfigRecord({"payload": receipt, "signature": signed, "nonce": nonce}),
        }
    )


def description(identity: str, rank: int, spec: AdapterSpec, public_key: str) -> RecordDict:
    """Who a device is: stable identity, the rank of its tier, the adapter it is ready for. Nothing about its data."""
    said = ConfigRecord(
        {"identity": identity, "rank": rank, "spec": spec.to_bytes().decode(), "public-key": public_key}
    )
    return RecordDict({RECORD_DESCRIPTION: said})


def refusal(reason: str) -> RecordDict:
    """What a device says instead of an update: one short stable word."""
    return RecordDict({RECORD_REFUSAL: ConfigRecord({"reason": reason})})
