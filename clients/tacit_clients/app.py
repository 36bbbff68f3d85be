"""The Flower ClientApp: a thin shell that turns messages into calls of pure functions and results into messages."""

import os
from collections.abc import Callable
from dataclasses import dataclass

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from pydantic import ValidationError

from tacit_clients import guard
from tacit_clients.slm.adapters import AdaptedModel
from tacit_clients.training.examples import DeviceData, Task
from tacit_clients.training.local import train
from tacit_privacy.contract import (
    RECORD_ADAPTER,
    RECORD_RECEIPT,
    RECORD_REFUSAL,
    RECORD_TERMS,
    RECORD_UPDATE,
    Receipt,
    RoundTerms,
    digest,
)
from tacit_privacy.errors import BadInput, NonFiniteUpdate, TermsRefused
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.mechanisms.gaussian import clip_to_grid

_MEMORY = "tacit.guard"  # record of Flower's Context.state that the guard owns


@dataclass(frozen=True)
class Device:
    """What a device brings to a round. ``rng`` draws the order of its examples for a round."""

    identity: str
    data: DeviceData
    task: Task
    adapted: AdaptedModel
    rng: Callable[[int], np.random.Generator]
    key: SigningKey | None = None
    server_key: str | None = None


def make_client_app(device_of: Callable[[Context], Device]) -> ClientApp:
    """A ClientApp whose devices come from ``device_of``: a simulation's fleet, or the one device it runs on."""
    app = ClientApp()

    @app.train()
    def train_round(message: Message, context: Context) -> Message:
        try:
            content = answer(message.content, context.state, device_of(context))
        except TermsRefused as refused:
            content = RecordDict({RECORD_REFUSAL: ConfigRecord({"reason": refused.reason})})
        except NonFiniteUpdate as refused:
            content = RecordDict({RECORD_REFUSAL: ConfigRecord({"reason": refused.reason})})
        return Message(content, reply_to=message)

    return app


def answer(content: RecordDict, state: RecordDict, device: Device) -> RecordDict:
    """One round on the device: guard, train, clip, sign. Updates ``state``. No metric, loss or count is in the reply.

    Raises TermsRefused when the guard says no, NonFiniteUpdate when training did not give numbers.
    """
    terms, payload, signature = _terms(content)
    memory = guard.Memory(**state.config_records[_MEMORY]) if _MEMORY in state else guard.Memory()  # type: ignore[arg-type]
    agreed = guard.check(memory, terms, payload, signature, device.adapted.spec, device.server_key)
    start = next(iter(content.array_records[RECORD_ADAPTER].values())).numpy()
    if start.dtype != np.float32 or start.shape != (device.adapted.spec.prefix(terms.rank),):
        raise TermsRefused("adapter", f"an adapter of shape {start.shape} does not have rank {terms.rank}")
    result = train(
        device.adapted, device.data.train, device.task, start, terms.rank, terms.training, device.rng(terms.round)
    )
    grid = clip_to_grid(result.delta, terms.clip_norm, terms.levels)
    receipt = Receipt(
        run=terms.run,
        round=terms.round,
        device=device.identity,
        terms=digest(payload),
        update=digest(grid.tobytes()),
        participation=agreed.participations,
    ).to_bytes()
    signed = device.key.sign(receipt) if device.key else b""
    state[_MEMORY] = ConfigRecord(agreed.as_values())
    return RecordDict(
        {
            RECORD_UPDATE: ArrayRecord([grid]),
            RECORD_RECEIPT: ConfigRecord({"payload": receipt, "signature": signed}),
        }
    )


def _terms(content: RecordDict) -> tuple[RoundTerms, bytes, bytes]:
    try:
        record = content.config_records[RECORD_TERMS]
        payload, signature = record["payload"], record["signature"]
        if not isinstance(payload, bytes) or not isinstance(signature, bytes):
            raise BadInput("terms are bytes")
        return RoundTerms.from_bytes(payload), payload, signature
    except (KeyError, BadInput, ValidationError) as error:
        raise TermsRefused("malformed", "the message carries no readable terms") from error
