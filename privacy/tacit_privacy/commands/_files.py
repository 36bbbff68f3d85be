"""The files that `tacit audit` reads: a ledger, its receipts, a public key."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tacit_privacy.errors import BadInput

STDIN = Path("-")
_HEX = r"[0-9a-fA-F]{64}"


def head(witness: str | None) -> str | None:
    """The head that ``--witness`` names, in lower case. Raises BadInput."""
    if witness is not None and not re.fullmatch(_HEX, witness):
        raise BadInput("--witness is not a head of 64 hexadecimal digits; give one that an earlier check printed")
    return witness.lower() if witness else None


def public_key(path: Path) -> str:
    """The public key in a file. Raises BadInput."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    if not re.fullmatch(_HEX, text):
        raise BadInput(f"{path} does not hold a public key of 64 hexadecimal digits; give the run's ledger.pub")
    return text.lower()


def receipts_beside(ledger: Path) -> Path:
    """The receipts that stand beside a ledger. Raises BadInput."""
    if ledger == STDIN:
        raise BadInput("--receipts reads receipts.jsonl beside the ledger; name the ledger's file instead of -")
    path = ledger.with_name("receipts.jsonl")
    if not path.is_file():
        raise BadInput(f"there is no {path}; a run whose roster is sealed keeps its receipts to itself")
    return path


def lines_of(path: Path) -> Iterator[str]:
    """One entry at a time: a ledger of any length is never held whole. Raises BadInput, while it is read."""
    try:
        if path == STDIN:
            yield from sys.stdin
            return
        with path.open(encoding="utf-8") as file:
            yield from file
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError | UnicodeDecodeError) -> BadInput:
    why = (error.strerror or "it cannot be opened").lower() if isinstance(error, OSError) else "it is not UTF-8 text"
    return BadInput(f"cannot read {path}: {why}; name the ledger.jsonl and ledger.pub that a run left")
