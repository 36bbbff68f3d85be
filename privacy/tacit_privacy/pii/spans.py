"""Which parts of a text are replaced, so that what replaces them can be told from what stays.

A placeholder is recognised as a whole run of letters, digits and underscores. So a span takes in the rest of the run it
cuts, spans with nothing but such characters between them become one, and input that looks like a placeholder is itself
replaced. What is then restored is exactly what was replaced.
"""

import re
import sys
from bisect import bisect_right
from collections.abc import Collection, Iterable

from tacit_privacy.pii.entities import Entity
from tacit_privacy.pii.pseudonyms import grammar
from tacit_privacy.pii.pseudonyms.people import LINKED_TYPES

_POSSESSIVE = re.compile(r"(?:(?<=\w)['\u2019][sS]|(?<=[sS])['\u2019])$")
_WORD = re.compile(r"[A-Za-z0-9]")


class Runs:
    """The runs of one text."""

    def __init__(self, text: str) -> None:
        self._spans = [run.span() for run in grammar.RUN.finditer(text)]

    def around(self, at: int) -> tuple[int, int] | None:
        """The run that ``text[at]`` belongs to."""
        last = bisect_right(self._spans, (at, sys.maxsize)) - 1
        return self._spans[last] if last >= 0 and self._spans[last][0] <= at < self._spans[last][1] else None

    def cover(self, start: int, end: int) -> bool:
        """Whether nothing but a run is in ``text[start:end]``."""
        run = self.around(start)
        return start >= end or (run is not None and end <= run[1])


def trimmed(text: str, entity: Entity, runs: Runs) -> Entity | None:
    """``entity`` without white space at its ends and without a possessive; None when nothing is left."""
    start, end = max(entity.start, 0), min(entity.end, len(text))
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    if entity.type in LINKED_TYPES:
        possessive = _POSSESSIVE.search(text[start:end])
        if possessive and possessive.start() and runs.around(end) is None:
            end = start + possessive.start()
    return Entity(start, end, entity.type, entity.score) if start < end else None


def widened(text: str, entity: Entity, runs: Runs) -> Entity:
    """``entity`` with the rest of the runs that it cuts, but for underscores at their outer ends."""
    start, end = entity.start, entity.end
    before, after = runs.around(start - 1), runs.around(end)
    if before is not None:
        word = _WORD.search(text, before[0], start)
        start = word.start() if word else start
    if after is not None:
        word = _WORD.search(text[end : after[1]][::-1])
        end = after[1] - word.start() if word else end
    return Entity(start, end, entity.type, entity.score)


def settled(text: str, found: Iterable[Entity]) -> list[Entity]:
    """The spans to replace for what was ``found``: trimmed, widened, apart from each other, sorted."""
    found = list(found)
    if not found:
        return []
    runs = Runs(text)
    spans = [widened(text, span, runs) for span in (trimmed(text, each, runs) for each in found) if span is not None]
    apart: list[Entity] = []
    for span in sorted(spans):
        if apart and runs.cover(apart[-1].end, span.start):
            last = apart.pop()
            span = _joined(last, span)
        apart.append(span)
    return apart


def _joined(one: Entity, other: Entity) -> Entity:
    """One span over both; its type is that of the longer, and never an escape's if there is another."""
    main = max(one, other, key=lambda each: (each.type != grammar.ESCAPED, each.end - each.start, each.score))
    return Entity(min(one.start, other.start), max(one.end, other.end), main.type, max(one.score, other.score))


def look_alikes(text: str, types: Collection[str], fictions: Iterable[str]) -> list[Entity]:
    """What in ``text`` would be taken for a placeholder of one of ``types`` (lower case) or for a surrogate."""
    found = []
    for start, end in grammar.cores(text):
        token = grammar.parse(text[start:end])
        if token is not None and (token.type in types or token.type in grammar.KNOWN_TYPES):
            found.append(Entity(start, end, grammar.ESCAPED, 1.0))
    for fiction in fictions:
        found += [Entity(*span, grammar.ESCAPED, 1.0) for span in grammar.occurrences(text, fiction)]
    return found
