"""Hints that were given before, in memory: known by the general question alone, which holds nothing of anybody."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from tacit_clients.modes.lexical import content_words, overlap, words


@dataclass(frozen=True, slots=True)
class _Hint:
    text: str = field(repr=False)
    content: tuple[str, ...] = field(repr=False)
    until: float


class Hints:
    """At most ``most`` hints, each for ``seconds``; the least recently used one goes first. For one event loop.

    ``similarity``: how far the content words of two questions must overlap for one hint to serve both; 1 asks for the
    same words in the same order.
    """

    def __init__(
        self, most: int, seconds: float, similarity: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._seconds, self._similarity, self._clock = most, seconds, similarity, clock
        self._kept: OrderedDict[str, _Hint] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, question: str) -> str | None:
        """The hint to ``question``, or to one that is nearly the same."""
        key = _key(question)
        self._expire()
        if key not in self._kept and self._similarity < 1.0:
            key = self._nearest(tuple(content_words(question)))
        if not key or key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key].text

    def keep(self, question: str, hint: str) -> None:
        """Remember ``hint``, if there is room for any and the question has a word to know it by."""
        key = _key(question)
        if not key:
            return
        self._kept.pop(key, None)
        self._kept[key] = _Hint(hint, tuple(content_words(question)), self._clock() + self._seconds)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def _nearest(self, wanted: tuple[str, ...]) -> str:
        scores = {key: overlap(wanted, hint.content) for key, hint in self._kept.items()}
        best = max(scores, key=lambda key: scores[key], default="")
        return best if wanted and best and scores[best] >= self._similarity else ""

    def _expire(self) -> None:
        now = self._clock()
        for key in [key for key, hint in self._kept.items() if hint.until <= now]:
            del self._kept[key]


def _key(question: str) -> str:
    return " ".join(words(question))
