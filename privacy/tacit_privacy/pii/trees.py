"""A JSON body as a list of texts to look at, and the way back."""

import json
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tacit_privacy.pii.entities import Entity
from tacit_privacy.pii.restoring.json_text import escaped

JSON = Any  # what json.loads gives, or Members
Path = tuple[str | int, ...]

_DEEPEST: Final = 6  # JSON in a string in JSON ...
_STRING_OR_NUMBER = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?', re.DOTALL)
_COLON = re.compile(r"\s*:")
_DATA_ADDRESS = re.compile(r"\s*data:[^,]{0,200};base64,", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{512,}={0,2}")
_KEYS = (
    "model messages role content type text image_url url detail name tool_calls tool_call_id id function arguments "
    "input tools tool_choice parameters description strict properties required items enum const anyOf oneOf allOf "
    "not $defs $ref additionalProperties default title format pattern minimum maximum exclusiveMinimum "
    "exclusiveMaximum minLength maxLength minItems maxItems uniqueItems definitions nullable examples stream "
    "stream_options include_usage temperature top_p n stop seed max_tokens max_completion_tokens max_output_tokens "
    "presence_penalty frequency_penalty logit_bias logprobs top_logprobs user metadata response_format json_schema "
    "schema instructions previous_response_id input_text output_text input_image input_audio input_file audio data "
    "file file_id file_data filename refusal annotations status summary call_id output reasoning reasoning_effort "
    "effort parallel_tool_calls store truncation service_tier prediction modalities voice verbosity include "
    "background safety_identifier prompt_cache_key prompt "
)
WIRE_KEYS: Final = frozenset(_KEYS.split())


class Members(list[tuple[str, Any]]):
    """A JSON object in which a key stands twice: every member, in order."""


def _members(pairs: list[tuple[str, Any]]) -> Any:
    members = dict(pairs)
    return members if len(members) == len(pairs) else Members(pairs)


def parsed(text: str | bytes) -> JSON:
    """JSON text as a tree that keeps duplicate keys. Raises ValueError, also for what is too deep."""
    try:
        return json.loads(text, object_pairs_hook=_members)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def written(body: JSON) -> str:
    """``body`` as compact JSON text, duplicate keys included; lone surrogates are escaped."""
    if isinstance(body, (dict, Members)):
        pairs = body.items() if isinstance(body, dict) else body
        return "{" + ",".join(f"{_quoted(key)}:{written(value)}" for key, value in pairs) + "}"
    if isinstance(body, list):
        return "[" + ",".join(map(written, body)) + "]"
    return _quoted(body) if isinstance(body, str) else json.dumps(body)


def _quoted(text: str) -> str:
    return f'"{escaped(text)}"'


def is_wire_key(path: Path) -> bool:
    """Whether the key that ends ``path`` is one of the wire formats' own words, which say nothing about anybody."""
    return path[-1] in WIRE_KEYS


@dataclass
class Source:
    """JSON inside a string, read whole: the key beside a value may be all that tells what the value is."""

    parts: list[str] = field(default_factory=list, repr=False)
    length: int = 0
    starts: list[int] = field(default_factory=list)  # where values begin
    ends: list[int] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)  # which text of the tree each value is

    def add(self, part: str, index: int | None = None) -> None:
        """More of it; ``index`` for a value."""
        if index is not None:
            self.starts.append(self.length)
            self.ends.append(self.length + len(part))
            self.indices.append(index)
        self.parts.append(part)
        self.length += len(part)

    def spread(self, entity: Entity) -> Iterator[tuple[int, Entity]]:
        """The values that ``entity`` touches, by their index, each with its share."""
        for at in range(bisect_left(self.ends, entity.start + 1), bisect_left(self.starts, entity.end)):
            start, end = max(entity.start, self.starts[at]), min(entity.end, self.ends[at])
            if start < end:
                offset = self.starts[at]
                yield self.indices[at], Entity(start - offset, end - offset, entity.type, entity.score)


class Tree:
    """The texts of one body, in the order in which ``rebuilt`` puts them back."""

    def __init__(
        self, body: JSON, structural: Callable[[Path], bool], structural_key: Callable[[Path], bool] = is_wire_key
    ) -> None:
        self.texts: list[str] = []
        self._sources: list[Source] = []
        self._numbers: set[int] = set()  # which texts are numbers
        self._unreadable: list[Path] = []
        self._structural, self._structural_key = structural, structural_key
        self._build = self._node(body, ())

    @property
    def unreadable(self) -> tuple[Path, ...]:
        """Where something stands that is not text."""
        return tuple(self._unreadable)

    @property
    def searched(self) -> list[str]:
        """What a detector must read: the texts, and after them JSON that stood in strings, whole."""
        return [*self.texts, *("".join(source.parts) for source in self._sources)]

    def gathered(self, found: Sequence[Sequence[Entity]]) -> list[list[Entity]]:
        """By text what was ``found`` in ``searched``."""
        own = [list(entities) for entities in found[: len(self.texts)]]
        for source, entities in zip(self._sources, found[len(self.texts) :], strict=True):
            for entity in entities:
                for index, share in source.spread(entity):
                    own[index].append(share)
        return [self.whole_numbers(index, entities) for index, entities in enumerate(own)]

    def whole_numbers(self, index: int, entities: list[Entity]) -> list[Entity]:
        """``entities`` of text ``index``; of a number only what covers the whole of it."""
        if index not in self._numbers:
            return entities
        return [entity for entity in entities if entity.start == 0 and entity.end == len(self.texts[index])]

    def rebuilt(self, texts: list[str]) -> JSON:
        """The body with ``texts`` in place of its own."""
        return self._build(texts)

    def _node(self, node: JSON, path: Path) -> Callable[[list[str]], JSON]:
        if isinstance(node, (dict, Members)):
            pairs = list(node.items()) if isinstance(node, dict) else list(node)
            built = [(self._key(key, (*path, key)), self._node(value, (*path, key))) for key, value in pairs]
            make: Callable[[Any], Any] = dict if isinstance(node, dict) else Members
            return lambda texts: make([(key(texts), value(texts)) for key, value in built])
        if isinstance(node, list):
            items = [self._node(item, (*path, index)) for index, item in enumerate(node)]
            return lambda texts: [item(texts) for item in items]
        if isinstance(node, bool) or node is None or self._structural(path):
            return lambda _: node
        if isinstance(node, str):
            return self._string(node, path, 0)
        number = self._text(json.dumps(node), number=True)
        return lambda texts: node if texts[number] == self.texts[number] else texts[number]

    def _key(self, key: str, path: Path) -> Callable[[list[str]], str]:
        if self._structural_key(path):
            return lambda _: key
        index = self._text(key)
        return lambda texts: texts[index]

    def _text(self, text: str, number: bool = False) -> int:
        self.texts.append(text)
        if number:
            self._numbers.add(len(self.texts) - 1)
        return len(self.texts) - 1

    def _string(self, text: str, path: Path, depth: int) -> Callable[[list[str]], str]:
        if _DATA_ADDRESS.match(text) or _BASE64.fullmatch(text.strip()):
            self._unreadable.append(path)
            return lambda _: text
        if depth < _DEEPEST and text.lstrip()[:1] in ("{", "[") and _is_json(text):
            return self._source(text, path, depth)
        index = self._text(text)
        return lambda texts: texts[index]

    def _source(self, source: str, path: Path, depth: int) -> Callable[[list[str]], str]:
        """JSON inside a string: only the literals that change are rewritten, everything else stays as it is spelled."""
        parts, whole, position = [], Source(), 0
        for literal in _literals(source):
            whole.add(source[position : literal.start()])
            before, position = len(self.texts), literal.end()
            parts.append(self._literal(literal, path, depth))
            self._reread(whole, literal.group(), before, is_key=_COLON.match(source, position) is not None)
        whole.add(source[position:])
        if whole.starts:
            self._sources.append(whole)

        def build(texts: list[str]) -> str:
            out, position = [], 0
            for start, end, replaced in parts:
                out += [source[position:start], replaced(texts)]
                position = end
            return "".join((*out, source[position:]))

        return build

    def _reread(self, whole: Source, literal: str, before: int, is_key: bool) -> None:
        """Add a literal, whose texts are those from number ``before`` on, as it reads without escapes."""
        if literal[0] != '"':
            whole.add(literal, before)
            return
        value = json.loads(literal, strict=False)
        own = self.texts[before:] == [value] and not is_key  # else it is JSON itself, data, or a key
        whole.add('"')
        whole.add(value, before if own else None)
        whole.add('"')

    def _literal(self, literal: re.Match[str], path: Path, depth: int) -> tuple[int, int, Callable[[list[str]], str]]:
        source = literal.group()
        if source[0] == '"':
            value = json.loads(source, strict=False)
            inner = self._string(value, path, depth + 1)

            def string(texts: list[str]) -> str:
                text = inner(texts)
                return source if text == value else _quoted(text)

            return (*literal.span(), string)
        number = self._text(source, number=True)
        return (*literal.span(), lambda texts: source if texts[number] == source else _quoted(texts[number]))


def _literals(source: str) -> Iterator[re.Match[str]]:
    return _STRING_OR_NUMBER.finditer(source)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
