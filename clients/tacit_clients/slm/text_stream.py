"""From token ids to text, piece by piece: whole characters, and nothing of a stop string."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

BROKEN = "\ufffd"  # what decoders give for bytes that are no character, or not one yet
_OPEN_BYTES = 3  # a UTF-8 character lacks its last byte after at most three


@dataclass
class Detokeniser:
    """Text that each new id settles. What all calls return together is ``decode`` of all ids.

    Decoders look at neighbours (a first word loses its space, bytes become characters together), so ids are decoded
    again from the last settled place on; a character that may still grow is kept back. One exception: where bytes never
    become a character, sentencepiece's fallback breaks all characters around them too, and this class does not.
    """

    decode: Callable[[list[int]], str]
    _ids: list[int] = field(default_factory=list)  # context, then what is not settled
    _context: int = 0  # how many of them the context is
    _known: str = field(default="", repr=False)  # the context's text
    _given: int = 0  # characters already returned of the text of _ids

    def push(self, token: int) -> str:
        self._ids.append(token)
        text = self._text()
        settled = _settled(text)
        fresh = text[self._given : settled]
        self._given = max(self._given, settled)
        if fresh and settled == len(text):
            self._ids = self._ids[self._context :]  # what this call settled is the next one's context
            self._context, self._known = len(self._ids), self.decode(self._ids)
            self._given = len(self._known)
        return fresh

    def close(self) -> str:
        """The rest: a character that was cut stays a replacement mark."""
        return self._text()[self._given :]

    def _text(self) -> str:
        """Of context and all that follows; an unfinished character must not break its context."""
        text = self.decode(self._ids)
        unseen = self._context and not self._known and BROKEN in text  # a context of one space, which was stripped
        if text.startswith(self._known) and not unseen:
            return text
        return self._known + self.decode(self._ids[self._context :])


def _settled(text: str) -> int:
    """Length of the part of ``text`` that later bytes cannot change."""
    tail = 0
    while tail < min(_OPEN_BYTES, len(text)) and text[-1 - tail] == BROKEN:
        tail += 1
    return len(text) - tail


@dataclass
class StopStrings:
    """Lets text through up to the stop string that is complete first; of two that end together, the longer.

    For every partition of a text into pieces the same text comes out. At most the longest stop string is held back.
    """

    stops: Sequence[str] = ()
    stopped: bool = False
    _held: str = field(default="", repr=False)

    def push(self, text: str) -> str:
        if self.stopped:
            return ""
        held = self._held + text
        found = [(at + len(stop), at) for stop in self.stops if (at := held.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return held[: min(found)[1]]
        keep = max((_overlap(held, stop) for stop in self.stops), default=0)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def close(self) -> str:
        """What was held back and turned out to be no stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that begins ``stop`` without being all of it."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0


@dataclass
class TextStream:
    """Ids in, text out: detokenised, without the space that INSTRUCT rows put before an answer, up to a stop string."""

    detokeniser: Detokeniser
    stops: StopStrings
    leading_space: bool = False  # whether one may have to go
    _begun: bool = False

    @property
    def stopped(self) -> bool:
        return self.stops.stopped

    def push(self, token: int) -> str:
        return self.stops.push(self._begin(self.detokeniser.push(token)))

    def close(self) -> str:
        rest = self.stops.push(self._begin(self.detokeniser.close()))
        return rest + self.stops.close()

    def _begin(self, text: str) -> str:
        if not text or self._begun:
            return text
        self._begun = True
        return text.removeprefix(" ") if self.leading_space else text
