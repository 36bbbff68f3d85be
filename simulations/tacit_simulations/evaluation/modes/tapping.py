"""What every answer cost, counted where it happens: on the wire to the large model and at the small model's pen."""

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from tacit_clients.egress.settings import UpstreamSettings
from tacit_clients.egress.transport import Reply, Transport
from tacit_clients.modes.local import Generator, Piece

_PASSES: Final = ("score", "weigh")  # of a local model, where it has them
_BYTES_PER_TOKEN: Final = 4  # of an endpoint that counts none; a rule of thumb for English


@dataclass(slots=True)
class Call:
    """One request to the large model, as the wire saw it. ``heard`` is what came back, ``ended`` None while it runs."""

    sent: bytes = field(repr=False)
    begun: float
    heard: bytearray = field(default_factory=bytearray, repr=False)
    attempts: int = 0
    ended: float | None = None

    def tokens(self) -> tuple[int, int, bool]:
        """Read and written, and whether the endpoint said so: else a token is four bytes of what moved."""
        for row in reversed(_rows(bytes(self.heard))):
            usage = row.get("usage") if isinstance(row, dict) else None
            if isinstance(usage, dict) and all(
                type(usage.get(name)) is int for name in ("prompt_tokens", "completion_tokens")
            ):
                return usage["prompt_tokens"], usage["completion_tokens"], True
        if not self.heard:
            return 0, 0, True  # nobody read it
        return len(self.sent) // _BYTES_PER_TOKEN, _written(bytes(self.heard)) // _BYTES_PER_TOKEN, False


class Tap(Transport):
    """The gateway's own transport, which also keeps every body that it is given to send, sent or not."""

    def __init__(self, settings: UpstreamSettings) -> None:
        super().__init__(settings)
        self.calls: list[Call] = []

    @asynccontextmanager
    async def post(
        self,
        content: bytes,
        stream: bool,
        paused: Callable[[], bool] = lambda: False,
        leaves: Callable[[int], None] = lambda attempts: None,
    ) -> AsyncIterator[Reply]:
        call = Call(content, time.perf_counter())
        self.calls.append(call)

        def counted(attempts: int) -> None:
            call.attempts += attempts
            leaves(attempts)

        try:
            async with super().post(content, stream, paused, counted) as reply:
                reply.chunks = _listened(reply.chunks, call)  # type: ignore[method-assign]  # body() reads by it too
                yield reply
        finally:
            call.ended = time.perf_counter()


def _listened(chunks: Callable[[], AsyncGenerator[bytes]], call: Call) -> Callable[[], AsyncGenerator[bytes]]:
    async def listened() -> AsyncGenerator[bytes]:
        async with aclosing(chunks()) as found:
            async for chunk in found:
                call.heard += chunk
                yield chunk

    return listened


def _rows(heard: bytes) -> list[Any]:
    """The JSON documents of a whole answer or of a stream."""
    lines = [line.removeprefix(b"data:").strip() for line in heard.splitlines() if line.startswith(b"data:")]
    rows = []
    for text in lines or [heard]:
        try:
            rows.append(json.loads(text))
        except ValueError:
            continue
    return rows


def _written(heard: bytes) -> int:
    """Bytes of text in the answers of what came back."""
    count = 0
    for row in _rows(heard):
        for choice in row.get("choices") or () if isinstance(row, dict) else ():
            for part in (choice.get("delta"), choice.get("message")):
                content = part.get("content") if isinstance(part, dict) else None
                count += len(content.encode()) if isinstance(content, str) else 0
    return count


@dataclass(slots=True)
class Turn:
    """One answer of the small model. ``read`` None: it was stopped before it told how long its prompt was."""

    prompt: str = field(repr=False)
    begun: float
    read: int | None = None
    written: int = 0
    ended: float | None = None


class Counted:
    """A local model that is counted. Everything else about it is the model's own."""

    def __init__(self, model: Generator) -> None:
        self._model = model
        self.turns: list[Turn] = []
        self._lengths: dict[str, int] = {}  # tokens of each prompt that was ever told

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._model, name)
        return self._weighed(found) if name in _PASSES else found

    @property
    def name(self) -> str:
        return self._model.name

    async def close(self) -> None:
        await self._model.close()

    async def stream(self, messages: list[dict[str, Any]], **settings: Any) -> AsyncGenerator[Piece]:
        turn = Turn(_text(messages), time.perf_counter())
        self.turns.append(turn)
        try:
            async with aclosing(self._model.stream(messages, **settings)) as pieces:
                async for piece in pieces:
                    turn.written += piece.logprob is not None
                    if piece.answer is not None:
                        turn.read = self._lengths[turn.prompt] = piece.answer.tokens_in
                    yield piece
        finally:
            turn.ended = time.perf_counter()

    def _weighed(self, work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """``score`` or ``weigh``, counted: one pass over a prompt and what is given as its answer, nothing written."""

        async def counted(messages: list[dict[str, Any]], given: str | Sequence[str], *more: Any, **named: Any) -> Any:
            text = given if isinstance(given, str) else "".join(given)
            turn = Turn(f"{_text(messages)}\n{text}", time.perf_counter())
            self.turns.append(turn)
            try:
                return await work(messages, given, *more, **named)
            finally:
                turn.ended = time.perf_counter()

        return counted

    def read(self, turn: Turn) -> int:
        """Tokens of the turn's prompt; of one that nobody counted, as another turn had them or by the usual length."""
        if turn.read is not None:
            return turn.read
        if turn.prompt in self._lengths:
            return self._lengths[turn.prompt]
        characters = sum(map(len, self._lengths))
        rate = sum(self._lengths.values()) / characters if characters else 1 / _BYTES_PER_TOKEN
        return round(rate * len(turn.prompt))


def _text(messages: Sequence[dict[str, Any]]) -> str:
    return "\n".join(str(message.get("content", "")) for message in messages)


@dataclass(frozen=True, slots=True)
class Work:
    """What was done up to a moment of one answer: tokens, bytes, calls, and this machine's milliseconds."""

    local_in: int = 0
    local_out: int = 0
    local_ms: float = 0.0
    calls: int = 0
    llm_in: int = 0
    llm_out: int = 0
    llm_ms: float = 0.0
    bytes_up: int = 0
    bytes_down: int = 0
    gate_ms: float = 0.0
    tokens_told: bool = True  # by the endpoint; else by the length of what moved


@dataclass(slots=True)
class Meter:
    """Reads tap and counter for one question at a time."""

    tap: Tap
    local: Counted | None

    def reset(self) -> None:
        self.tap.calls.clear()
        if self.local is not None:
            self.local.turns.clear()

    def mark(self) -> "Mark":
        """This moment, to be told when the answer has ended and every length is known."""
        turns = [] if self.local is None else [(turn, turn.written) for turn in self.local.turns]
        return Mark(time.perf_counter(), turns, [(call, len(call.heard)) for call in self.tap.calls])

    def work(self, mark: "Mark", gate_ms: float) -> Work:
        """What had been done at ``mark``. Of a call under way, what it had read counts, what it wrote does not yet."""
        tokens = [call.tokens() for call, _ in mark.calls]
        over = [call.ended is not None and call.ended <= mark.at for call, _ in mark.calls]
        return Work(
            local_in=sum(self.local.read(turn) for turn, _ in mark.turns) if self.local is not None else 0,
            local_out=sum(written for _, written in mark.turns),
            local_ms=1e3 * sum(_until(turn, mark.at) for turn, _ in mark.turns),
            calls=len(mark.calls),
            llm_in=sum(read for read, _, _ in tokens),
            llm_out=sum(written for (_, written, _), ended in zip(tokens, over, strict=True) if ended),
            llm_ms=1e3 * sum(_until(call, mark.at) for call, _ in mark.calls),
            bytes_up=sum(len(call.sent) * call.attempts for call, _ in mark.calls),
            bytes_down=sum(heard for _, heard in mark.calls),
            gate_ms=gate_ms,
            tokens_told=all(told for _, _, told in tokens),
        )


def _until(part: Turn | Call, at: float) -> float:
    """Seconds that ``part`` had taken at ``at``."""
    return (at if part.ended is None else min(part.ended, at)) - part.begun


@dataclass(frozen=True, slots=True)
class Mark:
    """Turns with what each had written, and calls with what had come of each, at one moment."""

    at: float
    turns: Sequence[tuple[Turn, int]]
    calls: Sequence[tuple[Call, int]]
