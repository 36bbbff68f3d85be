"""What left, made readable: the messages, the JSON, the bytes; placeholders marked, or originals in their place."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from tacit_clients.modes.protocol import Json
from tacit_privacy.pii.pseudonyms import grammar
from tacit_privacy.pii.pseudonyms.conversation import Conversation
from tacit_privacy.pii.restoring import restore

MOST: Final = 200_000  # characters on one page; the whole is there as a file
_WORDS = re.compile(r"[A-Za-z0-9]+(?:_[A-Za-z0-9]+)+")

How = Literal["messages", "json", "bytes"]


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of text; ``mark`` is the placeholder it is, or stands for."""

    text: str = field(repr=False)
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """A titled text."""

    title: str
    parts: list[Part] = field(repr=False)


def blocks(body: str, how: How, names: Conversation | None) -> tuple[list[Block], bool]:
    """The body for reading, and whether its end is left out. ``names``: whose originals are put in place."""
    cut = len(body) > MOST
    if how == "bytes" or cut:
        return [Block("", [Part(body[:MOST])])], cut
    told = json.loads(body)
    if how == "json":
        return [Block("", _parts(_pretty(told), names, in_json=True))], False
    found = [Block(_role(each), _parts(_said(each), names)) for each in told.get("messages", ())]
    rest = {name: value for name, value in told.items() if name != "messages"}
    return [*found, Block("everything else in the request", _parts(_pretty(rest), names, in_json=True))], False


def _parts(text: str, names: Conversation | None, in_json: bool = False) -> list[Part]:
    return list(_marked(text, names, in_json))


def _marked(text: str, names: Conversation | None, in_json: bool) -> Iterator[Part]:
    position = 0
    for found in _WORDS.finditer(text):
        word = found.group()
        original = None if names is None else names.original(word)
        if grammar.parse(word) is None or (names is not None and original is None):
            continue
        yield Part(_plain(text[position : found.start()], names, in_json))
        shown = word if original is None else original
        yield Part(json.dumps(shown, ensure_ascii=False)[1:-1] if in_json else shown, word)
        position = found.end()
    yield Part(_plain(text[position:], names, in_json))


def _plain(text: str, names: Conversation | None, in_json: bool) -> str:
    """Between placeholders: made-up values are put back too, unmarked."""
    if names is None or not names.fictions():
        return text
    return restore(text, names, json_string=in_json).text


def _role(message: Json) -> str:
    return str(message.get("role", "message")) if isinstance(message, dict) else "message"


def _said(message: Json) -> str:
    """A message's text, and as JSON whatever else it holds."""
    if not isinstance(message, dict):
        return _pretty(message)
    rest = {name: value for name, value in message.items() if name not in ("role", "content")}
    content = message.get("content")
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        content = "\n".join(str(part.get("text", "")) for part in content)
    said = [] if content is None else [content if isinstance(content, str) else _pretty(content)]
    return "\n".join([*said, *([_pretty(rest)] if rest else [])])


def _pretty(value: Json) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
