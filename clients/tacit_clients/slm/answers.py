"""What a local answer consists of: pieces while it is written, one account of it at the end. Without torch."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from tacit_clients.slm.sampling import Token
from tacit_clients.slm.text_stream import TextStream
from tacit_privacy.errors import BadInput

Finish = Literal["stop", "length", "cancelled"]


class LocalUnusable(BadInput):
    """The model, or an adapter, that was named at opening cannot be loaded: no fault of the request that finds out."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished answer. ``confidence`` is the geometric mean of its tokens' probabilities, ``lowest`` their least.

    Probabilities are the model's own, before temperature and top_p; the token that ends the answer counts. Both are 0
    where there is no token. ``tokens_out`` counts every token that was computed, also those a stop string swallowed.
    """

    text: str = field(repr=False)
    tokens_in: int
    tokens_out: int
    confidence: float
    lowest: float
    finish: Finish
    seconds_to_first: float  # from the request to its first token, with the time in the queue
    seconds: float


@dataclass(frozen=True, slots=True)
class Piece:
    """One token's share of an answer. ``text`` may be empty: held back, or part of a character.

    ``logprob`` is the token's; None for a last piece that only lets go of text that was held back. The last piece alone
    has ``finish`` and ``answer``.
    """

    text: str = field(repr=False)
    finish: Finish | None = None
    logprob: float | None = None
    answer: Answer | None = None


@dataclass
class Writer:
    """Turns tokens into pieces and keeps the account. ``started``: when the request came, by ``time.perf_counter``."""

    text: TextStream
    ends: frozenset[int]
    tokens_in: int
    started: float
    _written: list[str] = field(default_factory=list, repr=False)
    _logprobs: list[float] = field(default_factory=list)
    _first: float | None = None

    def pieces(self, tokens: Iterable[Token], cancelled: Callable[[], bool]) -> Iterator[Piece]:
        """A piece for every token, and a last one with the account; ``tokens`` is left where the answer ends."""
        for token in tokens:
            self._count(token)
            if token.id in self.ends:
                yield self._last(self.text.close(), "stop", token.logprob)
                return
            fresh = self.text.push(token.id)
            if self.text.stopped:
                yield self._last(fresh, "stop", token.logprob)
                return
            self._written.append(fresh)
            yield Piece(fresh, logprob=token.logprob)
        rest = self.text.close()
        over: Finish = "stop" if self.text.stopped else "cancelled" if cancelled() else "length"
        yield self._last(rest, over, None)

    def _count(self, token: Token) -> None:
        if self._first is None:
            self._first = time.perf_counter() - self.started
        self._logprobs.append(token.logprob)

    def _last(self, text: str, finish: Finish, logprob: float | None) -> Piece:
        self._written.append(text)
        seconds = time.perf_counter() - self.started
        count = len(self._logprobs)
        account = Answer(
            text="".join(self._written),
            tokens_in=self.tokens_in,
            tokens_out=count,
            confidence=math.exp(math.fsum(self._logprobs) / count) if count else 0.0,
            lowest=math.exp(min(self._logprobs)) if count else 0.0,
            finish=finish,
            seconds_to_first=seconds if self._first is None else self._first,
            seconds=seconds,
        )
        return Piece(text, finish, logprob, account)
