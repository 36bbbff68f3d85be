"""Which conversation a request belongs to: by header, by a response's identifier, or by what was said before."""

import base64
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from secrets import token_bytes
from typing import Final

from tacit_clients.modes.protocol import Json
from tacit_privacy.pii.vault.store import Vault

HEADER: Final = "x-tacit-conversation"
_OURS: Final = re.compile(r"tc-[a-z2-7]{26}")
_SEVERAL: Final = "tc-several"  # stands behind a transcript that two conversations share word for word
_MOST_TRIES: Final = 16


def new_identifier() -> str:
    """Random, 128 bits: who knows it may go on with the conversation."""
    return f"tc-{_base32(token_bytes(17)[:16])}"


def of_header(value: str) -> str:
    """A client's own name for a conversation as the vault knows it; one that we gave out stays as it is."""
    return value if _OURS.fullmatch(value) else f"tc-{_base32(sha256(value.encode()).digest()[:16])}"


class Conversations:
    """Finds conversations again by transcript: two that begin alike are one only for whoever heard the same answer.

    A client sends the whole transcript each time: its first request begins a conversation, later ones are known by
    everything up to an answer of ours. Where two conversations agree in every word so far, neither is continued: a new
    one begins, and nobody gets at the other's values.
    """

    def __init__(self, vault: Vault, expires_days: float) -> None:
        self._vault, self._expires_days = vault, expires_days

    def find(self, messages: Sequence[Json], who: str) -> str:
        """The conversation that ``messages`` goes on with, or a new one. ``who``: the client's field ``user``."""
        ends = [index for index, message in enumerate(messages) if _role(message) == "assistant"]
        for end in ends[::-1][:_MOST_TRIES]:
            found = self._vault.find(_digest(messages[: end + 1], who))
            if found == _SEVERAL:
                break
            if found is not None:
                return found
        return new_identifier()

    def learn(self, identifier: str, messages: Sequence[Json], answers: Sequence[Mapping[str, Json]], who: str) -> None:
        """Remember that ``identifier`` goes on from ``messages`` and any of ``answers`` (one per choice)."""
        for answer in answers:
            alias = _digest([*messages, answer], who)
            other = self._vault.claim(identifier, alias)
            if other not in (None, _SEVERAL):
                with self._vault.conversation(_SEVERAL, expires_days=self._expires_days):
                    self._vault.alias(_SEVERAL, alias)


def _digest(messages: Sequence[Json], who: str) -> bytes:
    """Of what was said, not of how the client wrote it: nulls, parts and further fields make no difference."""
    hashed = sha256(b"transcript\0" + who.encode("utf-8", "surrogatepass"))
    for message in messages:
        for part in _parts(message):
            raw = part.encode("utf-8", "surrogatepass")
            hashed.update(len(raw).to_bytes(8, "big") + raw)
        hashed.update(b"\xff")
    return hashed.digest()


def _parts(message: Json) -> list[str]:
    if not isinstance(message, dict):
        return [""]
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(str(part.get("text", part)) if isinstance(part, dict) else str(part) for part in content)
    parts = [_role(message), content if isinstance(content, str) else ""]
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = (call.get("function") or call.get("custom") or {}) if isinstance(call, dict) else {}
        if isinstance(function, dict):
            parts += [str(function.get("name")), str(function.get("arguments", function.get("input")))]
    return parts


def _role(message: Json) -> str:
    return str(message.get("role", "")) if isinstance(message, dict) else ""


def _base32(raw: bytes) -> str:
    return base64.b32encode(raw).decode().rstrip("=").lower()
