"""A device without a model: it keeps every rule of the protocol and learns nothing, so that only messages are timed."""

import time
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from flwr.app import Message, RecordDict

from tacit_clients import guard
from tacit_clients.answering import asked_terms, description, refusal, sent_adapter, signed_update
from tacit_privacy.contract import QUERY_DESCRIBE, AdapterSpec
from tacit_privacy.errors import TermsRefused, UpdateRefused
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.mechanisms.coding import Coding
from tacit_privacy.mechanisms.noise import SystemNoise

_CHANGE: Final = 1e-3  # of a coordinate, typically


@dataclass
class SimulatedDevice:
    """Terms, signature, adapter and promises are checked as on a real device, and its receipts are real ones.

    ``spec`` stands for the model that it does not have.
    """

    identity: str
    key: SigningKey
    server_key: str
    spec: AdapterSpec
    rng: np.random.Generator = field(default_factory=np.random.default_rng)  # two updates alike would travel once
    memory: guard.Memory = field(default_factory=guard.Memory)

    def reply(self, message: Message) -> RecordDict:
        """What the device says to a message of its server."""
        if message.metadata.message_type == QUERY_DESCRIBE:
            return description(self.identity, self.spec.rank, self.spec, self.key.public)
        try:
            return self._update(message.content)
        except (TermsRefused, UpdateRefused) as refused:
            return refusal(refused.reason)

    def _update(self, content: RecordDict) -> RecordDict:
        terms, payload, signature = asked_terms(content)
        agreed = guard.check(
            self.memory, terms, payload, signature, self.spec, self.server_key, guard.NO_FLOOR, time.time()
        )
        start, noise = sent_adapter(content, terms, self.spec), SystemNoise()
        coding, slots = Coding(terms.bits, terms.quantum, terms.levels), np.zeros(len(terms.statistics), np.int32)
        change = _CHANGE * self.rng.standard_normal(len(start), dtype=np.float32)
        update = coding.encode(change, terms.clip_norm, slots, noise)
        participation = agreed.of(terms.run).participations
        found = signed_update(terms, payload, update, participation, self.identity, self.key, noise)
        self.memory = agreed
        return found
