"""The device's own veto: what the server asks is checked against what the device remembers."""

from dataclasses import asdict, dataclass
from typing import Any

from tacit_privacy.contract import AdapterSpec, RoundTerms
from tacit_privacy.errors import TermsRefused
from tacit_privacy.ledger.keys import verifies


@dataclass(frozen=True, slots=True)
class Memory:
    """What a device remembers about a run: plain values, kept in its own store."""

    run: str = ""
    round: int = 0
    participations: int = 0
    ledger_length: int = 0
    ledger_head: str = ""

    def as_values(self) -> dict[str, Any]:
        return asdict(self)


def check(
    memory: Memory, terms: RoundTerms, payload: bytes, signature: bytes, resident: AdapterSpec, server_key: str | None
) -> Memory:
    """Agree to a round, or raise TermsRefused; returns what the device will remember once it has replied.

    Signature by the pinned key; the resident adapter's shape; rounds that only go forward; at most as many
    participations as the first terms promised; a ledger that never shrinks and never changes what it said.
    """
    if server_key is not None and not verifies(server_key, payload, signature):
        raise TermsRefused("signature", "the terms are not signed by the pinned server key")
    if terms.spec != resident or not 1 <= terms.rank <= resident.rank:
        raise TermsRefused("adapter", "the terms describe another adapter than the resident one")
    if not 0 < terms.levels <= 2**26:
        raise TermsRefused("levels", f"a grid of {terms.levels} levels is outside 1 to 2^26")
    known = memory if memory.run == terms.run else Memory(run=terms.run)
    if terms.round <= known.round:
        raise TermsRefused("replayed", f"round {terms.round} is not after round {known.round}")
    if known.participations >= terms.participations:
        raise TermsRefused("exhausted", f"already took part {known.participations} times of {terms.participations}")
    if terms.ledger_length < known.ledger_length:
        raise TermsRefused("rollback", f"the ledger shrank from {known.ledger_length} to {terms.ledger_length} entries")
    if terms.ledger_length == known.ledger_length and known.ledger_head not in ("", terms.ledger_head):
        raise TermsRefused("fork", "the ledger shows another head for the same length")
    return Memory(terms.run, terms.round, known.participations + 1, terms.ledger_length, terms.ledger_head)
