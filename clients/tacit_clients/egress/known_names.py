"""The device's own list of people: full names met in any conversation are masked in every one."""

import time
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Final

from tacit_clients.egress.lastlook import Values
from tacit_privacy.pii.entities import Detector, Entity
from tacit_privacy.pii.pseudonyms.folding import WORD, Folded, fold
from tacit_privacy.pii.pseudonyms.joined import JoinedNames

_FRESH_S: Final = 10.0
_ANYWHERE: Final = ""  # in place of a first word, for scripts without spaces between words


class KnownNames:
    """Full names of the vault, reread now and then. A single word is left out: one mistake would mask it for ever."""

    def __init__(self, read: Callable[[], frozenset[str]], clock: Callable[[], float] = time.monotonic) -> None:
        self._read, self._clock, self._lock = read, clock, Lock()
        self._until, self._source = -1.0, frozenset[str]()
        self._by_word: dict[str, list[str]] = {}
        self._joined = JoinedNames()
        self.values = Values(())

    def refresh(self) -> None:
        """Read the vault again if that was long ago."""
        with self._lock:
            if self._clock() < self._until:
                return
            names = self._read()
            self._until = self._clock() + _FRESH_S
            if names == self._source:
                return
            needles = {needle for name in names if len((needle := fold(name)).split()) > 1}
            by_word: dict[str, list[str]] = {}
            for needle in needles:
                word = WORD.search(needle)
                by_word.setdefault(word.group() if word else _ANYWHERE, []).append(needle)
            self._source, self._by_word, self._joined = names, by_word, JoinedNames(needles)
            self.values = Values(needles, needles)

    def find(self, text: str) -> list[Entity]:
        """Where the names stand in ``text``."""
        if not self._by_word:
            return []
        searched = Folded(text)
        words = {*WORD.findall(searched.text), _ANYWHERE}
        needles = [needle for word in words & self._by_word.keys() for needle in self._by_word[word]]
        spans = {span for needle in needles for span in searched.find(needle)} | {*self._joined.find(searched)}
        return [Entity(start, end, "PERSON", 1.0) for start, end in spans]


class WithKnownNames:
    """A detector that also finds the device's known names; where both find something the longer span counts."""

    def __init__(self, detector: Detector, names: KnownNames) -> None:
        self._detector, self._names = detector, names

    def detect(self, texts: Sequence[str]) -> list[list[Entity]]:
        self._names.refresh()
        found = self._detector.detect(texts)
        return [_merged(entities, self._names.find(text)) for text, entities in zip(texts, found, strict=True)]


def _merged(found: list[Entity], names: list[Entity]) -> list[Entity]:
    if not names:
        return found
    kept: list[Entity] = []
    for entity in sorted((*found, *names), key=lambda each: (each.start - each.end, each.start)):  # longest first
        if all(entity.end <= other.start or entity.start >= other.end for other in kept):
            kept.append(entity)
    return sorted(kept)
