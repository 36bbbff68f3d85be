"""What a round leaves behind, and how a reply is judged."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import Message
from numpy.typing import NDArray

from tacit_privacy.contract import RECORD_RECEIPT, RECORD_REFUSAL, RECORD_UPDATE, Receipt, commitment
from tacit_privacy.errors import UpdateRefused
from tacit_privacy.ledger.keys import PublicKeys
from tacit_privacy.ledger.receipts import SignedReceipt
from tacit_server.roster import Identity


@dataclass
class RoundRecord:
    """One round as the server saw it: counts, public constants and what was released, noised with the adapter. No loss,
    metric or update of any device.
    """

    round: int
    started: float  # server clock, seconds
    finished: float = 0.0
    sampled: int = 0
    completed: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    bytes_up: int = 0
    bytes_down: int = 0
    epsilon: float | None = None  # spent after this round; None: no guarantee
    noise_to_clip: float = 0.0
    released: bool = False
    clip_norm: float = 0.0  # what updates were clipped to
    # released statistics; None where the round has none. Noise can carry them out of their range.
    within_clip: float | None = None  # share of updates that the clip did not shorten
    released_loss: float | None = None  # of the adapter as it was sent, on devices' own held-out examples
    released_metric: float | None = None
    accepted: tuple[int, ...] = ()  # device numbers, in order of arrival
    # buffered rounds: age of the updates that counted, in server steps; of version numbers alone, so public
    staleness: float | None = None  # mean
    staleness_max: int | None = None

    def tell(self, statistics: Mapping[str, float]) -> None:
        """Take down what was released beside the adapter."""
        self.within_clip = statistics.get("within_clip")
        self.released_loss, self.released_metric = statistics.get("loss"), statistics.get("metric")

    def drop(self, reason: str, count: int = 1) -> None:
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count


@dataclass(frozen=True, slots=True)
class Sent:
    """A message on its way: to whom, under which terms, until when."""

    device: int
    rank: int
    terms: str  # digest of the terms
    round: int
    version: int  # of the adapter that was sent
    deadline: float
    ledger_head: str  # that the device was shown
    ledger_length: int


def read_update(reply: Message, sent: Sent, run: str, of: Identity) -> tuple[NDArray[Any], SignedReceipt]:
    """The update vector and the receipt of a reply. Raises UpdateRefused with a reason word; never anything else.

    The receipt must name this run, this round, this device, these terms and the very bytes that came; where the device
    is known by a key, it must name that key and be signed with it.
    """
    if reply.has_error():
        raise UpdateRefused("failed", f"Flower error {reply.error.code}")
    content = reply.content
    if RECORD_REFUSAL in content:
        reason = str(content[RECORD_REFUSAL].get("reason", ""))
        raise UpdateRefused("refused", reason[:40])
    try:
        arrays = list(content.array_records[RECORD_UPDATE].values())
        told = content.config_records[RECORD_RECEIPT]
        parts = [part for name in ("payload", "signature", "nonce") if isinstance(part := told[name], bytes)]
        if len(arrays) != 1 or len(parts) != 3:
            raise UpdateRefused("malformed", "an update is one array beside one receipt")
        payload, signature, nonce = parts
        vector: NDArray[Any] = arrays[0].numpy()
        receipt = Receipt.from_bytes(payload)
    except UpdateRefused:
        raise
    except Exception as error:  # a device chose these bytes: whatever reading them raises is its own affair
        raise UpdateRefused("malformed", type(error).__name__) from error
    if not isinstance(vector, np.ndarray):  # bytes of a zip archive read as one
        raise UpdateRefused("malformed", "an update is an array")
    if receipt.to_bytes() != payload:
        raise UpdateRefused("receipt", "the receipt is not in its one canonical form")
    if (receipt.run, receipt.round, receipt.terms) != (run, sent.round, sent.terms):
        raise UpdateRefused("receipt", "the receipt is for other terms")
    if (receipt.ledger_head, receipt.ledger_length) != (sent.ledger_head, sent.ledger_length):
        raise UpdateRefused("receipt", "the receipt echoes another ledger")
    if len(nonce) != _NONCE or receipt.update != commitment(nonce, np.ascontiguousarray(vector).tobytes()):
        raise UpdateRefused("receipt", "the receipt is for another update")
    if (receipt.device, receipt.public_key) != (of.name, of.public_key):
        raise UpdateRefused("receipt", "the receipt is another device's")
    if of.public_key and not _KEYS.verifies(of.public_key, payload, signature):
        raise UpdateRefused("receipt", "the receipt is not signed by its device")
    return vector, SignedReceipt(payload, signature if of.public_key else b"")


_KEYS = PublicKeys()
_NONCE = 32  # bytes
