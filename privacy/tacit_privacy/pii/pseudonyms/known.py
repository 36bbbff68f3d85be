"""Finding again, in any text, what is already known to identify somebody."""

import re
from typing import Final

from tacit_privacy.pii.entities import Entity
from tacit_privacy.pii.pseudonyms import grammar
from tacit_privacy.pii.pseudonyms.folding import Folded, fold

SHORTEST: Final = 3  # folded characters from which case and spelling no longer matter
_WORD = re.compile(r"[a-z0-9]+")


class KnownValues:
    """Originals with their types. A value of two letters is found in its own case alone, a shorter one never."""

    def __init__(self) -> None:
        self._types: dict[str, str] = {}  # folded value -> type
        self._exact: dict[str, str] = {}  # value of two letters -> type
        self._by_word: dict[str, list[str]] = {}  # first ASCII word -> folded values
        self._wordless: list[str] = []

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
        if folded in self._types:
            return False
        self._types[folded] = type
        word = _WORD.match(folded)
        if word:
            self._by_word.setdefault(word.group(), []).append(folded)
        else:
            self._wordless.append(folded)
        return True

    def touches(self, value: str) -> bool:
        """Whether ``value`` holds an original or is part of one."""
        folded = fold(value)
        return bool(self.find(value)) or any(folded in each for each in self._types)

    def find(self, text: str | Folded) -> list[Entity]:
        """Every place in ``text`` that holds a value, not as part of a longer word. Places may overlap."""
        if not self._types and not self._exact:
            return []
        folded = text if isinstance(text, Folded) else Folded(text)
        candidates = list(self._wordless)
        for word in set(_WORD.findall(folded.text)):
            candidates += self._by_word.get(word, ())
        found = [Entity(*span, self._types[value], 1.0) for value in candidates for span in folded.find(value)]
        for value, type in self._exact.items():
            if value in folded.original:
                spans = folded.find(fold(value))
                found += [Entity(*span, type, 1.0) for span in spans if folded.original[slice(*span)] == value]
        return found
