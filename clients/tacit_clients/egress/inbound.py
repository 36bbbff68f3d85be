"""What comes back: the upstream's chat completion or its chunks, checked in form and restored, as events.

Nothing passes that is not named here: text of three fields, calls of tools, log-probabilities, ends and usage.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tacit_clients.egress.sse import decoded
from tacit_clients.modes.protocol import (
    Delta,
    Event,
    FieldNames,
    Finish,
    Json,
    Logprobs,
    Provenance,
    TextField,
    ToolDelta,
    Usage,
)
from tacit_privacy.errors import UpstreamFailed
from tacit_privacy.pii.policy import RestorePolicy
from tacit_privacy.pii.pseudonyms.conversation import Conversation
from tacit_privacy.pii.restoring.stream import StreamRestorer

_REASONS: Final = frozenset(("stop", "length", "tool_calls", "content_filter", "function_call"))
_SAFE_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_MOST = 128  # choices, and tool calls of a choice
_DETAILS: Final = ("prompt_tokens_details", "completion_tokens_details")


@dataclass
class _Call:
    """One tool call of one choice. Arguments wait for the name: it decides whether they are restored."""

    identifier: str
    custom: bool
    name: str = ""
    restorer: StreamRestorer | None = None
    announced: bool = False
    waiting: str = ""


@dataclass
class _Choice:
    texts: dict[TextField, StreamRestorer] = field(default_factory=dict)
    calls: dict[int, _Call] = field(default_factory=dict)
    finished: bool = False


class Inbound:
    """State of one answer: a restorer for every field of every choice and for every tool call.

    Raises UpstreamFailed("malformed") for any shape it does not know; what is held back then is lost, never shown.
    """

    def __init__(
        self,
        conversation: Conversation | None,
        sinks: RestorePolicy,
        names: Mapping[str, str],
        provenance: Provenance,
        json_asked: bool = False,
    ) -> None:
        self._json_asked = json_asked  # the content is JSON, and originals are escaped for it
        self._conversation, self._sinks, self._names, self._provenance = conversation, sinks, names, provenance
        self._choices: dict[int, _Choice] = {}
        self._logprobs = conversation is None or not (conversation.issued() or conversation.fictions())

    def chunk(self, data: str) -> list[Event]:
        """The events of one ``chat.completion.chunk``."""
        return list(self._events(_parsed(data), "delta"))

    def completion(self, body: bytes) -> list[Event]:
        """The events of a whole ``chat.completion``."""
        parsed = _parsed(decoded(body))
        for choice in _listed(parsed.get("choices")):
            if isinstance(choice, dict) and not choice.get("finish_reason"):
                choice["finish_reason"] = "stop"
        events = list(self._events(parsed, "message"))
        self.close()
        return events

    def close(self) -> None:
        """The answer has ended. Raises UpstreamFailed when a choice has not, or there was none."""
        if not self._choices or not all(choice.finished for choice in self._choices.values()):
            raise UpstreamFailed("cut_off")

    def _events(self, parsed: dict[str, Json], part: str) -> Iterator[Event]:
        if parsed.get("error"):
            raise UpstreamFailed("malformed")
        for entry in _listed(parsed.get("choices")):
            if not isinstance(entry, dict):
                raise UpstreamFailed("malformed")
            index, message = entry.get("index", 0), entry.get(part)
            if type(index) is not int or not 0 <= index < _MOST or not isinstance(message, dict | None):
                raise UpstreamFailed("malformed")
            yield from self._choice(index, message or {}, entry)
        if parsed.get("usage"):
            yield self._usage(parsed["usage"])

    def _choice(self, index: int, message: dict[str, Json], entry: dict[str, Json]) -> Iterator[Event]:
        choice = self._choices.setdefault(index, _Choice())
        if message.get("audio"):
            raise UpstreamFailed("malformed")
        for name in FieldNames:
            if text := _text(message, name):
                self._open(choice)
                if shown := self._restorer(choice, name).feed(text):
                    yield Delta(index, name, shown)
        for position, call in enumerate(_listed(message.get("tool_calls"))):
            self._open(choice)
            yield from self._call(index, choice, position, call)
        if message.get("function_call"):
            self._open(choice)
            yield from self._call(index, choice, 0, {"function": message["function_call"]})
        if self._logprobs and (content := _logprobs(entry)):
            yield Logprobs(index, content)
        reason = entry.get("finish_reason")
        if reason:
            self._open(choice)
            yield from self._finish(index, choice, reason)

    @staticmethod
    def _open(choice: _Choice) -> None:
        if choice.finished:
            raise UpstreamFailed("malformed")

    def _restorer(self, choice: _Choice, name: TextField) -> "StreamRestorer | _Plain":
        if self._conversation is None:
            return _PLAIN
        if name not in choice.texts:
            as_json = self._json_asked and name == "content"
            choice.texts[name] = StreamRestorer(self._conversation, self._sinks, json_asked=as_json)
        return choice.texts[name]

    def _call(self, index: int, choice: _Choice, position: int, call: Json) -> Iterator[Event]:
        if not isinstance(call, dict):
            raise UpstreamFailed("malformed")
        number = call.get("index", position)
        if type(number) is not int or not 0 <= number < _MOST:
            raise UpstreamFailed("malformed")
        custom = call.get("type") == "custom" or "custom" in call
        function = call.get("custom" if custom else "function") or {}
        if not isinstance(function, dict):
            raise UpstreamFailed("malformed")
        state = choice.calls.get(number)
        if state is None:
            state = choice.calls[number] = _Call(_identifier(call.get("id"), index, number), custom)
        name, text = _text(function, "name"), _text(function, "arguments") + _text(function, "input")
        if not state.announced and name and name != state.name:
            state.name += name
        state.waiting += text
        if state.waiting:
            yield from self._flush_call(index, number, state, last=False)

    def _flush_call(self, index: int, number: int, state: _Call, last: bool) -> Iterator[Event]:
        if not state.announced:
            name = self._names.get(state.name, state.name)
            state.announced = True
            if self._conversation is not None and self._sinks.tool(name):
                state.restorer = StreamRestorer(self._conversation, self._sinks, json_string=not state.custom)
            yield ToolDelta(index, number, "", state.identifier, name, state.custom)
        text, state.waiting = state.waiting, ""
        if state.restorer is not None:
            text = state.restorer.feed(text) + (state.restorer.close() if last else "")
        if text:
            yield ToolDelta(index, number, text)

    def _finish(self, index: int, choice: _Choice, reason: Json) -> Iterator[Event]:
        choice.finished = True
        for name, restorer in choice.texts.items():
            if rest := restorer.close():
                yield Delta(index, name, rest)
        for number, state in choice.calls.items():
            yield from self._flush_call(index, number, state, last=True)
        restorers = [*choice.texts.values(), *(call.restorer for call in choice.calls.values() if call.restorer)]
        for count in ("restored", "unknown", "malformed", "withheld"):
            total = getattr(self._provenance, count) + sum(getattr(restorer, count) for restorer in restorers)
            setattr(self._provenance, count, total)
        yield Finish(index, reason if isinstance(reason, str) and reason in _REASONS else "stop")

    def _usage(self, usage: Json) -> Usage:
        if not isinstance(usage, dict):
            raise UpstreamFailed("malformed")
        prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
        self._provenance.tokens_up, self._provenance.tokens_down = prompt, completion
        details = {name: _counts(usage[name]) for name in _DETAILS if isinstance(usage.get(name), dict)}
        return Usage(prompt, completion, details)


class _Plain:
    """Restores nothing: for a request in which nothing can be masked."""

    def feed(self, text: str) -> str:
        return text


_PLAIN = _Plain()


def _parsed(data: str) -> dict[str, Json]:
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        raise UpstreamFailed("malformed")  # outside the handler: the JSON error's cause holds the document
    return parsed


def _listed(value: Json) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > _MOST:
        raise UpstreamFailed("malformed")
    return value


def _text(message: Mapping[str, Json], name: str) -> str:
    """The field's text. Some servers say ``reasoning`` for ``reasoning_content``; some send text in parts."""
    value = message.get(name)
    if value is None and name == "reasoning_content":
        value = message.get("reasoning")
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in value):
        return "".join(part["text"] for part in value)
    if not isinstance(value, str):
        raise UpstreamFailed("malformed")
    return value


def _identifier(value: Json, choice: int, number: int) -> str:
    return value if isinstance(value, str) and _SAFE_ID.fullmatch(value) else f"call_{choice}_{number}"


def _logprobs(entry: Mapping[str, Json]) -> list[Json]:
    found = entry.get("logprobs")
    content = found.get("content") if isinstance(found, dict) else None
    return [kept for token in content if (kept := _token(token))] if isinstance(content, list) else []


def _token(token: Json) -> dict[str, Json] | None:
    """A token and its rivals; None where it, and without those of them that, are in wrong form."""
    kept = _likely(token)
    if kept is None:
        return None
    top = token.get("top_logprobs")
    return kept | {"top_logprobs": [k for each in top if (k := _likely(each))] if isinstance(top, list) else []}


def _likely(token: Json) -> dict[str, Json] | None:
    """A token with its log-probability and bytes, where they are what they should be."""
    if not isinstance(token, dict) or not isinstance(token.get("token"), str):
        return None
    if not _finite(token.get("logprob")):
        return None
    raw = token.get("bytes")
    as_bytes = isinstance(raw, list) and all(type(each) is int and 0 <= each < 256 for each in raw)
    return {"token": token["token"], "logprob": token["logprob"], "bytes": raw if as_bytes else None}


def _finite(value: Json) -> bool:
    """Whether a number can be computed with: JSON may also say NaN, Infinity and whole numbers that no float holds."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _count(value: Json) -> int:
    return value if type(value) is int and value >= 0 else 0


def _counts(details: dict[str, Json]) -> dict[str, int]:
    return {name: _count(value) for name, value in details.items() if re.fullmatch(r"[a-z_]{1,40}", name)}
