"""Events of an answer as OpenAI's chat completion, whole or in chunks."""

import json
import time
from secrets import token_hex
from typing import Any, Final

from tacit_clients.modes.protocol import (
    Delta,
    Event,
    Finish,
    Json,
    Logprobs,
    Provenance,
    ToolDelta,
    Usage,
)

DONE: Final = b"data: [DONE]\n\n"


def sse(row: dict[str, Json], event: str = "") -> bytes:
    """One server-sent event; ASCII, so no character can be cut."""
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {json.dumps(row, separators=(',', ':'))}\n\n".encode("ascii")


def usage_row(usage: Usage | None) -> dict[str, Json]:
    if usage is None:
        usage = Usage(0, 0)
    counts = {"prompt_tokens": usage.prompt, "completion_tokens": usage.completion}
    return {**counts, "total_tokens": usage.prompt + usage.completion, **usage.details}


class Message:
    """One choice, put together."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self.calls: dict[int, dict[str, Any]] = {}
        self.logprobs: list[Json] = []
        self.reason = "stop"

    def add(self, event: Event) -> None:
        if isinstance(event, Delta):
            self.texts.setdefault(event.field, []).append(event.text)
        elif isinstance(event, ToolDelta):
            call = self.calls.setdefault(event.index, {"id": "", "name": "", "arguments": [], "custom": False})
            if event.identifier is not None:
                call |= {"id": event.identifier, "name": event.name or "", "custom": event.custom}
            call["arguments"].append(event.arguments)
        elif isinstance(event, Logprobs):
            self.logprobs += event.content
        elif isinstance(event, Finish):
            self.reason = event.reason

    def text(self, name: str) -> str | None:
        parts = self.texts.get(name)
        return None if parts is None else "".join(parts)

    def tool_calls(self) -> list[dict[str, Json]]:
        return [_call_row(call) for _, call in sorted(self.calls.items())]

    def row(self) -> dict[str, Json]:
        """The message as a client finds it, and as it sends it back."""
        row: dict[str, Json] = {"role": "assistant", "content": self.text("content"), "refusal": self.text("refusal")}
        if row["content"] is None and not self.calls and row["refusal"] is None:
            row["content"] = ""
        if (reasoning := self.text("reasoning_content")) is not None:
            row["reasoning_content"] = reasoning
        if self.calls:
            row["tool_calls"] = self.tool_calls()
        return row


def _call_row(call: dict[str, Any]) -> dict[str, Json]:
    text = "".join(call["arguments"])
    if call["custom"]:
        return {"id": call["id"], "type": "custom", "custom": {"name": call["name"], "input": text}}
    return {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": text}}


class Gathered:
    """All choices of an answer and its usage."""

    def __init__(self) -> None:
        self.messages: dict[int, Message] = {}
        self.usage: Usage | None = None

    def add(self, event: Event) -> None:
        if isinstance(event, Usage):
            self.usage = event
        else:
            self.messages.setdefault(event.choice, Message()).add(event)

    def rows(self) -> list[dict[str, Json]]:
        return [message.row() for _, message in sorted(self.messages.items())]


def completion(gathered: Gathered, model: str, account: Provenance) -> dict[str, Json]:
    """A ``chat.completion``."""
    choices = [
        {
            "index": index,
            "message": message.row(),
            "logprobs": {"content": message.logprobs, "refusal": None} if message.logprobs else None,
            "finish_reason": message.reason,
        }
        for index, message in sorted(gathered.messages.items())
    ]
    head = {"id": f"chatcmpl-{token_hex(12)}", "object": "chat.completion", "created": int(time.time()), "model": model}
    return {**head, "choices": choices, "usage": usage_row(gathered.usage), "tacit": account.row()}


class Chunks:
    """``chat.completion.chunk`` events. The last end is kept back, so that the account can go with the last chunk."""

    def __init__(self, model: str, usage_wanted: bool) -> None:
        self._head: dict[str, Json] = {
            "id": f"chatcmpl-{token_hex(12)}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
        }
        self._usage_wanted, self._begun, self._kept = usage_wanted, set[int](), list[dict[str, Json]]()
        self._usage: Usage | None = None
        self._custom: set[tuple[int, int]] = set()  # calls of custom tools

    def feed(self, event: Event) -> bytes:
        if isinstance(event, Usage):
            self._usage = event
            return b""
        if isinstance(event, Finish):
            before = self._release()
            self._kept.append(self._choice(event.choice, {}, event.reason))
            return before
        out = self._release() + self._role(event.choice)
        if isinstance(event, Delta):
            return out + self._chunk(self._choice(event.choice, {event.field: event.text}, None))
        if isinstance(event, ToolDelta):
            if event.custom:
                self._custom.add((event.choice, event.index))
            call = _call_delta(event, (event.choice, event.index) in self._custom)
            return out + self._chunk(self._choice(event.choice, {"tool_calls": [call]}, None))
        logprobs = {"content": event.content, "refusal": None}
        return out + self._chunk(self._choice(event.choice, {}, None) | {"logprobs": logprobs})

    def end(self, account: Provenance) -> bytes:
        """The last chunk with ``tacit`` in it, and [DONE]."""
        last: dict[str, Json] = {"tacit": account.row()}
        if self._usage_wanted:
            return self._release() + sse({**self._head, "choices": [], "usage": usage_row(self._usage), **last}) + DONE
        kept, self._kept = self._kept[-1:], []
        roles = b"".join(self._role(choice["index"]) for choice in kept)
        return roles + sse({**self._head, "choices": kept, **last}) + DONE

    def _release(self) -> bytes:
        kept, self._kept = self._kept, []
        return b"".join(self._role(choice["index"]) + self._chunk(choice) for choice in kept)

    def _role(self, choice: int) -> bytes:
        if choice in self._begun:
            return b""
        self._begun.add(choice)
        return self._chunk(self._choice(choice, {"role": "assistant", "content": ""}, None))

    def _chunk(self, choice: dict[str, Json]) -> bytes:
        return sse({**self._head, "choices": [choice], **({"usage": None} if self._usage_wanted else {})})

    @staticmethod
    def _choice(index: int, delta: dict[str, Json], reason: str | None) -> dict[str, Json]:
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}


def _call_delta(event: ToolDelta, custom: bool) -> dict[str, Json]:
    kind, text = ("custom", "input") if custom else ("function", "arguments")
    row: dict[str, Json] = {"index": event.index}
    if event.identifier is not None:
        return row | {"id": event.identifier, "type": kind, kind: {"name": event.name, text: event.arguments}}
    return row | {kind: {text: event.arguments}}
