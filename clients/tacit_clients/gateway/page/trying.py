"""The try-it box: what would be found in a text and how it would leave. Nothing is kept, sent or recorded."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from secrets import token_bytes
from typing import Final

from tacit_clients.egress import Gate
from tacit_clients.modes.protocol import Json
from tacit_privacy.errors import TextRefused
from tacit_privacy.pii.entities import Entity
from tacit_privacy.pii.policy import RedactionPolicy
from tacit_privacy.pii.pseudonyms.conversation import Conversation

LONGEST: Final = 20_000
_KEY: Final = token_bytes(32)  # one for all tries, so that placeholders stay while somebody types


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the text; ``type`` is empty where nothing was found."""

    text: str = field(repr=False)
    type: str = ""
    score: float = 0.0
    action: str = ""

    def row(self) -> dict[str, Json]:
        return {"text": self.text, "type": self.type, "score": round(self.score, 2), "action": self.action}


@dataclass(frozen=True, slots=True)
class Tried:
    """``leaves`` is None where the text would not leave at all; then ``reason`` and ``detail`` say why."""

    pieces: list[Piece] = field(repr=False)
    leaves: str | None = field(repr=False)
    reason: str = ""
    detail: str = ""


def tried(gate: Gate, text: str) -> Tried:
    """By the redactor and the last look that a request meets. For a worker thread."""
    if gate.redactor is None:
        return Tried([Piece(text)], text)
    done = gate.redactor.redact(text, Conversation("try", _KEY))
    kept = [each for each in gate.redactor.found(text) if gate.policy.action(each.type) == "keep"]
    pieces = _pieces(text, _together(done.entities, kept), gate.policy)
    try:
        gate.draft({"model": "try", "messages": [{"role": "user", "content": text}]}, None, False)
    except TextRefused as error:
        return Tried(pieces, None, error.reason, error.detail)
    return Tried(pieces, done.text)


def _together(replaced: Sequence[Entity], kept: Sequence[Entity]) -> list[Entity]:
    """What is kept stands behind what is replaced."""
    free = [k for k in kept if all(k.end <= r.start or k.start >= r.end for r in replaced)]
    return sorted([*replaced, *free])


def _pieces(text: str, entities: Sequence[Entity], policy: RedactionPolicy) -> list[Piece]:
    pieces, position = [], 0
    for each in entities:
        if each.start > position:
            pieces.append(Piece(text[position : each.start]))
        action = "mask" if each.type == "ESCAPED" else policy.action(each.type)
        pieces.append(Piece(text[each.start : each.end], each.type, each.score, action))
        position = each.end
    return [*pieces, Piece(text[position:])] if position < len(text) else pieces
