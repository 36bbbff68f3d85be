"""A copy of a text in which nothing hides, and the way back to offsets in the text itself."""

import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Final

_MARKS: Final = "\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
# what a reader does not see: soft hyphen, joiners, bidirectional controls, fillers, variation selectors, tags
_HIDDEN: Final = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff"
)
_INVISIBLE: Final = re.compile(f"[{_HIDDEN}]+")
_UNEVEN: Final = re.compile(f"[{_HIDDEN}]+|[^\\W\\d_][{_MARKS}]+|[\ufb00-\ufb06\u2116\u2121\u213b]")
_ODD: Final = re.compile(r"[^\x00-\x7f\u00c0-\u00ff]")
_ALIKE: Final = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d", "-"),
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc\u02b9\u2032\u00b4\uff07", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb\uff02", '"'),
    **dict.fromkeys("\u2024\u3002\uff0e\uff61", "."),
    **dict.fromkeys("\u2028\u2029\u0085", "\n"),
}


@dataclass(frozen=True, slots=True)
class Piece:
    """``text`` from ``at`` on stems from the original from ``origin`` on: character for character, or as one whole."""

    at: int
    origin: int
    end: int  # in the original, of a piece that was folded as a whole (e and accent into one); 0: not folded


@dataclass(frozen=True, slots=True)
class Readable:
    """``text`` is what detectors see; ``span`` translates its offsets into those of the original."""

    text: str
    pieces: tuple[Piece, ...] = field(default=(), repr=False)  # none: offsets are the same

    def span(self, start: int, end: int) -> tuple[int, int]:
        """``text[start:end]``, not empty, in the original's offsets, with whatever hides inside."""
        if not self.pieces:
            return start, end
        first, last = self._piece(start), self._piece(end - 1)
        return (
            first.origin if first.end else first.origin + start - first.at,
            last.end or last.origin + end - last.at,
        )

    def _piece(self, offset: int) -> Piece:
        return self.pieces[bisect_right(self.pieces, offset, key=lambda piece: piece.at) - 1]


def readable(text: str) -> Readable:
    """What a reader sees: full width as ASCII, digits of every script as 0-9, nothing hidden, accents joined."""
    if text.isascii():
        return Readable(text)
    odd = set(_ODD.findall(text))
    table = {ord(char): plain for char in odd if (plain := _plain(char)) != char}
    even = text.translate(table) if table else text
    if not _UNEVEN.search(even):
        return Readable(even)
    parts: list[str] = []
    pieces: list[Piece] = []
    seen = length = 0
    for match in _UNEVEN.finditer(even):
        start, end = match.span()
        for part, origin, whole in ((even[seen:start], seen, 0), (_folded(match.group()), start, end)):
            if part:
                pieces.append(Piece(length, origin, whole))
                parts.append(part)
                length += len(part)
        seen = end
    pieces.append(Piece(length, seen, 0))
    parts.append(even[seen:])
    return Readable("".join(parts), tuple(pieces))


def _folded(run: str) -> str:
    return "" if _INVISIBLE.fullmatch(run) else unicodedata.normalize("NFKC", run)


def _plain(char: str) -> str:
    """One character for one: what it stands for, or itself."""
    if char in _ALIKE:
        return _ALIKE[char]
    code = ord(char)
    if 0xD800 <= code <= 0xDFFF:
        return "\ufffd"  # half of a pair is no character: tokenisers refuse it
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    if char.isspace():
        return " "
    if 0x3000 <= code < 0xFF00 and not 0x3300 <= code <= 0x33FF:
        return char  # ideographs and kana have no plainer form
    plain = unicodedata.normalize("NFKC", char)
    return plain if len(plain) == 1 and plain != "\u0000" else char
