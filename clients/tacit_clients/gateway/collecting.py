"""Answers the owner lets the device learn from: kept only when he opted in, judged by him, in placeholder space."""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Final, Literal

from tacit_clients.egress import Gate
from tacit_clients.gateway.runtime import Runtime
from tacit_clients.modes.protocol import Json
from tacit_privacy.errors import BadInput, TextRefused
from tacit_privacy.pii.restoring import restore
from tacit_privacy.pii.vault.store import Vault

WAITING: Final = "answer"  # kept, not judged yet
EXAMPLE: Final = "example"  # what training reads
_MOST_WAITING: Final = 500
_LONGEST: Final = 100_000  # characters of a prompt or an answer; longer ones are no examples for a small model

Verdict = Literal["accepted", "corrected"]


@dataclass(frozen=True, slots=True)
class Kept:
    """One prompt and its answer with placeholders for names. ``verdict`` is empty while it waits for one."""

    number: int
    at: float
    mode: str
    answered_by: str
    verdict: str
    conversation: str = field(repr=False)
    prompt: str = field(repr=False)
    answer: str = field(repr=False)


class Collector:
    """Everything here blocks; it is called from worker threads."""

    def __init__(self, vault: Vault, gate: Gate, runtime: Runtime, clock: Callable[[], float] = time.time) -> None:
        self._vault, self._gate, self._runtime, self._clock = vault, gate, runtime, clock
        self._turn = Lock()  # one verdict at a time: none is given twice

    @property
    def wanted(self) -> bool:
        return self._runtime.switches.collect

    def switch(self, on: bool) -> None:
        """Begin or end collecting. At the end, what waits for a verdict is forgotten; examples stay."""
        with self._turn:
            self._runtime.collect(on)
            if not on:
                self._vault.erase_rows(WAITING)

    def keep(
        self, conversation: str, messages: list[Json], answer: Mapping[str, Json], mode: str, answered_by: str
    ) -> bool:
        """Keep an answer and the last thing the user said before it. False where there is nothing fit to learn from.

        Text that the policy keeps from leaving is no example either. Raises BadInput where the vault refuses.
        """
        prompt, text = _last_of_user(messages), answer.get("content")
        if not prompt or not isinstance(text, str) or not text.strip() or max(len(prompt), len(text)) > _LONGEST:
            return False
        redacted = self._redacted([prompt, text], conversation)
        if redacted is None:
            return False
        told: dict[str, Json] = {"at": self._clock(), "mode": mode, "answered_by": answered_by, "verdict": ""}
        told |= {"conversation": conversation, "prompt": redacted[0], "answer": redacted[1]}
        with self._turn:
            if not self.wanted:  # switched off meanwhile
                return False
            self._seal(WAITING, told)
            numbers = self._vault.numbers(WAITING)
            if len(numbers) > _MOST_WAITING:
                self._vault.erase_rows(WAITING, numbers[:-_MOST_WAITING])
        return True

    def waiting(self) -> list[Kept]:
        """What the owner has not judged yet, the newest first."""
        return self._all(WAITING)[::-1]

    def examples(self) -> list[Kept]:
        """What training may read, oldest first."""
        return self._all(EXAMPLE)

    def export(self) -> str:
        """The examples as JSON lines of ``prompt`` and ``answer``."""
        rows = ({"prompt": each.prompt, "answer": each.answer} for each in self.examples())
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

    def accept(self, number: int) -> bool:
        """Make an example of it. False where it is gone."""
        return self._judge(number, "accepted", None)

    def correct(self, number: int, answer: str) -> bool:
        """Make an example with the owner's own answer, redacted anew. False where it is gone.

        Raises TextRefused where the policy keeps that text; BadInput for no text, and once names cannot be told apart.
        """
        if not answer.strip() or len(answer) > _LONGEST:
            raise BadInput(f"a corrected answer has from 1 to {_LONGEST} characters")
        return self._judge(number, "corrected", answer)

    def drop(self, number: int) -> bool:
        return self._vault.erase_rows(WAITING, number) > 0

    def erase(self, numbers: int | Iterable[int] | None = None) -> int:
        """Forget one example, several, or all of them."""
        return self._vault.erase_rows(EXAMPLE, numbers)

    def erase_conversation(self, conversation: str) -> None:
        """Forget what was kept of a conversation, judged or not."""
        for kind in (WAITING, EXAMPLE):
            gone = [each.number for each in self._all(kind) if each.conversation == conversation]
            if gone:
                self._vault.erase_rows(kind, gone)

    def resolved(self, kept: Kept) -> Kept | None:
        """The same with names put back; None where they are gone."""
        names = self._vault.peek(kept.conversation)
        if names is None:
            return None
        return replace(kept, prompt=restore(kept.prompt, names).text, answer=restore(kept.answer, names).text)

    def _judge(self, number: int, verdict: Verdict, answer: str | None) -> bool:
        with self._turn:
            found = self._vault.rows(WAITING, after=number - 1, limit=1)
            if not found or found[0].number != number:
                return False
            told = json.loads(found[0].row)
            if answer is not None:
                told["answer"] = self._corrected(told["conversation"], answer)
            self._seal(EXAMPLE, told | {"verdict": verdict})
            return self._vault.erase_rows(WAITING, number) > 0

    def _corrected(self, conversation: str, answer: str) -> str:
        """The owner writes names or placeholders as he likes: all become names first, and then placeholders."""
        names = self._vault.peek(conversation)
        if names is None and self._gate.redactor is not None:
            raise BadInput("the names of this conversation are forgotten; accept the answer as it is, or drop it")
        whole = answer if names is None else restore(answer, names).text
        redacted = self._redacted([whole], conversation)
        if redacted is None:
            raise TextRefused("block", "the policy keeps something in this text")
        return redacted[0]

    def _redacted(self, texts: list[str], conversation: str) -> list[str] | None:
        """None where the policy lets one of ``texts`` not leave."""
        redactor, days = self._gate.redactor, self._gate.policy.conversation.expires_days
        if redactor is None:
            return texts
        with self._vault.conversation(conversation, expires_days=days) as names:
            done = redactor.redact_many(texts, names)
        return None if any(each.refused for each in done) else [each.text for each in done]

    def _seal(self, kind: str, told: dict[str, Json]) -> int:
        days = self._gate.policy.conversation.expires_days if kind == WAITING else None  # as long as its names
        return self._vault.seal(kind, json.dumps(told).encode("ascii"), expires_days=days)

    def _all(self, kind: str) -> list[Kept]:
        return [Kept(record.number, **json.loads(record.row)) for record in self._vault.rows(kind)]


def _last_of_user(messages: list[Json]) -> str:
    """What the user said last; empty where that is not the question that was answered, or no text."""
    last = messages[-1] if messages else None
    if not isinstance(last, dict) or last.get("role") != "user":
        return ""
    content = last.get("content")
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        if len(texts) != len(content) or not all(isinstance(text, str) for text in texts):
            return ""
        content = "\n".join(str(text) for text in texts)
    return content if isinstance(content, str) else ""
