"""Where requests become questions to a mode, and where what came of them is counted."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from secrets import token_hex
from threading import Event as Flag
from typing import Any, Final

from tacit_clients.egress import Egress
from tacit_clients.gateway.bodies import flag_of
from tacit_clients.gateway.collecting import Collector
from tacit_clients.gateway.conversations import HEADER, Conversations, new_identifier, of_header
from tacit_clients.gateway.errors import problem_of, refuse
from tacit_clients.gateway.metrics import Metrics
from tacit_clients.gateway.rendering import Gathered
from tacit_clients.gateway.security import Receive, Scope
from tacit_clients.modes.protocol import Ask, Delta, Event, Json, Provenance, Registry, ToolDelta, stays
from tacit_privacy.errors import TacitError

_LONGEST_NAME, _LONGEST_CLIENT = 256, 80
MODEL_MISSING: Final = "name a model; GET /v1/models lists them"


@dataclass
class Answering:
    """One question on its way."""

    ask: Ask
    messages: list[Json] = field(repr=False)
    who: str = field(repr=False)
    named: bool  # the client names its conversation: it need not be found by what was said
    route: str
    events: AsyncGenerator[Event]
    gathered: Gathered
    start: float
    identifier: str
    failed: str = ""  # the code of what ended the answer after it had begun

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The account as far as it is known, in headers."""
        account = self.ask.provenance
        rows = {
            HEADER: self.ask.conversation,
            "x-tacit-request": self.identifier,
            "x-tacit-mode": account.mode,
            "x-tacit-answered-by": account.answered_by,
            "x-tacit-reason": account.reason,
            "x-tacit-masked": ",".join(f"{type}={count}" for type, count in sorted(account.masked.items())),
        }
        return [(name.encode(), value.encode("ascii", "replace")) for name, value in rows.items() if value]

    def final_headers(self) -> list[tuple[bytes, bytes]]:
        """What is known only at the end."""
        account = self.ask.provenance
        names = ("tokens_up", "tokens_down", "bytes_up", "bytes_down", "restored", "unknown", "malformed")
        rows = {f"x-tacit-{name.replace('_', '-')}": str(getattr(account, name)) for name in names}
        rows["x-tacit-escalated"] = str(account.escalated).lower()
        rows["x-tacit-latency-ms"] = f"{account.latency_ms:.1f}"
        rows["x-tacit-gate-ms"] = f"{account.gate_ms:.1f}"
        return self.headers() + [(name.encode(), value.encode()) for name, value in rows.items()]


@dataclass(frozen=True)
class Desk:
    """What the routes share."""

    modes: Registry
    egress: Egress
    conversations: Conversations
    metrics: Metrics
    log: Any
    collector: Collector
    _learning: "set[asyncio.Task[None]]" = field(default_factory=set, init=False, repr=False)

    async def conversation_of(self, scope: Scope, messages: list[Json], who: str) -> tuple[str, bool]:
        """The conversation's identifier, and whether the client named it."""
        named = header(scope, HEADER.encode())
        if named:
            if len(named) > _LONGEST_NAME:
                raise refuse(400, "bad_request", f"{HEADER} is longer than {_LONGEST_NAME} characters")
            return of_header(named), True
        if not any(isinstance(message, dict) and message.get("role") == "assistant" for message in messages):
            return new_identifier(), False
        await self.learnt()  # perhaps the very answer that these messages go on from
        try:
            return await self.egress.in_thread(self.conversations.find, messages, who), False
        except TacitError as error:
            self.log.warning("conversation_not_found", kind=type(error).__name__)
        return new_identifier(), False  # always right: the transcript comes whole

    async def ask(
        self, scope: Scope, route: str, body: Mapping[str, Json], gone: Flag, conversation: str | None = None
    ) -> Answering:
        """Find mode and conversation and begin. Raises Refused."""
        start = time.perf_counter()
        model = body.get("model")
        if not isinstance(model, str):
            raise refuse(400, "bad_request", MODEL_MISSING)
        mode = self.modes.find(model)
        if mode is None:
            raise refuse(404, "model_not_found", f"no such model here; {MODEL_MISSING}")
        stream = flag_of(body, "stream")
        messages = body.get("messages")
        messages = messages if isinstance(messages, list) else []
        who = body["user"] if isinstance(body.get("user"), str) else ""
        named = conversation is not None
        if conversation is None:
            conversation, named = await self.conversation_of(scope, messages, who)
        account, client = Provenance(mode.name), header(scope, b"user-agent")[:_LONGEST_CLIENT]
        ask = Ask(body, conversation, stream, account, gone, client, stays(body))
        gathered = Gathered()
        answering = Answering(ask, messages, who, named, route, mode.answer(ask), gathered, start, token_hex(8))
        answering.events = self._noted(answering, answering.events)
        return answering

    async def _noted(self, answering: Answering, events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
        """The events, with times taken and everything gathered."""
        account = answering.ask.provenance
        async with aclosing(events):
            async for event in events:
                if not account.ttft_ms and isinstance(event, Delta | ToolDelta):
                    account.ttft_ms = (time.perf_counter() - answering.start) * 1e3
                answering.gathered.add(event)
                yield event
        if account.masked and not answering.named:
            task = asyncio.create_task(self._learn(answering))
            self._learning.add(task)
            task.add_done_callback(self._learning.discard)
        if self.collector.wanted:
            await self._collect(answering)
        account.latency_ms = (time.perf_counter() - answering.start) * 1e3

    async def _learn(self, answering: Answering) -> None:
        """So that the next turn is known by what was said. The client need not wait for it."""
        rows = answering.gathered.rows()
        try:
            await self.egress.in_thread(
                self.conversations.learn, answering.ask.conversation, answering.messages, rows, answering.who
            )
        except TacitError as error:  # the next turn begins a conversation of its own
            self.log.warning("conversation_not_learned", kind=type(error).__name__)

    async def learnt(self) -> None:
        """Wait until every answer given so far can be gone on from."""
        if self._learning:
            await asyncio.wait(set(self._learning))  # not gather: whoever waits here may be cancelled, they may not

    async def _collect(self, answering: Answering) -> None:
        """Keep a whole answer in words for the owner to judge. What fails here must not spoil the answer."""
        first = answering.gathered.messages.get(0)
        if first is None or first.reason != "stop":
            return
        account, keep = answering.ask.provenance, self.collector.keep
        row, conversation = first.row(), answering.ask.conversation
        try:
            await self.egress.in_thread(keep, conversation, answering.messages, row, account.mode, account.answered_by)
        except TacitError as error:
            self.log.warning("answer_not_kept", kind=type(error).__name__)

    @asynccontextmanager
    async def counted(self, answering: Answering) -> AsyncIterator[None]:
        """Count and log the request when the block ends, however it ends."""
        self.metrics.in_flight.inc()
        outcome = "gone"
        try:
            yield
            outcome = answering.failed or "answered"
        except Exception as error:
            outcome = problem_of(error).code
            raise
        finally:
            self.metrics.in_flight.dec()
            account = answering.ask.provenance
            account.latency_ms = account.latency_ms or (time.perf_counter() - answering.start) * 1e3
            self.metrics.answered(answering.route, account, outcome)
            self.log.info(
                "request",
                request=answering.identifier,
                route=answering.route,
                mode=account.mode,
                answered_by=account.answered_by or "none",
                reason=account.reason,
                outcome=outcome,
                masked=sum(account.masked.values()),
                bytes_up=account.bytes_up,
                bytes_down=account.bytes_down,
                milliseconds=round(account.latency_ms, 1),
            )


class Presence:
    """Ends the work on a request when its client goes: ``gone`` is set and the task cancelled."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self.gone, self._finished = receive, Flag(), False

    def finish(self) -> None:
        """From here on the end of the connection means nothing."""
        self._finished = True

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        task = asyncio.current_task()
        watcher = asyncio.create_task(self._watch(task))
        try:
            yield
        except asyncio.CancelledError:
            if not self.gone.is_set() or task is None:
                raise
            task.uncancel()
        finally:
            self._finished = True
            watcher.cancel()

    async def _watch(self, task: "asyncio.Task[Any] | None") -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue
        if not self._finished and task is not None:
            self.gone.set()
            task.cancel()


def header(scope: Scope, name: bytes) -> str:
    """A request header's value, or nothing."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "").strip()
