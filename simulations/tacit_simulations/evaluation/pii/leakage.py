"""Units that must not leave, looked for in what leaves.

Strict leakage (Columbia's PUPA, without its judge): a unit leaks where its text, case-folded and with white space made
one, still stands verbatim anywhere in the outbound text, inside a longer word too.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

ALREADY_MASKED: Final = "presidio_anonymized"
"""In units that were masked before their set was made: WildChat's own ``<PRESIDIO_ANONYMIZED_...>``."""


def folded(text: str) -> str:
    """``text`` as units are compared."""
    return " ".join(text.casefold().split())


def scorable(text: str, units: Iterable[str]) -> tuple[frozenset[str], int]:
    """The units, folded, that stand verbatim in ``text``, and how many others there are: those no redactor can leak."""
    whole = folded(text)
    wanted = {folded(unit) for unit in units} - {""}
    kept = frozenset(unit for unit in wanted if unit in whole and ALREADY_MASKED not in unit)
    return kept, len(wanted) - len(kept)


def leaked(units: Iterable[str], outbound: str) -> frozenset[str]:
    """Which of ``units``, folded, stand in ``outbound``."""
    whole = folded(outbound)
    return frozenset(unit for unit in units if unit in whole)


@dataclass(slots=True)
class LeakTally:
    """Adds up texts."""

    texts: int = 0  # with at least one unit that is scored
    leaking: int = 0  # of these, with at least one that leaked
    units: int = 0
    leaks: int = 0
    excluded: int = 0  # units that do not stand verbatim in their text, or were masked before

    def add(self, text: str, units: Iterable[str], outbound: str) -> None:
        """One text and what left of it."""
        kept, excluded = scorable(text, units)
        gone = leaked(kept, outbound)
        self.excluded += excluded
        self.texts += bool(kept)
        self.leaking += bool(gone)
        self.units += len(kept)
        self.leaks += len(gone)

    def report(self) -> dict[str, Any]:
        """As commands print it."""
        return {
            "strict": self.leaks / self.units if self.units else None,
            "any_leak": self.leaking / self.texts if self.texts else None,
            "leaked": self.leaks,
            "n": self.units,
            "texts": self.texts,
            "excluded": self.excluded,
        }
