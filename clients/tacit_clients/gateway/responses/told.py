"""Events of an answer as a Responses object, whole or as its stream of events."""

import time
from collections.abc import Iterator
from secrets import token_hex
from typing import Any

from tacit_clients.gateway.errors import Problem
from tacit_clients.gateway.rendering import Gathered, sse
from tacit_clients.modes.protocol import Delta, Event, Finish, Json, Provenance, ToolDelta, Usage

_PARTS = {"content": ("output_text", "text"), "refusal": ("refusal", "refusal")}


class Output:
    """Output items in the order in which the answer opens them, and the events that tell of them."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self._message: int | None = None
        self._reasoning: int | None = None
        self._calls: dict[int, int] = {}
        self._parts: dict[str, int] = {}
        self._open: list[int] = []

    def feed(self, event: Event) -> Iterator[dict[str, Json]]:
        """Only the first choice: a response has one."""
        if isinstance(event, Usage) or event.choice != 0:
            return
        if isinstance(event, Delta) and event.field == "reasoning_content":
            yield from self._think(event.text)
        elif isinstance(event, Delta):
            yield from self._say(event)
        elif isinstance(event, ToolDelta):
            yield from self._call(event)
        elif isinstance(event, Finish):
            yield from self._close(event.reason)

    def _begin(self, item: dict[str, Any]) -> Iterator[dict[str, Json]]:
        self.items.append(item)
        self._open.append(len(self.items) - 1)
        yield {"type": "response.output_item.added", "output_index": len(self.items) - 1, "item": _copy(item)}

    def _think(self, text: str) -> Iterator[dict[str, Json]]:
        if self._reasoning is None:
            self._reasoning = len(self.items)
            content = [{"type": "reasoning_text", "text": ""}]
            yield from self._begin(
                {"id": f"rs_{token_hex(12)}", "type": "reasoning", "summary": [], "content": content}
            )
        item = self.items[self._reasoning]
        item["content"][0]["text"] += text
        yield self._where(self._reasoning, 0) | {"type": "response.reasoning_text.delta", "delta": text}

    def _say(self, event: Delta) -> Iterator[dict[str, Json]]:
        kind, name = _PARTS[event.field]
        if self._message is None:
            self._message = len(self.items)
            head = {"id": f"msg_{token_hex(12)}", "type": "message", "role": "assistant"}
            yield from self._begin({**head, "status": "in_progress", "content": []})
        item = self.items[self._message]
        if kind not in self._parts:
            self._parts[kind] = len(item["content"])
            part: dict[str, Json] = {"type": kind, name: ""} | ({"annotations": []} if kind == "output_text" else {})
            item["content"].append(part)
            where = self._where(self._message, self._parts[kind])
            yield where | {"type": "response.content_part.added", "part": dict(part)}
        part_index = self._parts[kind]
        item["content"][part_index][name] += event.text
        delta: dict[str, Json] = {"type": f"response.{kind}.delta", "delta": event.text}
        yield self._where(self._message, part_index) | delta | ({"logprobs": []} if kind == "output_text" else {})

    def _call(self, event: ToolDelta) -> Iterator[dict[str, Json]]:
        if event.index not in self._calls:
            self._calls[event.index] = len(self.items)
            text = "input" if event.custom else "arguments"
            kind = "custom_tool_call" if event.custom else "function_call"
            head = {"id": f"fc_{token_hex(12)}", "type": kind, "status": "in_progress", "call_id": event.identifier}
            yield from self._begin({**head, "name": event.name or "", text: ""})
        if event.arguments:
            index = self._calls[event.index]
            item = self.items[index]
            custom = item["type"] == "custom_tool_call"
            item["input" if custom else "arguments"] += event.arguments
            kind = "custom_tool_call_input" if custom else "function_call_arguments"
            where = {"item_id": item["id"], "output_index": index}
            yield where | {"type": f"response.{kind}.delta", "delta": event.arguments}

    def _close(self, reason: str) -> Iterator[dict[str, Json]]:
        for index in self._open:
            item = self.items[index]
            if item["type"] == "message":
                item["status"] = "incomplete" if reason in ("length", "content_filter") else "completed"
                yield from self._close_parts(index, item)
            elif item["type"] == "reasoning":
                text = item["content"][0]["text"]
                yield self._where(index, 0) | {"type": "response.reasoning_text.done", "text": text}
            else:
                item["status"] = "completed"
                custom = item["type"] == "custom_tool_call"
                name = "input" if custom else "arguments"
                kind = "custom_tool_call_input" if custom else "function_call_arguments"
                done = {"item_id": item["id"], "output_index": index, name: item[name], "name": item["name"]}
                yield done | {"type": f"response.{kind}.done"}
            yield {"type": "response.output_item.done", "output_index": index, "item": _copy(item)}
        self._open = []

    def _close_parts(self, index: int, item: dict[str, Any]) -> Iterator[dict[str, Json]]:
        for number, part in enumerate(item["content"]):
            name = "text" if part["type"] == "output_text" else "refusal"
            done: dict[str, Json] = {"type": f"response.{part['type']}.done", name: part[name]}
            extra: dict[str, Json] = {"logprobs": []} if part["type"] == "output_text" else {}
            yield self._where(index, number) | done | extra
            yield self._where(index, number) | {"type": "response.content_part.done", "part": dict(part)}

    def _where(self, index: int, part: int) -> dict[str, Json]:
        return {"item_id": self.items[index]["id"], "output_index": index, "content_index": part}


def response_row(identifier: str, body: dict[str, Json], status: str) -> dict[str, Json]:
    """A Responses object without output; what the client asked for stands in it as it was asked."""
    asked = ("instructions", "max_output_tokens", "metadata", "previous_response_id", "temperature", "top_p", "user")
    row: dict[str, Json] = {name: body.get(name) for name in asked}
    text = body.get("text") if isinstance(body.get("text"), dict) else {"format": {"type": "text"}}
    return row | {
        "id": identifier,
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": body.get("model"),
        "output": [],
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "reasoning": body.get("reasoning") or {"effort": None, "summary": None},
        "store": body.get("store") is not False,
        "text": text,
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "truncation": "disabled",
        "usage": None,
    }


def completed(row: dict[str, Json], output: Output, gathered: Gathered, account: Provenance) -> dict[str, Json]:
    """``row`` at its end."""
    first = gathered.messages.get(0)
    reason = first.reason if first is not None else "stop"
    cut = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(reason)
    usage = gathered.usage or Usage(0, 0)
    details = usage.details
    counts = {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": _detail(details, "prompt_tokens_details", "cached_tokens")},
        "output_tokens": usage.completion,
        "output_tokens_details": {
            "reasoning_tokens": _detail(details, "completion_tokens_details", "reasoning_tokens")
        },
        "total_tokens": usage.prompt + usage.completion,
    }
    return row | {
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": cut} if cut else None,
        "output": [_copy(item) for item in output.items],
        "usage": counts,
        "tacit": account.row(),
    }


class ResponseEvents:
    """The stream: numbered events that open, fill and close a response."""

    def __init__(self, row: dict[str, Json]) -> None:
        self.row, self.output, self._number = row, Output(), 0

    def begin(self) -> bytes:
        created = self._event({"type": "response.created", "response": self.row})
        return created + self._event({"type": "response.in_progress", "response": self.row})

    def feed(self, event: Event) -> bytes:
        return b"".join(self._event(row) for row in self.output.feed(event))

    def end(self, row: dict[str, Json]) -> bytes:
        kind = "response.incomplete" if row["status"] == "incomplete" else "response.completed"
        return self._event({"type": kind, "response": row})

    def fail(self, problem: Problem) -> bytes:
        """A typed error, and the response that failed, without the text that it had."""
        told = {"type": "error", "code": problem.code, "message": problem.message, "param": None}
        failed = self.row | {"status": "failed", "error": {"code": "server_error", "message": problem.message}}
        return self._event(told) + self._event({"type": "response.failed", "response": failed})

    def _event(self, row: dict[str, Json]) -> bytes:
        numbered = row | {"sequence_number": self._number}
        self._number += 1
        return sse(numbered, row["type"])


def _detail(details: Any, group: str, name: str) -> int:
    found = details.get(group, {}).get(name, 0)
    return found if isinstance(found, int) else 0


def _copy(item: dict[str, Any]) -> dict[str, Any]:
    content = item.get("content")
    return item | ({"content": [dict(part) for part in content]} if isinstance(content, list) else {})
