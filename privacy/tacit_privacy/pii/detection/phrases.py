"""Words and phrases found again: allow and deny lists, and what was found once at its other places."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Generic, NamedTuple, TypeVar

from tacit_privacy.pii.detection.common import COMMON
from tacit_privacy.pii.detection.shapes import Found, words

_DENSE: Final = (  # scripts whose words no spaces part, or to whose words endings are joined: each character is a word
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
    "\U00020000-\U0003ffff"
)
_WORD: Final = re.compile(rf"[{_DENSE}]|[^\W_{_DENSE}]+")
T = TypeVar("T")


class Word(NamedTuple):
    """A word of a text: where it is and what it is in any case."""

    start: int
    end: int
    folded: str


def split(text: str) -> list[Word]:
    """The words of ``text`` in order."""
    return [Word(match.start(), match.end(), match.group().casefold()) for match in _WORD.finditer(text)]


def _gaps(text: str, run: Sequence[Word]) -> tuple[str, ...]:
    """What stands between words, white space of any kind and length being the same."""
    return tuple(
        " ".join(text[one.end : two.start].split()) if one.end < two.start else "\0" for one, two in pairwise(run)
    )


class Phrases(Generic[T]):
    """Many phrases looked up at once: by first word, then by length, so that cost does not grow with their number."""

    def __init__(self) -> None:
        self._by_first: dict[str, dict[int, dict[tuple[str, ...], list[tuple[tuple[str, ...], T]]]]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_first)

    def add(self, phrase: str, value: T) -> None:
        """Have ``phrase`` found, with ``value``; one without a word is none."""
        self.add_words(phrase, split(phrase), value)

    def add_words(self, text: str, run: Sequence[Word], value: T) -> None:
        """Have a run of a text's words found."""
        if not run:
            return
        lengths = self._by_first.setdefault(run[0].folded, {})
        same = lengths.setdefault(len(run), {}).setdefault(tuple(word.folded for word in run), [])
        gaps = _gaps(text, run)
        if all(known != gaps for known, _ in same):
            same.append((gaps, value))

    def find(self, text: str, run: Sequence[Word]) -> Iterator[tuple[int, int, T]]:
        """Every occurrence among the words ``run`` of ``text``, overlapping ones included."""
        for index, word in enumerate(run):
            for length, phrases in self._by_first.get(word.folded, {}).items():
                part = run[index : index + length]
                same = phrases.get(tuple(one.folded for one in part), ())
                if same:
                    gaps = _gaps(text, part)
                    for known, value in same:
                        if known == gaps:
                            yield part[0].start, part[-1].end, value


@dataclass(frozen=True, slots=True)
class _Again:
    """What is found again, and in which spelling."""

    type: str
    score: float
    spelling: str = ""  # exactly so; empty: in any case
    capital: bool = False  # begins with a capital


_LONGEST: Final = 24  # words
_STAYS: Final = words("DATE_TIME AGE URL DOMAIN_NAME TITLE NRP DATE_OF_BIRTH PIN")  # say nothing elsewhere
FORMS_OF_ADDRESS: Final = words(
    "mr mrs ms miss mx dr prof professor sir madam herr frau monsieur madame señor señora signor signora"
)
_PARTICLES: Final = FORMS_OF_ADDRESS | words(
    "von van der den de del della di da dos du la le el al bin ibn ben and und the jr sr iii phd"
)


def again(text: str, run: Sequence[Word], found: Sequence[Found]) -> list[Found]:
    """The other places of what was found in ``text``: in other case, across line ends, and persons by one name."""
    phrases: Phrases[_Again] = Phrases()
    starts = {word.start: index for index, word in enumerate(run)}
    for one in found:
        if one.type in _STAYS:
            continue
        inside = _inside(run, starts, one)
        if len(inside) > _LONGEST:
            continue  # a whole letter or key does not come twice, and looking for it would cost its length everywhere
        letters = sum(len(word.folded) for word in inside)
        dense = bool(inside) and all(len(word.folded) == 1 and word.folded > "\u0e00" for word in inside)
        if not dense and (letters < 3 or (letters < 4 and all(word.folded.isdigit() for word in inside))):
            continue
        if dense and letters < 2:
            continue
        single = len(inside) == 1 and inside[0].folded in COMMON
        spelling = text[inside[0].start : inside[0].end] if single else ""
        phrases.add_words(text, inside, _Again(one.type, one.score, spelling))
        if one.type == "PERSON" and len(inside) > 1 and not dense:
            for word in inside:
                if _is_name(text, word):
                    phrases.add_words(text, [word], _Again(one.type, one.score * 0.95, capital=True))
    return [
        Found(start, end, what.type, what.score)
        for start, end, what in phrases.find(text, run)
        if (not what.spelling or text[start:end] == what.spelling) and (not what.capital or text[start].isupper())
    ]


def _inside(run: Sequence[Word], starts: dict[int, int], one: Found) -> Sequence[Word]:
    """The words of ``run`` that make up ``one``; none where it begins inside a word."""
    offset = one.start
    while offset < one.end and offset not in starts:
        offset += 1
    if offset not in starts:
        return ()
    first = last = starts[offset]
    while last < len(run) and run[last].end <= one.end:
        last += 1
    return run[first:last]


def _is_name(text: str, word: Word) -> bool:
    return (
        len(word.folded) >= 3
        and text[word.start].isupper()
        and word.folded.isalpha()
        and word.folded not in COMMON
        and word.folded not in _PARTICLES
    )


def lexicon(phrases: Iterable[str]) -> Phrases[None]:
    """A list of the policy, ready to be looked up."""
    found: Phrases[None] = Phrases()
    for phrase in phrases:
        found.add(phrase, None)
    return found
