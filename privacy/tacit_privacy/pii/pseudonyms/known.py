"""Finding again, in any text, what is already known to identify somebody."""

import re
from typing import Final, Literal

from tacit_privacy.pii.detection.common import COMMON
from tacit_privacy.pii.entities import Entity
from tacit_privacy.pii.pseudonyms import grammar
from tacit_privacy.pii.pseudonyms.folding import ESCAPE, Folded, fold
from tacit_privacy.pii.pseudonyms.joined import JoinedNames
from tacit_privacy.pii.pseudonyms.people import is_title

SHORTEST: Final = 3  # folded characters from which case and spelling no longer matter
_WORD = re.compile(r"[a-z0-9]+")
_ESCAPED_WORD = re.compile(ESCAPE + "([a-z0-9]+)")
_NAME = re.compile(r"[^\W\d_]{3,}")
_PARTICLES: Final = frozenset(("von", "van", "der", "den", "del", "della", "dos", "bin", "ibn", "ben", "und", "the"))

How = Literal["any", "named"]  # in any case; not all in lower case


class KnownValues:
    """Originals with their types.

    A name that is a common word as well ("Will") is found where it is not in lower case, a value of two letters in its
    own case alone, a shorter one never. The words of a person's full name are found where they begin with a capital or
    stand in a longer run (``kowalska_invoice.pdf``), the name as a whole also where nothing is between its words.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[str, How]] = {}  # folded value -> type, how
        self._exact: dict[str, str] = {}  # value of two letters -> type
        self._by_word: dict[str, list[str]] = {}  # first ASCII word -> folded values
        self._wordless: list[str] = []
        self._joined = JoinedNames()

    def add(self, type: str, value: str) -> bool:
        """Remember ``value``; whether that is news. Escaped look-alikes are nobody's and are not kept."""
        folded = fold(value)
        if type == grammar.ESCAPED:
            return False
        if len(folded) < SHORTEST:
            news = len(folded) == 2 and folded.isalpha() and value.strip() not in self._exact
            if news:
                self._exact[value.strip()] = type
            return news
        if type == "PERSON" and " " in folded:
            self._joined.add(value)
            for word in _NAME.findall(value):
                part = fold(word)
                if word[0].isupper() and not (part in COMMON or part in _PARTICLES or is_title(part)):
                    self._enter(part, type, "named")
        return self._enter(folded, type, "named" if folded in COMMON else "any")

    def _enter(self, folded: str, type: str, how: How) -> bool:
        before = self._kinds.get(folded)
        if before is None:
            word = _WORD.match(folded)
            (self._by_word.setdefault(word.group(), []) if word else self._wordless).append(folded)
        elif before[1] == how or how == "named":
            return False
        self._kinds[folded] = type, how
        return True

    def touches(self, value: str) -> bool:
        """Whether ``value`` holds an original or is part of one."""
        folded = fold(value)
        return bool(self.find(value)) or any(folded in each for each in self._kinds)

    def find(self, text: str | Folded) -> list[Entity]:
        """Every place in ``text`` that holds a value, not as part of a longer word. Places may overlap."""
        if not self._kinds and not self._exact:
            return []
        folded = text if isinstance(text, Folded) else Folded(text)
        candidates = list(self._wordless)
        for word in {*_WORD.findall(folded.text), *_ESCAPED_WORD.findall(folded.text)}:
            candidates += self._by_word.get(word, ())
        found = []
        for value in candidates:
            type, how = self._kinds[value]
            for start, end in folded.find(value):
                if how == "any" or not folded.original[start:end].islower() or _in_a_run(folded.original, start, end):
                    found.append(Entity(start, end, type, 1.0))
        there = {(each.start, each.end) for each in found}
        found += [Entity(*span, "PERSON", 1.0) for span in self._joined.find(folded) if span not in there]
        for value, type in self._exact.items():
            if value in folded.original:
                spans = folded.find(fold(value))
                found += [Entity(*span, type, 1.0) for span in spans if folded.original[slice(*span)] == value]
        return found


def _in_a_run(text: str, start: int, end: int) -> bool:
    """Whether ``text[start:end]`` is part of an identifier, a file's name or a path, and no word of a sentence."""
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    if "_" in (before[-1:], after[:1]) or "@" in (before[-1:], after[:1]) or (before[-1:], after[:1]) == ("/", "/"):
        return True
    return (before[-1:] == "." and before[:1].isalnum()) or (after[:1] == "." and after[1:].isalnum())
