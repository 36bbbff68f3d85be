"""A large model's endpoint on loopback: real HTTP, answers as a test scripts them, remembers every byte it was sent."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn

Body = dict[str, Any]


@dataclass
class Reply:
    """What the endpoint answers: parts are sent one by one; ``broken`` cuts the connection after the last of them."""

    parts: list[bytes] = field(default_factory=list)
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    broken: bool = False
    before_s: float = 0.0
    between_s: float = 0.0


Script = Callable[[Body], Reply]


def message(content: str | None = "ok", reason: str = "stop", **fields: Any) -> Body:
    """A choice's message of a whole answer."""
    return {"index": 0, "message": {"role": "assistant", "content": content, **fields}, "finish_reason": reason}


def whole(*choices: Body, **fields: Any) -> Reply:
    """A chat.completion."""
    numbered = [choice | {"index": index} for index, choice in enumerate(choices)]
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    head = {"id": "chatcmpl-up", "object": "chat.completion", "created": 1, "model": "up"}
    return Reply([json.dumps({**head, "choices": numbered, "usage": usage, **fields}).encode()])


def chunk(delta: Body | None = None, reason: str | None = None, index: int = 0, **fields: Any) -> Body:
    """A chat.completion.chunk with one choice."""
    choice = {"index": index, "delta": delta or {}, "finish_reason": reason}
    return {
        "id": "chatcmpl-up",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "up",
        "choices": [choice],
    } | fields


def usage_chunk(prompt: int = 7, completion: int = 5) -> Body:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {"id": "chatcmpl-up", "object": "chat.completion.chunk", "choices": [], "usage": counts}


def event(row: Body) -> bytes:
    return f"data: {json.dumps(row, ensure_ascii=False)}\n\n".encode()


def stream(*rows: Body, done: bool = True, **settings: Any) -> Reply:
    """Server-sent chunks, one part each."""
    parts = [event(row) for row in rows] + ([b"data: [DONE]\n\n"] if done else [])
    return Reply(parts, headers={"content-type": "text/event-stream"}, **settings)


def streamed_text(text: str, size: int = 3, reason: str = "stop", **settings: Any) -> Reply:
    """``text`` in deltas of ``size`` characters, then the end and the usage."""
    deltas = [chunk({"content": text[at : at + size]}) for at in range(0, len(text), size)]
    return stream(chunk({"role": "assistant", "content": ""}), *deltas, chunk({}, reason), usage_chunk(), **settings)


def last_text(body: Body) -> str:
    """The text of the last message."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def echo(body: Body) -> Reply:
    """Says what it was told last."""
    return streamed_text(last_text(body)) if body.get("stream") else whole(message(last_text(body)))


class Upstream:
    """The running endpoint. ``script`` may be changed at any time."""

    def __init__(self, script: Script = echo) -> None:
        self.script = script
        self.received: list[bytes] = []
        self.heads: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.callers: list[tuple[str, int]] = []  # of each request: two on one connection have the same
        self.gone = threading.Event()  # a client went before it had everything
        self.url = ""

    @property
    def everything(self) -> bytes:
        """All bytes that ever arrived, heads included."""
        heads = json.dumps([self.heads, self.paths]).encode()
        return b"\n".join([*self.received, heads])

    @property
    def bodies(self) -> list[Body]:
        return [json.loads(raw) for raw in self.received]

    async def __call__(
        self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":
            return
        raw = b""
        async for part in _parts(receive):
            raw += part
        self.received.append(raw)
        self.callers.append(tuple(scope["client"]))
        self.paths.append(scope["path"] + "?" + scope["query_string"].decode())
        self.heads.append({name.decode(): value.decode() for name, value in scope["headers"]})
        reply = self.script(json.loads(raw))
        watching = asyncio.create_task(self._watch(receive))
        try:
            await asyncio.sleep(reply.before_s)
            headers = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
            await send({"type": "http.response.start", "status": reply.status, "headers": headers})
            for part in reply.parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
                await asyncio.sleep(reply.between_s)
            if reply.broken:
                raise ConnectionAbortedError
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            watching.cancel()

    async def _watch(self, receive: Callable[[], Awaitable[Any]]) -> None:
        while (await receive())["type"] != "http.disconnect":
            continue
        self.gone.set()


async def _parts(receive: Callable[[], Awaitable[Any]]) -> AsyncIterator[bytes]:
    more = True
    while more:
        got = await receive()
        yield got.get("body", b"")
        more = got.get("more_body", False)


class QuietServer(uvicorn.Server):
    """A server for a thread: signals stay with the main thread."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def serving(server: uvicorn.Server) -> Iterator[int]:
    """Run ``server`` in a thread; yields its port."""
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the server did not start")
        thread.join(0.005)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)
        if thread.is_alive():
            raise RuntimeError("the server did not stop")


@contextlib.contextmanager
def upstream(script: Script = echo) -> Iterator[Upstream]:
    """An endpoint that runs while the block does."""
    endpoint = Upstream(script)
    config = uvicorn.Config(
        endpoint,
        port=0,
        log_config=None,
        log_level="critical",
        access_log=False,
        ws="none",
        timeout_graceful_shutdown=1,
    )
    with serving(QuietServer(config)) as port:
        endpoint.url = f"http://127.0.0.1:{port}/v1"
        yield endpoint
