"""Long plain text in blocks that are searched with their surroundings, so that no entity is lost at a border."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tacit_privacy.commands._streams import Text

CORE = 1 << 16  # characters of a block, at most, unless its text has no place to cut
BEFORE, AFTER = 256, 8192  # characters of context that are searched with a block
LONGEST_WORD = 1 << 20  # longer runs of letters are cut where they are

_BLANK = re.compile(r"\n[ \t\r]*\n")
_WORD = re.compile(r"[\w\\]")


@dataclass(frozen=True)
class Block:
    """``window[start:end]`` is the block; around it its surroundings. ``line``: where the block starts, from 1 on."""

    window: str = field(repr=False)
    start: int
    end: int
    line: int


def blocks(reader: Text) -> Iterator[Block]:
    """Cut at blank lines where there are any, else at line ends, at spaces, between words. Never inside a word of fewer
    than LONGEST_WORD characters: a placeholder is a whole word, and so is what merely looks like one.
    """
    before, text, line, ended = "", "", 1, False
    while text or not ended:
        parts, held = [text], len(text)
        while not ended and held < CORE + AFTER:
            piece = reader.read()
            ended = not piece
            parts.append(piece)
            held += len(piece)
        text = "".join(parts)
        cut = len(text) if ended and len(text) <= CORE else _border(text, CORE)
        while cut is None and not ended and len(text) < LONGEST_WORD + AFTER:
            piece = reader.read()
            ended = not piece
            text += piece
            cut = _border(text, len(text) - AFTER if not ended else len(text))
        if cut is None:
            cut = len(text) if ended else len(text) - AFTER
        if not text:
            return
        after = text[cut : cut + AFTER]
        yield Block(f"{before}{text[:cut]}{after}", len(before), len(before) + cut, line)
        line += text.count("\n", 0, cut)
        before = _context((before + text[max(0, cut - BEFORE) : cut])[-BEFORE:])
        text = text[cut:]


def _context(text: str) -> str:
    """``text`` from its first whole word on."""
    found = re.search(r"\s", text)
    return text[found.end() :] if found else text


def _border(text: str, most: int) -> int | None:
    """Where to cut among the first ``most`` characters, rather late than early; None where a word fills them."""
    least = min(most, CORE) // 2
    blanks = [blank.end() for blank in _BLANK.finditer(text, least, most)]
    if blanks:
        return blanks[-1]
    line = text.rfind("\n", least, most)
    if line >= 0:
        return line + 1
    for place in range(min(most, len(text)), 0, -1):
        if place == len(text) or not (_WORD.match(text, place - 1) and _WORD.match(text, place)):
            return place
    return None
