"""Text as it is compared: width, case, white space and invisible characters do not make a difference."""

import re
import unicodedata
from bisect import bisect_right
from functools import lru_cache
from typing import Final

ESCAPE: Final = r"(?:%[0-9a-f]{2}|\\(?:[bfnrtv]|x[0-9a-f]{2}|u[0-9a-f]{4}))"  # as folded
_ESCAPE = re.compile(ESCAPE + r"\Z")
_PLAIN = re.compile(r"[!-~]+")
_RUN_OF_SPACE = re.compile(r"\s\s")
_SPACES = {code: " " for code in range(128) if chr(code).isspace()}
_QUOTES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\u00b4": "'", "\u2010": "-", "\u2011": "-"})
_UNSPACED: Final = (  # scripts that put no space between words, or attach particles to names
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x2E80, 0xA4CF),
    (0xAC00, 0xD7AF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
WORD: Final = re.compile(r"[^\W_{}]+".format("".join(f"{chr(first)}-{chr(last)}" for first, last in _UNSPACED)))
"""A run of what joins: a word also where one of those scripts, or an underscore, stands right beside it."""


@lru_cache(maxsize=4096)
def _fold_character(character: str) -> str:
    if character.isspace():
        return " "
    if unicodedata.category(character) == "Cf":
        return ""  # zero-width and direction marks, soft hyphens
    word = unicodedata.normalize("NFKD", character).translate(_QUOTES)
    return unicodedata.normalize("NFKD", word.casefold())


def _pieces(text: str) -> list[tuple[int, str]]:
    """Parts of ``text`` as (offset, folded part); a printable ASCII run is one part of unchanged length."""
    pieces: list[tuple[int, str]] = []
    spaced = False
    position = 0
    for plain in (*_PLAIN.finditer(text), None):
        stop = len(text) if plain is None else plain.start()
        for offset in range(position, stop):
            part = _fold_character(text[offset])
            if part.isspace():
                if not spaced:
                    pieces.append((offset, " "))
                spaced = True
            elif part:
                pieces.append((offset, part))
                spaced = False
        if plain is not None:
            pieces.append((stop, plain.group().lower()))
            position, spaced = plain.end(), False
    return pieces


def fold(text: str) -> str:
    """``text`` in one case, NFKD, without invisible characters; white space is single and not at the ends."""
    if text.isascii():  # the short way to the same
        return " ".join(text.lower().split())
    return "".join(part for _, part in _pieces(text)).strip()


def joins(character: str) -> bool:
    """Whether ``character`` beside a word would be part of it: a letter or digit of a script with spaces."""
    if not character.isalnum():
        return False
    code = ord(character)
    return code < 0x0E00 or not any(first <= code <= last for first, last in _UNSPACED)


class Folded:
    """A text folded, with the way back to its own offsets."""

    def __init__(self, text: str) -> None:
        self.original = text
        self._same = text.isascii() and _RUN_OF_SPACE.search(text) is None  # offsets are the text's own
        if self._same:
            self.text = text.lower().translate(_SPACES)
            return
        pieces = _pieces(text)
        self.text = "".join(part for _, part in pieces)
        self._offsets = [offset for offset, _ in pieces]
        self._starts: list[int] = []
        total = 0
        for _, part in pieces:
            self._starts.append(total)
            total += len(part)

    def origin(self, position: int) -> int:
        """Offset in the original of the folded character at ``position``."""
        if self._same:
            return position
        piece = bisect_right(self._starts, position) - 1
        offset, inside = self._offsets[piece], position - self._starts[piece]
        plain = _PLAIN.match(self.original, offset)
        return offset + inside if plain else offset

    def begins(self, at: int, letters: bool = False) -> bool:
        """Whether a word may begin at ``at``, with ``letters`` also after a digit.

        The letters of an escape (``%20``, ``\\n``) are no part of a word.
        """
        before = self.text[at - 1 : at]
        if not before or not joins(self.text[at]) or not joins(before) or (letters and before.isdecimal()):
            return True
        return _ESCAPE.search(self.text, max(0, at - 6), at) is not None

    def _ends(self, end: int) -> bool:
        return end == len(self.text) or not joins(self.text[end - 1]) or not joins(self.text[end])

    def find(self, needle: str) -> list[tuple[int, int]]:
        """Spans of the original whose folded form is ``needle`` and that are not part of a longer word."""
        found = []
        at = self.text.find(needle)
        while at >= 0 and needle:
            end = at + len(needle)
            if self.begins(at) and self._ends(end):
                found.append((self.origin(at), self.origin(end - 1) + 1))
                at = self.text.find(needle, end)
            else:
                at = self.text.find(needle, at + 1)
        return found
