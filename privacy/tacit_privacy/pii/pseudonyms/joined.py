"""Full names as identifiers hold them: ``anna_kowalska``, ``KowalskaAnna``, ``akowalska``, ``x.org/a.kowalska``."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

from tacit_privacy.pii.detection.common import COMMON
from tacit_privacy.pii.pseudonyms.folding import Folded, fold
from tacit_privacy.pii.pseudonyms.people import is_title

_LETTERS: Final = re.compile(r"[^\W\d_]+")
_HUMP: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_BETWEEN: Final = re.compile(r"[\s_\-./+]{0,2}")  # what may stand between the parts of a name...
_BESIDE_A_LETTER: Final = re.compile(r"[_\-.]?")  # ...and between a first letter and a surname
_SHORTEST_NAME, _SHORTEST_SURNAME = 7, 5  # letters; what is shorter is part of too many words
_PLAIN: Final = str.maketrans({"\u0142": "l", "\u00f8": "o", "\u00e6": "ae", "\u0153": "oe", "\u0111": "d", "'": ""})

Parts = tuple[str, ...]


class JoinedNames:
    """Looks for full names, and for a first letter with a surname, where they are not words apart.

    Only what begins and ends like a word counts: at no letter's side, or where the case changes as in ``forAnna``.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._by_word: dict[str, set[Parts]] = {}
        for name in names:
            self.add(name)

    def add(self, name: str) -> None:
        """Look for ``name`` from now on, if it has a first name and a surname."""
        for parts in _spellings(name):
            for word in (parts[0], "".join(parts)):
                self._by_word.setdefault(word, set()).add(parts)

    def find(self, folded: Folded) -> list[tuple[int, int]]:
        """Spans of the original."""
        if not self._by_word:
            return []
        words = set(_LETTERS.findall(folded.text)) | {word.lower() for word in _HUMP.findall(folded.original)}
        candidates = {parts for word in words & self._by_word.keys() for parts in self._by_word[word]}
        return [span for parts in candidates for span in _places(folded, parts)]


def _spellings(name: str) -> set[Parts]:
    words = [word for word in _LETTERS.findall(fold(name)) if not is_title(word)]
    plain = [word for word in _LETTERS.findall(_bare(fold(name))) if not is_title(word)]
    found = {each for spelled in (words, plain) for each in _orders(spelled)}
    return {parts for parts in found if "".join(parts) not in COMMON}


def _bare(folded: str) -> str:
    """Without accents, as user names are written."""
    return "".join(each for each in folded if not unicodedata.combining(each)).translate(_PLAIN)


def _orders(words: list[str]) -> Iterator[Parts]:
    if len(words) < 2:
        return
    first, last = words[0], words[-1]
    if len(first) > 1 and len(last) > 1:
        for parts in ((*words,), (first, last), (last, first)):
            if sum(map(len, parts)) >= _SHORTEST_NAME:
                yield parts
    if len(last) >= _SHORTEST_SURNAME:
        yield first[0], last
        yield last, first[0]


def _places(folded: Folded, parts: Parts) -> Iterator[tuple[int, int]]:
    text = folded.text
    at = text.find(parts[0])
    while at >= 0:
        end = _end(text, at, parts)
        if end is not None:
            start, stop = folded.origin(at), folded.origin(end - 1) + 1
            begins = folded.begins(at, letters=len(parts[0]) > 1) or _changes(folded.original, start)
            if begins and (not text[end : end + 1].isalpha() or _changes(folded.original, stop)):
                yield start, stop
        at = text.find(parts[0], at + 1)


def _end(text: str, at: int, parts: Parts) -> int | None:
    """Where ``parts`` end that begin at ``at``; None if they do not all follow."""
    end = at + len(parts[0])
    allowed = _BETWEEN if min(map(len, parts)) > 1 else _BESIDE_A_LETTER
    for part in parts[1:]:
        between = allowed.match(text, end)
        end = between.end() if between else end
        if not text.startswith(part, end):
            return None
        end += len(part)
    return end


def _changes(original: str, at: int) -> bool:
    """Whether a new word begins at ``at`` by its capital."""
    return 0 < at < len(original) and original[at].isupper() and original[at - 1].islower()
