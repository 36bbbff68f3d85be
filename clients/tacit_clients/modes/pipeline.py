"""``tacit/pipeline``: guarded delegation. The large model answers the redacted prompt; the local one may prepare it and
have the last word. A long document stays on the device: see ``documents``.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from pydantic import BaseModel

from tacit_clients.egress import Draft, Egress
from tacit_clients.modes.asking import Whole, ask_llm, ask_local, last_of_user, prompts_of, told, with_last_of_user
from tacit_clients.modes.documents import Document, DocumentSettings, Reader, document_of
from tacit_clients.modes.local import UNUSABLE, LocalMode, needs_more
from tacit_clients.modes.prompts import CHAT, NOTHING
from tacit_clients.modes.protocol import Ask, Event, Json
from tacit_clients.modes.trust import DISAGREE, agreement, flag_of_failure, flags_of_answer
from tacit_clients.modes.turns import alone, asked, said
from tacit_privacy.errors import PromptTooLong, TacitError, TextRefused, UpstreamFailed
from tacit_privacy.pii.restoring import restore

WHY: Final = "delegated"
_REWRITE: Final = (
    "Rewrite the request below so that it asks for the same with as little as possible about the people in it: leave "
    "out circumstances that do not change the answer. Copy every word that holds an underscore exactly as it "
    "is written. Write the rewritten request alone.\n\nRequest:\n"
)
_LONGEST_GROWTH: Final = 3.0


class PipelineSettings(BaseModel, frozen=True, extra="forbid"):
    """What the local model does before and after the large one."""

    abstraction: bool = False  # it rewrites the redacted prompt to tell less; the gate comes after it all the same
    aggregate: bool = False  # it fits the large model's answer to the private prompt
    documents: DocumentSettings = DocumentSettings()


class PipelineMode:
    """Asks the large model through the gate; the local one answers where it cannot be asked."""

    name = "pipeline"

    def __init__(self, egress: Egress, local: LocalMode | None, settings: PipelineSettings) -> None:
        self._egress, self._local, self._settings = egress, local, settings

    async def answer(self, ask: Ask) -> AsyncGenerator[Event]:
        local, needs = self._local, needs_more(ask.body)
        document = self._document(ask)
        if self._stays(ask) and (local is None or needs or document is None):
            raise TextRefused("local_only", "documents.delegate is off, and no local model can read the document")
        if local is None or needs:
            events = asked(self._egress, None, ask, needs or WHY)
        elif document is not None:
            events = self._read(local, ask, document)
        elif self._settings.aggregate and ask.body.get("n") in (None, 1):
            events = self._or_in_pieces(local, ask, self._aggregated(local, ask))
        else:
            events = self._or_in_pieces(local, ask, self._delegated(local, ask))
        async with aclosing(events):
            async for event in events:
                yield event

    async def _delegated(self, local: LocalMode, ask: Ask) -> AsyncGenerator[Event]:
        """The large model's answer; where it cannot be had, the local one's."""
        async with aclosing(asked(self._egress, local, ask, WHY, await self._prepared(local, ask))) as events:
            async for event in events:
                yield event

    async def _or_in_pieces(self, local: LocalMode, ask: Ask, events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
        """``events``, or an answer in pieces where the local model has to answer and the prompt is too long for it."""
        begun, document = False, None
        try:
            async with aclosing(events):
                async for event in events:
                    begun = True
                    yield event
            return
        except PromptTooLong:
            document = document_of(ask.body.get("messages"))
            if begun or document is None:
                raise
        settings = self._settings.documents.model_copy(update={"plan": "local", "finish": "local"})
        async with aclosing(Reader(self._egress, local, settings, ask).answer(document)) as events:
            async for event in events:
                yield event

    def _stays(self, ask: Ask) -> bool:
        """Whether the prompt is as long as a document, and no document may leave."""
        settings = self._settings.documents
        return not settings.delegate and 0 < settings.longer_than < len(said(ask))

    def _document(self, ask: Ask) -> Document | None:
        """The prompt as a document, where it is long enough to be one."""
        limit = self._settings.documents.longer_than
        if not limit or ask.body.get("n") not in (None, 1) or len(said(ask)) <= limit:
            return None
        return document_of(ask.body.get("messages"))

    async def _read(self, local: LocalMode, ask: Ask, document: Document) -> AsyncGenerator[Event]:
        begun = False
        try:
            reader = Reader(self._egress, local, self._settings.documents, ask)
            async with aclosing(reader.answer(document)) as events:
                async for event in events:
                    begun = True
                    yield event
            return
        except UNUSABLE:  # not even in pieces
            if begun:
                raise
        ask.provenance.flags.remove("document")
        ask.provenance.flag("fallback_local")
        async with aclosing(asked(self._egress, None, ask, "local_unusable")) as events:
            async for event in events:
                yield event

    async def _aggregated(self, local: LocalMode, ask: Ask) -> AsyncGenerator[Event]:
        account, prompt = ask.provenance, last_of_user(ask.body.get("messages"))
        try:
            whole = await ask_llm(self._egress, ask, await self._prepared(local, ask), WHY)
            account.reason = WHY
        except (TextRefused, UpstreamFailed) as error:
            whole, account.reason = None, error.reason
            account.flag(flag_of_failure(error.reason))
        if whole is not None and not whole.text.strip():
            whole, account.reason = None, "empty"
            account.flag("fallback_empty")
        if ask.cancelled.is_set():
            return
        if whole is None:
            events = alone(local, ask)
        else:
            for word in flags_of_answer(whole.text, prompt):
                account.flag(word)
            final = await self._merged(local, ask, prompt, whole)
            events = told(final.text, final.finish, ask)
        async with aclosing(events):
            async for event in events:
                yield event

    async def _merged(self, local: LocalMode, ask: Ask, prompt: str, whole: Whole) -> Whole:
        """The local model's version of the large one's answer, or that answer where the version is not to be had."""
        account, account.answered_by = ask.provenance, "llm"
        try:
            messages = (await prompts_of(local)).ask("hinted", hint=whole.text, prompt=prompt)
            merged = await ask_local(local, ask, messages, temperature=0.0, personal=True)
        except TacitError:
            account.flag("fallback_merge")
            return whole
        account.agreement = agreement(merged.text, whole.text)
        if account.agreement < DISAGREE:
            account.flag("disagreement")
        if account.agreement < DISAGREE or not _sane(merged, whole):
            account.flag("fallback_merge")
            return whole
        account.answered_by, account.confidence = "local", merged.confidence
        return merged

    # --- before

    async def _prepared(self, local: LocalMode, ask: Ask) -> dict[str, Json]:
        """The client's request, with its last message rewritten if that is wanted and comes to something."""
        body = dict(ask.body)
        if not self._settings.abstraction:
            return body
        try:
            draft = await self._egress.preview(body, ask.conversation, False)
            rewritten = await self._rewritten(local, ask, draft)
        except TextRefused:  # the large model is not asked either, and that says why
            return body
        except TacitError:
            rewritten = ""
        if not rewritten:
            ask.provenance.flag("fallback_prompt")
            return body
        return body | {"messages": with_last_of_user(body["messages"], rewritten)}

    async def _rewritten(self, local: LocalMode, ask: Ask, draft: Draft) -> str:
        """The last message as the local model would put it, originals in place; empty where that cannot be used.

        The local model reads placeholders. What it writes is restored, for the gate to redact it like any other text:
        the same values get the same placeholders, and one that was never issued is the client's text to the gate.
        """
        redacted = last_of_user(json.loads(draft.content).get("messages"))
        prompts = await prompts_of(local)
        asking = [{"role": "user", "content": f"{_REWRITE}{redacted}\n\nRewritten request:"}]
        messages = asking if prompts is CHAT else prompts.ask("general", prompt=redacted)
        whole = await ask_local(local, ask, messages, temperature=0.0, personal=False)  # it leaves
        text = whole.text.strip()
        if whole.finish != "stop" or not text or text.lower().strip(".") == NOTHING or len(text) > 2 * len(redacted):
            return ""
        if draft.conversation is None:
            return text
        back = restore(text, draft.conversation)
        return "" if back.unknown or back.malformed else back.text


def _sane(merged: Whole, whole: Whole) -> bool:
    """Whether what the local model made of an answer has come to its end, and is no heap of words."""
    longest = _LONGEST_GROWTH * len(whole.text) + 200
    return merged.finish == "stop" and 0 < len(merged.text.strip()) <= longest
