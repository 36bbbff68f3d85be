"""What every mode of collaboration speaks: a question, the events of its answer, and how it came about."""

import dataclasses
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from threading import Event as Flag
from typing import Any, Final, Literal, Protocol, TypeAlias

Json: TypeAlias = Any  # what json.loads gives
TextField = Literal["content", "reasoning_content", "refusal"]
_SUMS: Final = (
    *("tokens_up", "tokens_down", "bytes_up", "bytes_down", "gate_ms", "restored", "unknown", "malformed", "withheld"),
    *("attempts", "calls", "local_in", "local_out"),
)
FieldNames: Final[tuple[TextField, ...]] = ("content", "reasoning_content", "refusal")


@dataclass(frozen=True, slots=True)
class Delta:
    """More text of one field of one choice."""

    choice: int
    field: TextField
    text: str = dataclasses.field(repr=False)


@dataclass(frozen=True, slots=True)
class ToolDelta:
    """More of one tool call of one choice; ``identifier`` and ``name`` come with its first event."""

    choice: int
    index: int
    arguments: str = dataclasses.field(default="", repr=False)
    identifier: str | None = None
    name: str | None = dataclasses.field(default=None, repr=False)
    custom: bool = False  # a custom tool: its input is plain text; told with the name


@dataclass(frozen=True, slots=True)
class Logprobs:
    """Log-probabilities of one choice in OpenAI's shape; only where no placeholder can be in the answer."""

    choice: int
    content: list[Json] = dataclasses.field(repr=False)


@dataclass(frozen=True, slots=True)
class Finish:
    """A choice has ended: stop, length, tool_calls, content_filter or function_call. Nothing of it follows."""

    choice: int
    reason: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the one who answered counted them."""

    prompt: int
    completion: int
    details: Mapping[str, Json] = dataclasses.field(
        default_factory=dict
    )  # prompt_tokens_details and completion_tokens_details


Event: TypeAlias = Delta | ToolDelta | Logprobs | Finish | Usage


@dataclass(slots=True)
class Provenance:
    """How an answer came about, in counts and fixed words; never text. Filled in on the way."""

    mode: str
    answered_by: Literal["", "local", "llm"] = ""
    escalated: bool = False  # text left for the large model, whoever answered then
    reason: str = ""  # why this one answered: a short stable word
    masked: dict[str, int] = dataclasses.field(default_factory=dict)  # by type
    dropped: list[str] = dataclasses.field(default_factory=list)  # known fields of the request that do not leave
    tokens_up: int = 0
    tokens_down: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    gate_ms: float = 0.0
    latency_ms: float = 0.0
    ttft_ms: float = 0.0
    restored: int = 0
    unknown: int = 0
    malformed: int = 0
    withheld: int = 0
    confidence: float | None = None
    attempts: int = 0
    calls: int = 0  # of the large model
    local_in: int = 0  # tokens that the local model read, over all its turns
    local_out: int = 0  # and wrote
    agreement: float | None = None  # of the answers of both sides, 0 to 1, where both gave one
    flags: list[str] = dataclasses.field(default_factory=list)  # short stable words; see tacit_clients.modes.trust

    def row(self) -> dict[str, Json]:
        """The field ``tacit`` of a response."""
        names = ("answered_by", "mode", "escalated", "reason", "masked", "dropped", "tokens_up", "tokens_down")
        counts = ("bytes_up", "bytes_down", "restored", "unknown", "malformed", "withheld", "attempts", "calls")
        turns = ("local_in", "local_out", "flags")
        row: dict[str, Json] = {name: getattr(self, name) for name in (*names, *counts, *turns)}
        row |= {name: round(getattr(self, name), 3) for name in ("gate_ms", "latency_ms", "ttft_ms")}
        for name in ("confidence", "agreement"):
            value = getattr(self, name)
            row[name] = None if value is None else round(value, 4)
        return row

    def flag(self, word: str) -> None:
        """Say something about the answer, once."""
        if word not in self.flags:
            self.flags.append(word)

    def absorb(self, part: "Provenance") -> None:
        """Add what one of several calls cost; who answered, and why, the mode itself says."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(part, name))
        self.masked = {
            type: max(self.masked.get(type, 0), part.masked.get(type, 0)) for type in {*self.masked, *part.masked}
        }
        self.dropped = list(dict.fromkeys([*self.dropped, *part.dropped]))
        self.escalated |= part.escalated
        for word in part.flags:
            self.flag(word)


@dataclass(frozen=True, slots=True)
class Ask:
    """One question as the client put it. The body is a chat request in OpenAI's shape and is never logged."""

    body: Mapping[str, Json] = dataclasses.field(repr=False)
    conversation: str = dataclasses.field(repr=False)  # identifier in the vault
    stream: bool
    provenance: Provenance
    cancelled: Flag  # set when the client has gone
    asked_by: str = dataclasses.field(default="", repr=False)  # what the client calls itself
    stays: bool = False  # the client rules out that anything of it leaves


def stays(body: Mapping[str, Json]) -> bool:
    """Whether a client's request says, by ``"metadata": {"tacit": "local"}``, that nothing of it may leave."""
    metadata = body.get("metadata")
    return isinstance(metadata, dict) and metadata.get("tacit") == "local"


class Mode(Protocol):
    """One way to answer. Reached as model ``tacit/<name>``."""

    name: str

    def answer(self, ask: Ask) -> AsyncGenerator[Event]:
        """The answer's events in order; ``ask.provenance`` is complete when they end.

        Raises TextRefused, UpstreamFailed or Busy before the first event, or later: nothing that is held back then
        comes out.
        """
        ...


class Registry:
    """Modes by the model id under which clients ask for them."""

    def __init__(self, *modes: Mode) -> None:
        self._modes = {f"tacit/{mode.name}": mode for mode in modes}

    def add(self, mode: Mode) -> None:
        self._modes[f"tacit/{mode.name}"] = mode

    def find(self, model: str) -> Mode | None:
        return self._modes.get(model)

    def names(self) -> list[str]:
        return list(self._modes)
