"""Whether the server's ledger still holds what the device saw of it."""

from dataclasses import dataclass

from tacit_clients.guard import Memory, Seen, resolved
from tacit_privacy.enrolment import Notice, Placement
from tacit_privacy.errors import LedgerBroken, TermsRefused
from tacit_privacy.ledger.chain import Entry
from tacit_privacy.ledger.rotations import followed


@dataclass(frozen=True, slots=True)
class Standing:
    """What the device remembers now, and why it takes part in nothing; empty: it does."""

    memory: Memory
    doubt: str = ""


def compared(memory: Memory, notice: Notice, placement: Placement) -> Standing:
    """Hold a notice against what was seen. A server that was put back to an older copy, and owns up to it in its
    ledger, is believed again, and remembered as it is now.
    """
    for name, seen in memory.ledgers.items():
        if notice.seen_head == seen.head:
            continue
        if not notice.restored:
            return Standing(memory, "the server's ledger does not hold what was seen of it")
        try:
            entry = Entry.of_line(notice.restored)
            memory = resolved(memory, name, entry, _in_force(entry, notice, placement))
        except (TermsRefused, LedgerBroken) as refused:
            return Standing(memory, str(refused))
        except (KeyError, TypeError, ValueError):
            return Standing(memory, "what the server says of its restored ledger cannot be read")
    return Standing(memory)


def _in_force(entry: Entry, notice: Notice, placement: Placement) -> str:
    """The key that had to sign an entry: the server's may have been rotated since. Raises LedgerBroken."""
    first = placement.first_key or placement.server_key
    if followed(first, notice.rotations) != placement.server_key:
        raise LedgerBroken("the server does not say how its key was rotated")
    return followed(first, [line for line in notice.rotations if Entry.of_line(line).index < entry.index])


def seen_of(memory: Memory) -> Seen:
    """How far the device saw the ledger of its server, which has one for all its runs."""
    return next(iter(memory.ledgers.values()), Seen(0, ""))
