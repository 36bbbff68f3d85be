"""The one door: a request is composed, redacted, looked at, recorded and sent; an answer is checked and restored."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from secrets import token_bytes
from typing import Final, TypeVar

from tacit_clients.egress.inbound import Inbound
from tacit_clients.egress.known_names import KnownNames
from tacit_clients.egress.lastlook import LastLook, Values
from tacit_clients.egress.records import Book, Ending
from tacit_clients.egress.settings import UpstreamSettings
from tacit_clients.egress.sse import Framer
from tacit_clients.egress.transport import Reply, Transport
from tacit_clients.egress.views import Path, leaves
from tacit_clients.egress.wire import compose, structural, structural_key
from tacit_clients.modes.protocol import Ask, Event, Json, Provenance
from tacit_privacy.errors import BadInput, EngineFailed, TacitError, TextRefused, UpstreamFailed
from tacit_privacy.pii.policy import RedactionPolicy
from tacit_privacy.pii.pseudonyms.conversation import Conversation
from tacit_privacy.pii.redactor import Redactor
from tacit_privacy.pii.restoring import restore
from tacit_privacy.pii.vault.store import Vault

DONE: Final = "[DONE]"
T = TypeVar("T")


@dataclass(frozen=True)
class Draft:
    """What is ready to leave. ``names`` maps tools' outbound names to the client's."""

    content: bytes = field(repr=False)
    conversation: Conversation | None  # None: nothing was masked and nothing can come back masked
    names: Mapping[str, str] = field(repr=False)
    masked: Mapping[str, int]
    dropped: tuple[str, ...]
    stream: bool
    milliseconds: float
    json_asked: bool = False  # the answer is to be JSON


@dataclass(frozen=True)
class Gate:
    """Redaction and the last look: synchronous, for worker threads. Every failure is a TextRefused."""

    upstream: UpstreamSettings
    policy: RedactionPolicy
    vault: Vault
    redactor: Redactor | None  # None: the policy masks nothing
    last_look: LastLook
    names: KnownNames

    def draft(self, body: Mapping[str, Json], conversation: str | None, stream: bool) -> Draft:
        """The bytes that would leave. ``conversation`` None: one that is forgotten at once.

        Raises BadInput for a body that is no chat request; TextRefused for all else, without cause or context, since
        those would carry text.
        """
        start = time.perf_counter()
        refusal: TacitError
        try:
            return self._draft(body, conversation, stream, start)
        except (BadInput, TextRefused) as error:
            refusal = type(error)(*error.args)
        except Exception:
            refusal = TextRefused("gate_error", "the check failed, so nothing leaves")
        raise refusal

    def _draft(self, body: Mapping[str, Json], conversation: str | None, stream: bool, start: float) -> Draft:
        usage = self.upstream.ask_usage
        composed = compose(body, self.policy, self.upstream.model, stream, usage)
        if composed.images and (action := self.policy.action("IMAGE")) != "keep":
            raise TextRefused("block" if action == "block" else "local_only", "nothing here can mask an image")
        if self.redactor is None:
            existing = None if conversation is None else self.vault.peek(conversation)
            return self._looked_at(composed.body, composed.body, existing, {}, composed.dropped, stream, start)
        if conversation is None:
            passing = Conversation("passing", token_bytes(32))
            return self._redacted(composed.body, passing, composed.dropped, stream, start)
        days = self.policy.conversation.expires_days
        # synced with the record of what leaves, before that leaves
        with self.vault.conversation(conversation, expires_days=days, synced=False) as kept:
            return self._redacted(composed.body, kept, composed.dropped, stream, start)

    def _redacted(
        self, body: dict[str, Json], conversation: Conversation, dropped: tuple[str, ...], stream: bool, start: float
    ) -> Draft:
        if self.redactor is None:
            raise TextRefused("gate_error")
        if any(len(leaf) > self.policy.detection.max_chars for leaf in leaves(body, structural)):
            raise TextRefused("local_only", "a text is longer than detection.max_chars of the policy")
        body = own_words(body, conversation)
        done = self.redactor.redact_tree(body, conversation, structural, structural_key)
        if done.refused or done.local_only:
            raise TextRefused("local_only" if done.local_only else "block", f"it holds {done.refused}")
        if not all(_is_image(path) for path in done.unreadable):
            raise TextRefused("local_only", "nothing here can look into data in base64")
        return self._looked_at(body, done.body, conversation, done.masked, dropped, stream, start)

    def _looked_at(
        self,
        before: dict[str, Json],
        after: Json,
        conversation: Conversation | None,
        masked: Mapping[str, int],
        dropped: tuple[str, ...],
        stream: bool,
        start: float,
    ) -> Draft:
        content = _bytes(after)
        fictions = conversation.fictions().keys() if conversation else frozenset[str]()
        issued = conversation.issued().keys() if conversation else frozenset[str]()
        own = issued | fictions  # whoever calls himself by one of our own placeholders gives nothing away
        known = [Values(conversation.values() - own, conversation.people() - own)] if conversation else []
        if self.policy.action("PERSON") != "keep":  # nor does a made-up name that somebody bears elsewhere
            known.append(self.names.values.without(fictions))
        self.last_look.check(content, known, issued, fictions)
        spent = (time.perf_counter() - start) * 1e3
        return Draft(
            content, conversation, _tool_names(before, after), dict(masked), dropped, stream, spent, _asks_json(before)
        )


def own_words(body: dict[str, Json], conversation: Conversation) -> dict[str, Json]:
    """``body`` with originals in the arguments of the calls that the large model made before.

    Where the policy lets no original into a tool's arguments, the client has our placeholders and sends them back with
    the transcript. They are put back here, to leave again as they were; elsewhere what looks like a placeholder is
    somebody's text and is escaped.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not conversation.issued():
        return body
    return {**body, "messages": [_own_calls(message, conversation) for message in messages]}


def _own_calls(message: Json, conversation: Conversation) -> Json:
    if not isinstance(message, dict) or message.get("role") != "assistant":
        return message
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return message
    return {**message, "tool_calls": [_own_arguments(call, conversation) for call in calls]}


def _own_arguments(call: Json, conversation: Conversation) -> Json:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(call, dict) or not isinstance(function, dict):
        return call
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        return call
    written = restore(arguments, conversation, json_string=True).text
    return {**call, "function": {**function, "arguments": written}}


class Egress:
    """``chat`` sends and restores; ``preview`` shows. Everything that blocks runs in a few threads of its own."""

    def __init__(self, gate: Gate, transport: Transport, book: Book, threads: int, paused: Callable[[], bool]) -> None:
        self.gate, self.transport, self.book, self._paused = gate, transport, book, paused
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="gate")

    async def preview(self, body: Mapping[str, Json], conversation: str | None, stream: bool) -> Draft:
        """What would leave, by the very road that a request takes; nothing is sent or recorded. Raises TextRefused."""
        return await self.in_thread(self.gate.draft, body, conversation, stream)

    async def chat(self, ask: Ask, why: str, clean: bool = False) -> AsyncGenerator[Event]:
        """Ask the upstream. ``why``: a short stable word for the owner's record.

        ``clean`` lets no masked text leave either: what holds anything to mask is refused as ``masked``. Raises
        TextRefused or UpstreamFailed, the first before anything was sent.
        """
        if ask.stays:
            await self.in_thread(self._note_refusal, ask, "local_only")
            raise TextRefused("local_only", "the client rules out that it leaves")
        if self._paused():
            await self.in_thread(self._note_refusal, ask, "paused")
            raise TextRefused("paused", "the owner has paused all traffic to the large model")
        self.transport.breaker.refuse_if_open()  # before the gate's work, which would be for nothing
        draft, number = await self._drafted(ask, why, clean)
        if self._paused():  # meanwhile
            self._note_ending(number, "paused", ask.provenance)
            raise TextRefused("paused", "the owner has paused all traffic to the large model")
        account = ask.provenance
        account.masked, account.dropped = dict(draft.masked), list(draft.dropped)
        account.gate_ms += draft.milliseconds
        account.answered_by, account.calls = "llm", account.calls + 1
        inbound = Inbound(draft.conversation, self.gate.policy.restore, draft.names, account, draft.json_asked)
        outcome = "gone"
        try:
            async with aclosing(self._answered(draft, inbound, account)) as events:
                async for event in events:
                    yield event
            outcome = "answered"
        except UpstreamFailed as error:
            outcome = f"status_{error.status}" if error.reason == "status" else error.reason
            raise
        finally:
            self._note_ending(number, outcome, account)

    async def _answered(self, draft: Draft, inbound: Inbound, account: Provenance) -> AsyncGenerator[Event]:
        def left(attempts: int) -> None:
            account.attempts += attempts
            account.bytes_up += attempts * len(draft.content)
            account.escalated = account.attempts > 0

        async with self.transport.post(draft.content, draft.stream, self._paused, left) as reply:
            if not draft.stream:
                body = await reply.body()
                account.bytes_down = reply.received
                for event in inbound.completion(body):
                    yield event
                return
            async with aclosing(reply.chunks()) as chunks:
                async for event in self._streamed(chunks, inbound, reply, account):
                    yield event

    async def _streamed(
        self, chunks: AsyncGenerator[bytes], inbound: Inbound, reply: Reply, account: Provenance
    ) -> AsyncGenerator[Event]:
        framer = Framer(self.transport.settings.max_event_bytes)
        async for chunk in chunks:
            account.bytes_down = reply.received
            for data in framer.feed(chunk):
                if data == DONE:
                    inbound.close()
                    reply.complete = True
                    return
                for event in inbound.chunk(data):
                    yield event
        if framer.pending and framer.last() != DONE:
            raise UpstreamFailed("cut_off")
        inbound.close()  # some servers end without [DONE]

    async def close(self) -> None:
        await self.transport.close()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._flush()

    async def _drafted(self, ask: Ask, why: str, clean: bool) -> tuple[Draft, int]:
        """Drafted and recorded as leaving, or refused and recorded as that."""
        return await self.in_thread(self._draft_and_record, ask, why, clean)

    def _draft_and_record(self, ask: Ask, why: str, clean: bool) -> tuple[Draft, int]:
        refusal: TextRefused | None = None
        try:
            draft = self.gate.draft(ask.body, None if clean else ask.conversation, ask.stream)
            if clean and draft.masked:
                raise TextRefused("masked", "it was to leave without placeholders, and holds something to mask")
        except TextRefused as error:
            refusal = error
        if refusal is not None:
            self._note_refusal(ask, refusal.reason, refusal.detail)
            raise refusal
        number = self._recorded(draft, ask, why)
        if number is None:
            raise TextRefused("not_recorded", "what leaves must be recorded, and the vault refuses")
        return draft, number

    def _recorded(self, draft: Draft, ask: Ask, why: str) -> int | None:
        mode = ask.provenance.mode
        try:
            return self.book.left(draft.content, mode, why, draft.masked, ask.conversation, ask.asked_by)
        except Exception:
            return None

    def _note_ending(self, number: int, outcome: str, account: Provenance) -> None:
        """For the owner's record, without waiting for the disk."""
        if self.book.ended(number, Ending(outcome, account.bytes_down, account.attempts)):
            with contextlib.suppress(RuntimeError):  # the pool is closing, and ``close`` writes
                self._pool.submit(self._flush)

    def _flush(self) -> None:
        with contextlib.suppress(TacitError):  # the vault refuses: it refuses the next record too, and says so there
            self.book.flush()

    def _note_refusal(self, ask: Ask, reason: str, detail: str = "") -> None:
        try:
            self.book.refused(ask.provenance.mode, reason, {}, ask.conversation, detail, ask.asked_by)
        except Exception:
            return  # nothing left; the refusal itself goes to the client

    async def in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        """Run ``work`` where it does not keep the event loop waiting.

        Raises the project's own errors as they are, EngineFailed for others, whose words and past may hold text.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
        except TacitError:
            raise
        except Exception as error:
            kind = type(error).__name__
        raise EngineFailed(f"the gateway's own work failed ({kind})")


def _bytes(body: Json) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")
    except UnicodeEncodeError:  # half a character: legal in JSON as an escape alone
        return json.dumps(body, separators=(",", ":"), allow_nan=False).encode("ascii")


def _is_image(path: Path) -> bool:
    return path[0] == "messages" and path[-2:] == ("image_url", "url")


def _asks_json(body: Mapping[str, Json]) -> bool:
    wanted = body.get("response_format")
    return isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema")


def _tool_names(before: Mapping[str, Json], after: Mapping[str, Json]) -> dict[str, str]:
    """Outbound name of each tool to the client's own name, which it knows its tools by."""
    names: dict[str, str] = {}
    for given, sent in zip(before.get("tools") or (), after.get("tools") or (), strict=True):
        names[sent[sent["type"]]["name"]] = given[given["type"]]["name"]
    for given, sent in zip(before.get("functions") or (), after.get("functions") or (), strict=True):
        if isinstance(given, dict) and isinstance(sent, dict) and "name" in given:
            names[sent["name"]] = given["name"]
    return names
