"""The device's own veto: what the server asks is checked against what the device remembers."""

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from tacit_privacy.contract import AdapterSpec, RoundTerms, canonical
from tacit_privacy.errors import TermsRefused
from tacit_privacy.ledger.keys import verifies

MOST_LEVELS = 2**26  # squares of grid steps must add up without overflow, see mechanisms.gaussian
CLIPS = (1e-9, 1e9)  # a clip norm outside is a mistake or a trick
MOST_RUNS = 1024  # a server that keeps renaming its run does not fill the device


@dataclass(frozen=True, slots=True)
class RunMemory:
    """What a device remembers of one run."""

    round: int = 0
    participations: int = 0
    limit: int = 0  # the fewest participations that terms of this run ever promised; 0: none seen
    ledger_length: int = 0
    ledger_head: str = ""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a device remembers of every run it took part in: plain values, kept in its own store.

    No run is ever forgotten, so neither re-enrolment nor a detour over another run resets a participation count.
    """

    runs: dict[str, RunMemory] = field(default_factory=dict)

    def of(self, run: str) -> RunMemory:
        return self.runs.get(run, RunMemory())

    def as_values(self) -> dict[str, str]:
        """One JSON text, as Flower's ConfigRecord holds it."""
        return {"runs": canonical({run: asdict(known) for run, known in self.runs.items()}).decode()}

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Self:
        """The inverse of ``as_values``. Raises TermsRefused on a damaged memory, for nobody may guess it."""
        try:
            return cls({run: RunMemory(**known) for run, known in json.loads(values["runs"]).items()})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TermsRefused("memory", "the device's own record of past rounds is damaged; restore it") from error


def check(
    memory: Memory, terms: RoundTerms, payload: bytes, signature: bytes, resident: AdapterSpec, server_key: str | None
) -> Memory:
    """Agree to a round, or raise TermsRefused; returns what the device will remember once it has replied.

    Pure. Checked, in this order: the signature by the pinned key (None: nothing is pinned, for simulations and trials
    alone); the resident adapter's shape; a sane clip; rounds that only go forward; at most as many participations as
    this run ever promised at its strictest; a ledger that never shrinks and never changes what it said.
    """
    if server_key is not None and not verifies(server_key, payload, signature):
        raise TermsRefused("signature", "the terms are not signed by the pinned server key")
    if terms.spec != resident or terms.rank > resident.rank:
        raise TermsRefused("adapter", "the terms describe another adapter than the resident one")
    if terms.levels > MOST_LEVELS:
        raise TermsRefused("levels", f"a grid of {terms.levels} levels is outside 1 to 2^26")
    if not (math.isfinite(terms.clip_norm) and CLIPS[0] <= terms.clip_norm <= CLIPS[1]):
        raise TermsRefused("clip", f"a clip norm of {terms.clip_norm} is outside {CLIPS[0]} to {CLIPS[1]}")
    known = memory.of(terms.run)
    limit = min(known.limit or terms.participations, terms.participations)
    _check_history(known, terms, limit)
    if terms.run not in memory.runs and len(memory.runs) >= MOST_RUNS:
        raise TermsRefused("runs", f"the device already remembers {MOST_RUNS} runs; its owner has to clear old ones")
    after = RunMemory(terms.round, known.participations + 1, limit, terms.ledger_length, terms.ledger_head)
    return Memory({**memory.runs, terms.run: after})


def _check_history(known: RunMemory, terms: RoundTerms, limit: int) -> None:
    if terms.round <= known.round:
        raise TermsRefused("replayed", f"round {terms.round} is not after round {known.round}")
    if known.participations >= limit:
        raise TermsRefused("exhausted", f"already took part {known.participations} times of {limit}")
    if terms.ledger_length < known.ledger_length:
        raise TermsRefused("rollback", f"the ledger shrank from {known.ledger_length} to {terms.ledger_length} entries")
    if terms.ledger_length == known.ledger_length and known.ledger_head not in ("", terms.ledger_head):
        raise TermsRefused("fork", "the ledger shows another head for the same length")
