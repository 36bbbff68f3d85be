"""Spans that were found beside spans that are marked: hits, misses and extras by type, and F2.

A marked span is hit where found spans of its type cover at least half of its characters; a found span is extra where
marked ones of its type cover less than half of its own, so a mask over everything is extra. Sets cut an address into
number, street and suite or mark it whole, and neither is an error of who finds it the other way.

Four more criteria stand beside this one: Presidio's types, under which an address is a location; any type, which is
what masking needs; one found span for one marked, alike by half of what both cover; and the exact bounds.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Span = tuple[int, int, str]
"""Start, end, type; offsets in code points."""

OVERLAP: Final = 0.5
BETA: Final = 2.0  # recall weighs twice as much as precision: what is missed leaves, what is extra costs an answer

_ALIASES: Final[Mapping[str, str]] = {
    "CITY": "LOCATION",
    "CREDIT_CARD_NUMBER": "CREDIT_CARD",
    "DATE": "DATE_TIME",
    "DATE_OF_BIRTH": "DATE_TIME",
    "DOMAIN_NAME": "URL",
    "EMAIL": "EMAIL_ADDRESS",
    "FAC": "LOCATION",
    "GPE": "LOCATION",
    "IBAN": "IBAN_CODE",
    "IP": "IP_ADDRESS",
    "LOC": "LOCATION",
    "MRN": "MEDICAL_RECORD",
    "NATIONALITY": "NRP",
    "NORP": "NRP",
    "ORG": "ORGANIZATION",
    "ORGANISATION": "ORGANIZATION",
    "PER": "PERSON",
    "PERSONAL_URL": "URL",
    "PHONE": "PHONE_NUMBER",
    "PREFIX": "TITLE",
    "PUBLIC_ORGANIZATION": "ORGANIZATION",
    "PUBLIC_PLACE": "LOCATION",
    "SSN": "US_SSN",
    "STREET_ADDRESS": "ADDRESS",
    "TIME": "DATE_TIME",
    "ZIP": "ZIP_CODE",
}


def canonical(type: str) -> str:
    """The one name under which types of several vocabularies are compared; a name that is not known stays."""
    return _ALIASES.get(type.upper(), type.upper())


def shared(one: Span, other: Span) -> float:
    """Intersection over union of two spans' characters."""
    common = min(one[1], other[1]) - max(one[0], other[0])
    if common <= 0:
        return 0.0
    return common / (one[1] - one[0] + other[1] - other[0] - common)


def covered(span: Span, others: Iterable[Span]) -> bool:
    """Whether ``others`` together cover at least half of ``span``."""
    inside = {
        at for start, end, _ in others for at in range(max(start, span[0]), min(end, span[1]))
    }  # a set, since spans may lie over each other
    return len(inside) >= OVERLAP * (span[1] - span[0])


Hits = tuple[set[int], set[int]]
"""Indices of the marked spans that were hit and of the found ones that are no extras."""


def _by_cover(name: Callable[[str], str]) -> Callable[[Sequence[Span], Sequence[Span]], Hits]:
    """Cover by spans whose types have the same ``name``."""

    def hits(gold: Sequence[Span], found: Sequence[Span]) -> Hits:
        def of(span: Span, others: Sequence[Span]) -> bool:
            return covered(span, (other for other in others if name(other[2]) == name(span[2])))

        return {i for i, g in enumerate(gold) if of(g, found)}, {j for j, f in enumerate(found) if of(f, gold)}

    return hits


def _by_pairs(least: float) -> Callable[[Sequence[Span], Sequence[Span]], Hits]:
    """Pairs of one type that share at least ``least`` of what they cover, each span in one pair; the closest first."""

    def hits(gold: Sequence[Span], found: Sequence[Span]) -> Hits:
        alike = [(shared(g, f), -i, -j) for i, g in enumerate(gold) for j, f in enumerate(found) if g[2] == f[2]]
        used: Hits = (set(), set())
        for share, i, j in sorted(alike, reverse=True):
            if share >= least and -i not in used[0] and -j not in used[1]:
                used[0].add(-i)
                used[1].add(-j)
        return used

    return hits


def presidio_type(type: str) -> str:
    """The type as Presidio's evaluation has it: addresses are locations."""
    return "LOCATION" if type == "ADDRESS" else type


CRITERIA: Final[Mapping[str, Callable[[Sequence[Span], Sequence[Span]], Hits]]] = {
    "overlap": _by_cover(lambda type: type),
    "presidio_types": _by_cover(presidio_type),
    "any_type": _by_cover(lambda type: ""),
    "one_to_one": _by_pairs(OVERLAP),
    "exact": _by_pairs(1.0),
}


@dataclass(frozen=True, slots=True)
class Counts:
    """Marked spans that were hit and that were missed; found ones that hit nothing."""

    hits: int = 0
    missed: int = 0
    extra: int = 0

    def f(self, beta: float = BETA) -> float | None:
        """F-measure; None where there was nothing to find and nothing was found."""
        weight = beta * beta
        whole = (1 + weight) * self.hits + weight * self.missed + self.extra
        return (1 + weight) * self.hits / whole if whole else None

    def row(self) -> dict[str, Any]:
        """As commands print it."""
        found, marked = self.hits + self.extra, self.hits + self.missed
        return {
            "f2": self.f(),
            "precision": self.hits / found if found else None,
            "recall": self.hits / marked if marked else None,
            "hits": self.hits,
            "missed": self.missed,
            "extra": self.extra,
        }


class SpanTally:
    """Adds up texts.

    A set marks some types and not others, so a found span of a type that it does not mark is no error: ``marks`` names
    the types of the text's source, None stands for those that occur anywhere in what was added.
    """

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str]] = Counter()  # criterion, type, what happened
        self._open: Counter[tuple[str, str]] = Counter()  # extras of texts without ``marks``
        self._seen: set[str] = set()

    def add(self, gold: Iterable[Span], found: Iterable[Span], marks: frozenset[str] | None) -> None:
        """One text. Types may be of any vocabulary."""
        gold = [(start, end, canonical(type)) for start, end, type in gold]
        found = [(start, end, canonical(type)) for start, end, type in found]
        known = None if marks is None else {canonical(type) for type in marks}
        self._seen |= {type for _, _, type in gold}
        for name, compare in CRITERIA.items():
            hits, used = compare(gold, found)
            self._counts.update((name, type, "hits" if i in hits else "missed") for i, (_, _, type) in enumerate(gold))
            extra = [type for j, (_, _, type) in enumerate(found) if j not in used]
            if known is None:
                self._open.update((name, type) for type in extra)
            else:
                self._counts.update((name, type, "extra") for type in extra if type in known)

    def counts(self, criterion: str, type: str | None = None) -> Counts:
        """Of one type, or of all together (micro)."""
        total = Counter({what: 0 for what in ("hits", "missed", "extra")})
        for (name, kind, what), count in self._counts.items():
            if name == criterion and type in (None, kind):
                total[what] += count
        for (name, kind), count in self._open.items():
            if name == criterion and kind in self._seen and type in (None, kind):
                total["extra"] += count
        return Counts(total["hits"], total["missed"], total["extra"])

    def report(self) -> dict[str, Any]:
        """Every criterion over all types, and overlap by type."""
        by_type = {type: self.counts("overlap", type).row() for type in sorted(self._seen)}
        return {name: self.counts(name).row() for name in CRITERIA} | {"by_type": by_type}
