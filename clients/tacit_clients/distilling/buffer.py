"""Pairs of prompt and answer that a student may learn from: sealed on the device, few, and gone with their talk."""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from secrets import token_bytes
from threading import Lock
from typing import Final

from tacit_clients.training.examples import DeviceData, Example
from tacit_privacy.pii.vault.store import Vault

DISTILLED: Final = "distilled"  # kind of record in the vault
_HELD_OUT: Final = 10  # one example in so many is for the owner's own scoring


@dataclass(frozen=True, slots=True)
class Pair:
    """One prompt and the large model's answer, both in placeholder space."""

    number: int
    at: float
    conversation: str = field(repr=False)
    prompt: str = field(repr=False)
    answer: str = field(repr=False)


class DistillationBuffer:
    """Everything here blocks; it is called from worker threads.

    At most ``most`` pairs, the oldest go first, each for at most ``days`` and no longer than the vault knows the
    conversation that it comes from: where that is gone, its pairs are erased by the next call that keeps or reads one.
    """

    def __init__(
        self, vault: Vault, most: int = 2000, days: float = 30.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._vault, self._most, self._days, self._clock = vault, most, days, clock
        self._turn = Lock()
        self._key = token_bytes(32)  # digests are of this process alone
        self._kept: dict[int, tuple[bytes, str]] = {}  # by number: the prompt's digest, and the conversation

    def keep(self, conversation: str, prompt: str, answer: str) -> bool:
        """Keep a pair that is in placeholder space already. False where its prompt is known, or its conversation gone.

        Raises BadInput where the vault refuses.
        """
        with self._turn:
            self._refresh()
            known = {prompt for prompt, _ in self._kept.values()}
            if self._digest(prompt) in known or not self._vault.version(conversation):
                return False
            told = {"at": self._clock(), "conversation": conversation, "prompt": prompt, "answer": answer}
            self._vault.seal(DISTILLED, json.dumps(told).encode("ascii"), expires_days=self._days)
            numbers = self._vault.numbers(DISTILLED)
            if len(numbers) > self._most:
                self._vault.erase_rows(DISTILLED, numbers[: -self._most])
        return True

    def pairs(self) -> list[Pair]:
        """All that is kept, oldest first. Those whose conversation is gone are erased on the way."""
        found = [Pair(record.number, **json.loads(record.row)) for record in self._vault.rows(DISTILLED)]
        gone = self._erase_gone({pair.number: pair.conversation for pair in found})
        return [pair for pair in found if pair.number not in gone]

    def examples(self) -> tuple[Example, ...]:
        """What training reads, oldest first."""
        return tuple(Example(pair.prompt, pair.answer) for pair in self.pairs())

    def count(self) -> int:
        """How many are kept. Cheap: opens no seal."""
        return len(self._vault.numbers(DISTILLED))

    def erase(self, numbers: int | Iterable[int] | None = None) -> int:
        """Forget one pair, several, or all of them; returns how many there were."""
        return self._vault.erase_rows(DISTILLED, numbers)

    def erase_conversation(self, conversation: str) -> int:
        """Forget what was kept of a conversation; returns how many pairs that were."""
        gone = [pair.number for pair in self.pairs() if pair.conversation == conversation]
        return self._vault.erase_rows(DISTILLED, gone) if gone else 0

    def _refresh(self) -> None:
        """Know what is kept, and erase what lost its conversation. Opens only seals that are new since last time."""
        for record in self._vault.rows(DISTILLED, after=max(self._kept, default=0)):
            told = json.loads(record.row)
            self._kept[record.number] = self._digest(told["prompt"]), told["conversation"]
        there = set(self._vault.numbers(DISTILLED))
        there -= self._erase_gone({number: talk for number, (_, talk) in self._kept.items() if number in there})
        self._kept = {number: kept for number, kept in self._kept.items() if number in there}

    def _erase_gone(self, conversations: Mapping[int, str]) -> set[int]:
        """Erase those whose conversation the vault knows no longer; returns their numbers."""
        there = self._vault.known(set(conversations.values()))
        gone = {number for number, talk in conversations.items() if talk not in there}
        if gone:
            self._vault.erase_rows(DISTILLED, gone)
        return gone

    def _digest(self, prompt: str) -> bytes:
        """Of the prompt without case and spacing."""
        plain = " ".join(prompt.casefold().split())
        return blake2b(plain.encode("utf-8", "surrogatepass"), key=self._key, digest_size=16).digest()


def device_data(buffer: DistillationBuffer) -> DeviceData:
    """A device's data for ``tacit_clients.app``: so what it distilled is contributed as any adapter is.

    Clipped, noised and charged by the same round; nothing of a pair but the clipped update leaves.
    """
    examples = buffer.examples()
    test = examples[_HELD_OUT - 1 :: _HELD_OUT]
    train = tuple(example for number, example in enumerate(examples, 1) if number % _HELD_OUT)
    return DeviceData(train, test)
