"""Who signs for a server now: whoever pinned an earlier key of it follows the ledger's own entries to the newest."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from tacit_privacy.errors import LedgerBroken
from tacit_privacy.ledger.bodies import Rotated, parse
from tacit_privacy.ledger.chain import Entry, Ledger
from tacit_privacy.ledger.keys import verifies
from tacit_privacy.ledger.tables import LedgerRow

_READER = Ledger(lambda _: b"", lambda: 0.0)  # signs nothing
_ROTATES = LedgerRow.payload.contains('"kind":"rotate"')  # narrows the search; the entry itself decides


def rotations(session: Session) -> tuple[str, ...]:
    """The entries by which the ledger was handed over to another key, as lines, the oldest first."""
    positions = session.scalars(select(LedgerRow.position).where(_ROTATES).order_by(LedgerRow.position)).all()
    found = [_READER.entries(session, since=position)[0] for position in positions]
    return tuple(entry.line() for entry in found if entry.kind == "rotate")


def followed(pinned: str, told: Sequence[str]) -> str:
    """The key that signs now, for whoever trusts ``pinned``: the end of an unbroken chain of ``rotations``.

    An entry counts where the key before signed it and the key that it names endorsed it. What was before ``pinned``
    is passed over; nothing at all is told where no key was ever rotated. Pure. Raises LedgerBroken where the chain
    does not begin at ``pinned``, or breaks.
    """
    key, newest, reached = pinned, -1, not told
    for line in told:
        entry, body = _read(line)
        if entry.index <= newest:
            raise LedgerBroken("the rotations of the server's key are out of order; its pinned key stays")
        newest = entry.index
        if entry.holds(key):
            key, reached = _endorsed(entry, body), True
        elif key != pinned:
            raise LedgerBroken(f"entry {entry.index}, which rotates the server's key, is not signed by the key before")
        else:
            reached = body.public_key == pinned
    if not reached:
        raise LedgerBroken("the server's key was rotated, and not by the key that is pinned; that one stays")
    return key


def _endorsed(entry: Entry, body: Rotated) -> str:
    """The key that an entry names, which signed the hash before it: nobody can name a key that he does not hold."""
    if not verifies(body.public_key, bytes.fromhex(entry.previous), bytes.fromhex(body.endorsement)):
        raise LedgerBroken(f"entry {entry.index} names a key that did not endorse it; the server's pinned key stays")
    return body.public_key


def _read(line: str) -> tuple[Entry, Rotated]:
    try:
        entry = Entry.of_line(line)
        body = parse(entry.kind, entry.body)
        if not isinstance(body, Rotated) or len(bytes.fromhex(entry.previous + entry.hash)) != 64:
            raise ValueError
        return entry, body
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LedgerBroken("a rotation of the server's key cannot be read; its pinned key stays") from error
