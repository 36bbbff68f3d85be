"""``POST /v1/chat/completions``."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from tacit_clients.gateway.bodies import parsed
from tacit_clients.gateway.desk import Answering, Desk, Presence
from tacit_clients.gateway.errors import Problem, problem_of
from tacit_clients.gateway.rendering import Chunks, completion, sse
from tacit_clients.gateway.security import Receive, Scope, Send

EVENT_STREAM = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no"))


class ChatCompletions:
    """A raw ASGI endpoint: this is the road that must be short."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = parsed(scope["state"]["body"])
        presence = Presence(receive)
        async with presence.watched():
            answering = await self._desk.ask(scope, "/v1/chat/completions", body, presence.gone)
            async with self._desk.counted(answering), aclosing(answering.events):
                if answering.ask.stream:
                    await self._stream(body, answering, presence, send)
                else:
                    await self._whole(body, answering, presence, send)

    async def _whole(self, body: dict[str, Any], answering: Answering, presence: Presence, send: Send) -> None:
        async for _ in answering.events:
            continue
        row = completion(answering.gathered, body["model"], answering.ask.provenance)
        presence.finish()
        await send_json(send, row, answering.final_headers())

    async def _stream(self, body: dict[str, Any], answering: Answering, presence: Presence, send: Send) -> None:
        options = body.get("stream_options")
        chunks = Chunks(body["model"], isinstance(options, dict) and options.get("include_usage") is True)

        async def rendered() -> AsyncGenerator[bytes]:
            async for event in answering.events:
                yield chunks.feed(event)
            yield chunks.end(answering.ask.provenance)

        await send_stream(send, answering, rendered(), presence)


async def send_json(send: Send, row: Any, headers: list[tuple[bytes, bytes]], status: int = 200) -> None:
    """One JSON document."""
    content = json.dumps(row, separators=(",", ":")).encode("ascii")
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": content})


async def send_stream(
    send: Send,
    answering: Answering,
    parts: AsyncGenerator[bytes],
    presence: Presence,
    failed: Callable[[Problem], bytes] = lambda problem: sse(problem.row()),
) -> None:
    """Server-sent events. Nothing is sent before the first event is there: what fails before has a status of its own.

    What fails later ends the stream with a typed error; what was held back then is never shown.
    """
    begun = False
    problem = None
    async with aclosing(parts):
        try:
            async for part in parts:
                if not part:
                    continue
                if not begun:
                    begun = True
                    headers = [*EVENT_STREAM, *answering.headers()]
                    await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body", "body": part, "more_body": True})
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if not begun:
                raise
            problem = problem_of(error)
            answering.failed = problem.code
    presence.finish()
    last = b"" if problem is None else failed(problem)
    await send({"type": "http.response.body", "body": last, "more_body": False})
