"""A local answer that is given only where its beginning is likely enough."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from threading import Event as Flag

from tacit_clients.modes.local import Confidence, LocalMode, LocalRequest, Piece, events_of, needs_more
from tacit_clients.modes.protocol import Ask, Event, Json

Shown = Callable[[Piece, int], list[Event]]  # a piece as events of a choice


class Probe:
    """``threshold`` is on exp of the mean log-probability of the first ``tokens`` tokens, or of all where it has fewer.

    ``spoken`` and ``sure`` tell how the newest ``answer`` went.
    """

    def __init__(self, local: LocalMode, threshold: float, tokens: int) -> None:
        self._local, self._threshold, self._tokens = local, threshold, tokens
        self.spoken, self.sure = Confidence(), False

    async def answer(self, request: LocalRequest, ask: Ask, shown: Shown = events_of) -> AsyncGenerator[Event]:
        """The first choice if its beginning is likely enough, as it comes; nothing at all if it is not."""
        ended = Flag()  # ends the probe alone
        held = list[Event]()
        account = ask.provenance
        async with aclosing(self._local.pieces(request, 0, _Either(ask.cancelled, ended))) as pieces:
            async for piece in pieces:
                self.spoken.add(piece)
                held += shown(piece, 0)
                if not self.sure and (piece.finish or self.spoken.tokens >= self._tokens):
                    account.confidence = self.spoken.value
                    if self.spoken.value is None or self.spoken.value < self._threshold:
                        ended.set()
                        return
                    self.sure, account.answered_by, account.reason = True, "local", "sure"
                if self.sure:
                    for event in held:
                        yield event
                    held.clear()


def needs_llm(body: Mapping[str, Json]) -> str:
    """Why the large model alone must answer where a mode makes one answer: what no local model can do, and several."""
    several = body.get("n") not in (None, 1)
    return needs_more(body) or ("needs_choices" if several else "")


class _Either:
    """Set when either of two flags is."""

    def __init__(self, first: Flag, second: Flag) -> None:
        self._first, self._second = first, second

    def is_set(self) -> bool:
        return self._first.is_set() or self._second.is_set()
