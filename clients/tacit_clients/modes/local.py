"""``tacit/local``: the device's own small model answers, and nothing leaves."""

import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from tacit_clients.modes.protocol import Ask, Delta, Event, Finish, Json, Usage
from tacit_clients.slm.answers import LocalUnusable
from tacit_privacy.errors import BadInput, EngineFailed, PromptTooLong, TacitError

MOST_CHOICES: Final = 8
UNUSABLE: Final = (LocalUnusable, PromptTooLong, EngineFailed)
"""What the local model raises where it cannot answer a prompt that another model could."""


class Piece(Protocol):
    """A bit of an answer as the model writes it; ``finish`` comes with the last one: stop or length."""

    @property
    def text(self) -> str: ...
    @property
    def finish(self) -> str | None: ...
    @property
    def logprob(self) -> float | None: ...
    @property
    def answer(self) -> "Account | None": ...


class Account(Protocol):
    """What the model tells of a whole answer, with its last piece."""

    @property
    def tokens_in(self) -> int: ...


class Flag(Protocol):
    """Says whether somebody still waits."""

    def is_set(self) -> bool: ...


class Generator(Protocol):
    """What a local model must do; ``tacit_clients.slm.generation.LocalModel`` does."""

    @property
    def name(self) -> str: ...
    async def close(self) -> None: ...
    def stream(
        self,
        messages: list[dict[str, Any]],
        *,
        max_tokens: int | None,
        temperature: float | None,
        top_p: float | None,
        stop: Sequence[str],
        seed: int | None,
        cancelled: Flag,
        personal: bool,
    ) -> AsyncGenerator[Piece]: ...


@dataclass(frozen=True)
class LocalRequest:
    """A chat request as far as a small model can follow it."""

    messages: list[dict[str, str]] = field(repr=False)
    choices: int
    max_tokens: int
    temperature: float | None
    top_p: float | None
    stop: tuple[str, ...] = field(repr=False)
    seed: int | None
    personal: bool = True  # with the owner's personal adapter; never for a text that may leave


def needs_more(body: Mapping[str, Json]) -> str:
    """Why no local model can do what is asked, as a short stable word; empty where one can try."""
    if _wants_tools(body):
        return "needs_tools"
    wanted = body.get("response_format")
    if isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema"):
        return "needs_json"
    if any(_has_more_than_text(message) for message in body.get("messages") or ()):
        return "needs_images"
    return ""


def local_request(body: Mapping[str, Json], most_tokens: int) -> LocalRequest:
    """Raises BadInput for what no local model can do and what is no chat request."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadInput("messages must be a list with at least one message")
    if any(_has_more_than_text(message) for message in messages):
        raise BadInput("the local model reads text only; ask tacit/llm or leave the other parts out")
    if isinstance(body.get("response_format"), dict) and body["response_format"].get("type") != "text":
        raise BadInput("the local model cannot promise JSON; ask tacit/llm or leave response_format out")
    if _wants_tools(body):
        raise BadInput('the local model calls no tools; ask tacit/llm, leave tools out, or say "tool_choice": "none"')
    limits = [_count(body, name, most_tokens) for name in ("max_completion_tokens", "max_tokens")]
    choices = _count(body, "n", 1)
    if choices > MOST_CHOICES:
        raise BadInput(f"the local model gives at most {MOST_CHOICES} choices; ask for fewer in n")
    return LocalRequest(
        [_plain(message) for message in messages],
        choices,
        min(most_tokens, *limits),
        _number(body.get("temperature")),
        _number(body.get("top_p")),
        _stops(body.get("stop")),
        body["seed"] if type(body.get("seed")) is int else None,
    )


def why_unusable(error: TacitError) -> str:
    """A short stable word for one of UNUSABLE."""
    return "too_long" if isinstance(error, PromptTooLong) else "local_unusable"


class LocalMode:
    """Streams what the local model writes."""

    name = "local"

    def __init__(self, model: Generator, most_tokens: int = 512) -> None:
        self.model, self.most_tokens = model, most_tokens

    async def answer(self, ask: Ask) -> AsyncGenerator[Event]:
        request = local_request(ask.body, self.most_tokens)
        ask.provenance.answered_by = "local"
        ask.provenance.reason = ask.provenance.reason or "asked"
        async with aclosing(self.choices(request, 0, 0, 0, ask)) as events:
            async for event in events:
                yield event

    async def choices(
        self, request: LocalRequest, first: int, prompt: int, tokens: int, ask: Ask
    ) -> AsyncGenerator[Event]:
        """Choices from number ``first`` on, then the usage; ``tokens`` were spent before on a prompt of ``prompt``."""
        for choice in range(first, request.choices):
            spoken = Confidence()
            async with aclosing(self.pieces(request, choice, ask.cancelled)) as pieces:
                async for piece in pieces:
                    spoken.add(piece)
                    for event in events_of(piece, choice):
                        yield event
            prompt, tokens = max(prompt, spoken.prompt), tokens + spoken.tokens
            ask.provenance.confidence = spoken.value
        ask.provenance.tokens_up, ask.provenance.tokens_down = prompt, tokens
        yield Usage(prompt, tokens)

    async def pieces(self, request: LocalRequest, choice: int, cancelled: Flag) -> AsyncGenerator[Piece]:
        """What the model writes for one choice. Errors of others than the project become EngineFailed, wordless."""
        failed = ""
        try:
            async with aclosing(self._written(request, choice, cancelled)) as pieces:
                async for piece in pieces:
                    yield piece
        except TacitError:
            raise
        except Exception as error:
            failed = type(error).__name__
        if failed:
            raise EngineFailed(f"the local model failed ({failed})")

    def _written(self, request: LocalRequest, choice: int, cancelled: Flag) -> AsyncGenerator[Piece]:
        return self.model.stream(
            [dict(message) for message in request.messages],
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            stop=request.stop,
            seed=None if request.seed is None else request.seed + choice,
            cancelled=cancelled,
            personal=request.personal,
        )


def events_of(piece: Piece, choice: int) -> list[Event]:
    """A piece as events of ``choice``."""
    events: list[Event] = [Delta(choice, "content", piece.text)] if piece.text else []
    if piece.finish:
        events.append(Finish(choice, piece.finish if piece.finish in ("stop", "length") else "stop"))
    return events


class Confidence:
    """exp of the mean log-probability of the tokens so far; None where the model tells none."""

    def __init__(self) -> None:
        self.tokens, self.prompt, self._sum = 0, 0, 0.0

    def add(self, piece: Piece) -> None:
        if piece.logprob is not None and math.isfinite(piece.logprob):
            self._sum, self.tokens = self._sum + piece.logprob, self.tokens + 1
        if piece.answer is not None:
            self.prompt = piece.answer.tokens_in

    @property
    def value(self) -> float | None:
        return math.exp(self._sum / self.tokens) if self.tokens else None


def _has_more_than_text(message: Json) -> bool:
    content = message.get("content") if isinstance(message, dict) else None
    return isinstance(content, list) and not all(isinstance(p, dict) and p.get("type") == "text" for p in content)


def _plain(message: Json) -> dict[str, str]:
    """Role and text; a tool's result and a call become text that a small model can read."""
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise BadInput("every message needs a role")
    content = message.get("content")
    if isinstance(content, list):
        content = "\n".join(part["text"] for part in content if isinstance(part.get("text"), str))
    if content is not None and not isinstance(content, str):
        raise BadInput("a message's content must be a string or a list of parts")
    role = {"developer": "system", "tool": "user", "function": "user"}.get(message["role"], message["role"])
    if role not in ("system", "user", "assistant"):
        raise BadInput("a message's role must be system, developer, user, assistant, tool or function")
    return {"role": role, "content": content or ""}


def _wants_tools(body: Mapping[str, Json]) -> bool:
    """Whether tools may be called, by today's names or those of before."""
    asked = (("tools", "tool_choice"), ("functions", "function_call"))
    return any(body.get(tools) and body.get(choice) != "none" for tools, choice in asked)


def _count(body: Mapping[str, Json], name: str, default: int) -> int:
    """A setting that counts. Raises BadInput for one below 1, which would otherwise be no limit at all."""
    value = body.get(name)
    if value is None:
        return default
    if type(value) is not int or value < 1:
        raise BadInput(f"{name} must be a whole number of at least 1")
    return value


def _number(value: Json) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _stops(value: Json) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(word for word in value if isinstance(word, str)) if isinstance(value, list) else ()
