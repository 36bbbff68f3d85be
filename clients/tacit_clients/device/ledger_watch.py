"""Whether the server's ledger still holds what the device saw of it."""

from dataclasses import dataclass

from tacit_clients.guard import Memory, Seen, resolved
from tacit_privacy.enrolment import Notice
from tacit_privacy.errors import TermsRefused
from tacit_privacy.ledger.chain import Entry


@dataclass(frozen=True, slots=True)
class Standing:
    """What the device remembers now, and why it takes part in nothing; empty: it does."""

    memory: Memory
    doubt: str = ""


def compared(memory: Memory, notice: Notice, server_key: str) -> Standing:
    """Hold a notice against what was seen. A server that was put back to an older copy, and owns up to it in its
    ledger, is believed again, and remembered as it is now.
    """
    for name, seen in memory.ledgers.items():
        if notice.seen_head == seen.head:
            continue
        if not notice.restored:
            return Standing(memory, "the server's ledger does not hold what was seen of it")
        try:
            memory = resolved(memory, name, Entry.of_line(notice.restored), server_key)
        except TermsRefused as refused:
            return Standing(memory, str(refused))
        except (KeyError, TypeError, ValueError):
            return Standing(memory, "what the server says of its restored ledger cannot be read")
    return Standing(memory)


def seen_of(memory: Memory) -> Seen:
    """How far the device saw the ledger of its server, which has one for all its runs."""
    return next(iter(memory.ledgers.values()), Seen(0, ""))
