"""Which personal adapter a device answers with: judged on held-out examples, sealed in its store, never clear on disk.

A personal adapter was trained over the shared adapter of one round. When the shared one moves on it is kept, as a
correction on top, and judged again over the new one by the rule for shared adapters: what makes the answers worse is
not used. Until it is judged, answers go without it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydantic import ValidationError

from tacit_clients.device.adapter_state import worse
from tacit_clients.slm.places import HeldAdapter
from tacit_privacy.contract import AdapterSpec, Fact, digest
from tacit_privacy.errors import BadInput

_DAMAGED: Final = "the personal adapter in the device's store cannot be read; the device's next round makes another"


class _Head(Fact):
    """What stands before the vector."""

    spec: AdapterSpec | None
    vector: str  # digest of its bytes
    shared: str
    judged: str


@dataclass(frozen=True, slots=True, eq=False)
class PersonalRecord:
    """What the store holds. ``adapter`` None: the device answers without one."""

    adapter: HeldAdapter | None
    shared: str  # digest of the shared adapter that it was judged over; empty: the model without one
    judged: str  # digest of the one that was trained last, whether it was taken or not

    def to_bytes(self) -> bytes:
        """A line of JSON, then the vector."""
        held = self.adapter
        data = b"" if held is None else _bytes(held)
        spec = None if held is None else held.spec
        return _Head(spec=spec, vector=digest(data), shared=self.shared, judged=self.judged).to_bytes() + b"\n" + data

    @classmethod
    def from_bytes(cls, row: bytes) -> "PersonalRecord":
        """Raises BadInput."""
        line, _, data = row.partition(b"\n")
        try:
            head = _Head.from_bytes(line)
        except ValidationError:
            raise BadInput(_DAMAGED) from None  # its words quote the row
        if digest(data) != head.vector or len(data) != (0 if head.spec is None else 4 * head.spec.dimension):
            raise BadInput(_DAMAGED)
        held = None if head.spec is None else HeldAdapter(head.spec, np.frombuffer(data, "<f4").astype(np.float32))
        return cls(held, head.shared, head.judged)


def judge(
    known: PersonalRecord | None,
    trained: HeldAdapter,
    shared: str,
    score: Callable[[HeldAdapter | None], float | None],
    worse_by: float,
) -> PersonalRecord:
    """Which personal adapter goes with the shared one: the one trained last, the one in use, or none.

    ``known`` itself where neither it nor the shared one has changed since. ``score`` gives the loss of the shared
    adapter with a personal one, or alone; None where there is nothing to score by: then the newest is taken.
    """
    judged = digest(_bytes(trained))
    if known is not None and (known.judged, known.shared) == (judged, shared):
        return known
    in_use = None if known is None else known.adapter
    fits = in_use is not None and in_use.spec == trained.spec and digest(_bytes(in_use)) != judged
    best, chosen = score(None), None
    for candidate in [in_use, trained] if in_use is not None and fits else [trained]:
        loss = score(candidate)
        if not worse(best, loss, worse_by):
            best, chosen = _least(best, loss), candidate
    return PersonalRecord(chosen, shared, judged)


def _least(one: float | None, other: float | None) -> float | None:
    """The smaller loss, so that what several steps lose together is no more than what one may."""
    return other if one is None or other is None or not math.isfinite(one) else min(one, other)


def _bytes(held: HeldAdapter) -> bytes:
    return np.ascontiguousarray(held.vector, dtype="<f4").tobytes()
