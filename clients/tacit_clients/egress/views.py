"""What the strings of an outbound body say when they are read: as they are, and behind escapes and encodings."""

import base64
import html
import re
from collections.abc import Callable, Iterator
from urllib.parse import unquote

from tacit_clients.modes.protocol import Json
from tacit_privacy.pii.trees import WIRE_KEYS

Path = tuple[str | int, ...]

_DEPTH = 3  # encodings inside encodings
_MOST_VIEWS = 64  # of one string
_LONG_NUMBER = 5  # digits from which a number may be somebody's
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([nrtbf\"'/\\]))")
_PLAIN_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,65536}={0,2}")
_READABLE = re.compile(r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]{6,}")


def leaves(body: Json, structural: Callable[[Path], bool]) -> Iterator[str]:
    """Every string of ``body``, keys included, and every long number; without what ``structural`` names."""
    stack: list[tuple[Path, Json]] = [((), body)]
    while stack:
        path, node = stack.pop()
        if isinstance(node, dict):
            for key, value in node.items():
                if path and key not in WIRE_KEYS:
                    yield key
                stack.append(((*path, key), value))
        elif isinstance(node, list):
            stack.extend(((*path, index), value) for index, value in enumerate(node))
        elif isinstance(node, str):
            if not structural(path):
                yield node
        elif isinstance(node, int | float) and not isinstance(node, bool):
            word = str(node)
            if len(word) >= _LONG_NUMBER and not structural(path):
                yield word


def views(text: str) -> list[str]:
    """``text`` and what stands behind its percent, backslash, HTML and base64 encodings, nested at most three deep."""
    found, latest = [text], [text]
    for _ in range(_DEPTH):
        following = []
        for view in latest:
            for deeper in _decoded(view):
                if deeper not in found and len(found) < _MOST_VIEWS:
                    found.append(deeper)
                    following.append(deeper)
        if not following:
            break
        latest = following
    return found


def _decoded(text: str) -> Iterator[str]:
    if "%" in text:
        yield unquote(text, errors="replace")
    if "\\" in text:
        yield _joined(_ESCAPE.sub(_unescape, text))
    if "&" in text:
        yield html.unescape(text)
    for run in _BASE64.finditer(text):
        yield from _base64(run.group())


def _unescape(match: re.Match[str]) -> str:
    code = match.group(1) or match.group(2)
    if code:
        return chr(int(code, 16))
    return _PLAIN_ESCAPES.get(match.group(3), match.group(3))


def _joined(text: str) -> str:
    """Two halves of a character beyond the first plane, escaped one by one, become that character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _base64(run: str) -> Iterator[str]:
    """Text behind base64 in either alphabet, wherever in the run it begins; nothing where the bytes are no text."""
    letters = run.rstrip("=").replace("-", "+").replace("_", "/")
    for start in range(4):
        whole = letters[start:]
        whole = whole[: len(whole) - (len(whole) % 4 == 1)]
        raw = base64.b64decode(whole + "=" * (-len(whole) % 4))
        for text in _READABLE.findall(raw.decode("utf-8", "replace")):
            if any(character.isalnum() for character in text):
                yield text
