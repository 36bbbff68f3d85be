"""What a pattern is, and how one text is searched for many of them without paying for those that cannot match.

Every pattern here takes time linear in the text: runs are possessive or bounded, and none starts inside a run.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple, Protocol

REACH: Final = (60, 30)  # characters before and after a span in which a context word counts
EXACT: Final = 1.0  # the score of what a check digit or an unmistakable prefix proves
SURE: Final = 0.9  # of what a word beside it explains
LIKELY: Final = 0.75
POSSIBLE: Final = 0.4  # below the default threshold
UNLIKELY: Final = 0.15
_OTHERS: Final = re.compile(r"[^0-9]+")


class Found(NamedTuple):
    """A span of one text, before overlaps are settled."""

    start: int
    end: int
    type: str
    score: float


class View:
    """One text with what prefilters ask about it, each computed once."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def characters(self) -> frozenset[str]:
        """Every character that occurs."""
        return frozenset(self.text)

    @cached_property
    def digits(self) -> int:
        """How many digits there are."""
        return sum(map(self.text.count, "0123456789")) if not self.characters.isdisjoint("0123456789") else 0

    @cached_property
    def lower(self) -> str:
        """In lower case; its offsets may differ from the text's."""
        return self.text.lower()

    def near(self, start: int, end: int, words: re.Pattern[str], reach: tuple[int, int] = REACH) -> bool:
        """Whether one of ``words`` stands within ``reach`` characters before and after the span."""
        before, after = reach
        if words.search(self.text, max(0, start - before), start):
            return True
        limit = end + after
        match = words.search(self.text, end, limit)
        return match is not None and not (match.end() == limit and self.text[limit : limit + 1].isalnum())  # cut short


class Finder(Protocol):
    """Finds one kind of thing in a text."""

    def may_be_in(self, view: View) -> bool:
        """False where it would find nothing."""
        ...

    def find(self, view: View) -> Iterator[Found]:
        """Every occurrence, with a score above 0."""
        ...


Check = Callable[[View, re.Match[str]], float]


@dataclass(frozen=True, slots=True)
class Shape:
    """A type's pattern; the group ``v``, where there is one, is the entity, else the whole match.

    ``digits``, ``needs`` (one of these characters) and ``words`` (one of these substrings, lower case) must be in a
    text for it to be searched at all. ``check`` gives a match its score, 0 for none; else it is ``score``, or
    ``beside`` where a ``context`` word is near.
    """

    type: str
    pattern: re.Pattern[str]
    score: float = LIKELY
    digits: int = 0
    needs: str = ""
    words: tuple[str, ...] = ()
    check: Check | None = None
    context: re.Pattern[str] | None = None
    beside: float = SURE
    reach: tuple[int, int] = REACH

    def may_be_in(self, view: View) -> bool:
        """False where no match is possible."""
        return (
            (not self.needs or not view.characters.isdisjoint(self.needs))
            and view.digits >= self.digits
            and (not self.words or any(word in view.lower for word in self.words))
        )

    def find(self, view: View) -> Iterator[Found]:
        """Every match with a score above 0."""
        group = "v" if "v" in self.pattern.groupindex else 0
        for match in self.pattern.finditer(view.text):
            start, end = match.span(group)
            score = self.score if self.check is None else self.check(view, match)
            if self.context is not None and 0 < score < self.beside and view.near(start, end, self.context, self.reach):
                score = self.beside
            if score > 0 and end > start:
                yield Found(start, end, self.type, score)


def find_all(finders: Sequence[Finder], view: View) -> Iterator[Found]:
    """What all ``finders`` find in one text."""
    for finder in finders:
        if finder.may_be_in(view):
            yield from finder.find(view)


def any_of(*words: str) -> re.Pattern[str]:
    """A pattern for phrases in any case: whole words, or anywhere in scripts that write no spaces."""
    ordered = sorted({word for group in words for word in group.split("|")}, key=lambda word: (-len(word), word))
    spaced = "|".join(re.escape(word) for word in ordered if ord(word[0]) < 0x0E00)
    dense = "|".join(re.escape(word) for word in ordered if ord(word[0]) >= 0x0E00)
    return re.compile(rf"(?<![^\W_])(?:{spaced})(?![^\W_])" + (f"|{dense}" if dense else ""), re.IGNORECASE)


def words(text: str) -> frozenset[str]:
    """The words of ``text``, which spaces part."""
    return frozenset(text.split())


def luhn(digits: str) -> bool:
    """Whether the last of ``digits`` is the Luhn check digit of the others."""
    doubled = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
    values = [int(digit) for digit in digits]
    return (sum(values[-1::-2]) + sum(doubled[value] for value in values[-2::-2])) % 10 == 0


def only_digits(text: str) -> str:
    """The ASCII digits of ``text``."""
    return _OTHERS.sub("", text)
