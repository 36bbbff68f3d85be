"""A long private document is read where it is: the large model plans from the question alone, the local one reads.

Map and reduce: the document is cut into pieces that the local model can read, each is asked what a job says, and the
answers are combined here. Of the document nothing leaves, unless ``finish`` lets what was found be put into words by
the large model: then that goes through the gate like any prompt.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt

from tacit_clients.egress import Egress
from tacit_clients.modes.asking import ask_llm, ask_local, prompts_of, told
from tacit_clients.modes.generalise import SENTENCES, asks, is_question, orders, speaks_to_somebody
from tacit_clients.modes.jobs import (
    PLANNER,
    Extract,
    Job,
    Plan,
    Result,
    combined,
    default_plan,
    extract_of,
    pieces,
    plan_of,
    selected,
)
from tacit_clients.modes.local import UNUSABLE, LocalMode
from tacit_clients.modes.protocol import Ask, Event, Json
from tacit_clients.modes.trust import flag_of_failure
from tacit_clients.modes.turns import asked
from tacit_privacy.errors import PromptTooLong, TextRefused, UpstreamFailed

NOT_FOUND: Final = "The document does not say."
_LONGEST_QUESTION: Final = 1000  # characters
_LONGEST_REQUEST: Final = 240  # of what is a request for certain: a line or two
_PARAGRAPH: Final = re.compile(r"\n\s*\n")
_TITLE: Final = re.compile(r"\b(mr|mrs|ms|dr|prof|st|nr|no)\.(?=\s)", re.IGNORECASE)  # its full stop ends no sentence
_TEXTS = (
    "letters?|texts?|documents?|e-?mails?|messages?|contracts?|agreements?|lease|reports?|articles?|papers?|pages?|notes?|"
    "diary|conversation|chat|log|transcript|minutes|story|essay|passage|paragraphs?|lists?|tables?|file|code|"
    "brief|vertrag|nachricht|dokument|bericht|lettre|texte|contrat|message|rapport|carta|texto|contrato|mensaje|informe"
)
_NAMES_IT: Final = re.compile(rf"\b(?:the|der|die|das|den|dem|des|la|le|el|los|las)\s+(?:{_TEXTS})\b", re.IGNORECASE)
_POINTS_AT_IT: Final = re.compile(
    rf"\b(?:this|these|following|above|below|attached|dies\w{{1,2}}|folgend\w{{1,2}}|cet|cette|este|esta)\s+(?:{_TEXTS})\b"
    rf"|\b(?:{_TEXTS})\s+(?:above|below|oben|unten|ci-dessus|ci-dessous|arriba|abajo)\b"
    r"|\bthe (?:above|below|following)\b",
    re.IGNORECASE,
)
_SMALLEST_PIECE: Final = 80
_ROOM: Final = 0.9  # of what a model says it can read


class DocumentSettings(BaseModel, frozen=True, extra="forbid"):
    """When a prompt is a document, and how much work its reading may be."""

    longer_than: NonNegativeInt = 6000  # characters of the last message; 0: no prompt is a document
    plan: Literal["llm", "local"] = "llm"  # llm: it sees the redacted question; local: nobody is asked
    piece_chars: PositiveInt = 1200
    pieces: PositiveInt = 24  # the most that are read, each by one turn of the local model
    piece_tokens: PositiveInt = 64  # of what it says to one
    parallel: PositiveInt = 2  # turns at once
    finish: Literal["local", "llm", "none"] = "local"  # who puts what was found into words; llm: it leaves, redacted
    delegate: bool = Field(  # what the local model cannot read goes to the large one, whole and redacted
        default_factory=lambda said: said["plan"] == "llm" or said["finish"] == "llm"
    )


@dataclass(frozen=True, slots=True)
class Document:
    """A question and the text that it is about. ``clear``: the question is one, and not a part of the text."""

    question: str = field(repr=False)
    text: str = field(repr=False)
    clear: bool = True


def document_of(messages: Json) -> Document | None:
    """The last message in its two parts; None where it has no two.

    The question is at one of its ends: of several text parts, else of its paragraphs, else of its lines. Only there is
    it ``clear``; an end that is found in a smaller part, as a last resort its last sentence, is never shown to anybody.
    """
    content = messages[-1].get("content") if isinstance(messages, list) and messages else None
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    texts: list[str] = [part["text"] for part in parts if isinstance(part, dict) and _is_text(part)]
    if not texts or len(texts) < len(parts):
        return None
    whole, surely = "\n\n".join(texts), True
    for between, cut in (
        ("\n\n", texts),
        ("\n\n", _PARAGRAPH.split(whole)),
        ("\n", whole.split("\n")),
        (" ", SENTENCES.split(whole)),
    ):
        units = [unit for unit in cut if unit.strip()]
        if len(units) > 1:
            if (found := _split(units, between)) is not None:
                return found if surely and between != " " else replace(found, clear=False)
            surely = False
    return None


def _is_text(part: dict[str, Json]) -> bool:
    return part.get("type") == "text" and isinstance(part.get("text"), str)


def _split(units: Sequence[str], between: str) -> Document | None:
    """The question is the end that reads more like a request; both ends where both read like one for certain.

    It is clear where the other end reads so much less like one that it cannot be meant. What is not clear stays here,
    so the error to be made in doubt is to call it unclear.
    """
    head, tail = units[0].strip(), units[-1].strip()
    first, last = _request(head, True), _request(tail, False)
    clear = abs(first - last) > 1
    if min(first, last) > 1:
        return _document(f"{head}\n{tail}", between.join(units[1:]), clear)
    if first > last:
        return _document(head, between.join(units[1:]), clear)
    return _document(tail, between.join(units[:-1]), clear)


def _request(end: str, leads: bool) -> int:
    """How much an end of a message reads like a request about the rest.

    0: it asks nothing. 1: it asks something, as letters do. 2: it is a line or two, and each of its sentences is a
    question or an order that speaks of no I or you. 3: as 2, and two of these hold, which excuse an I or you as well:
    it orders, it points at the document, it stands first.
    """
    sentences = [each for each in SENTENCES.split(_TITLE.sub(r"\1", end)) if each.strip()]
    if len(end) > _LONGEST_QUESTION or not any(asks(each) for each in sentences):
        return 0
    if len(end) > _LONGEST_REQUEST or end.count("\n") > 1:
        return 1
    weights = [_weight(each, leads) for each in sentences]
    return max(weights) if all(weights) else 1


def _weight(sentence: str, leads: bool) -> int:
    """2 or 3 as above; 0 for a sentence that may be none of a request."""
    order = orders(sentence)
    points = _POINTS_AT_IT.search(sentence) or (order and _NAMES_IT.search(sentence))
    if not order and not is_question(sentence):
        return 0
    if [order, bool(points), leads].count(True) > 1:
        return 3
    return 0 if speaks_to_somebody(sentence) else 2


def _document(question: str, text: str, clear: bool) -> Document | None:
    text = text.strip()
    return Document(question, text, clear) if text and 0 < len(question) <= _LONGEST_QUESTION else None


class Reader:
    """Answers one question about one document."""

    def __init__(self, egress: Egress, local: LocalMode, settings: DocumentSettings, ask: Ask) -> None:
        self._egress, self._local, self._settings, self._ask = egress, local, settings, ask
        self._left, self._size = settings.pieces, settings.piece_chars
        self._slots = asyncio.Semaphore(settings.parallel)

    async def answer(self, document: Document) -> AsyncGenerator[Event]:
        """Raises what keeps the local model from reading, and TextRefused in its place where nobody else may read."""
        failed = False
        try:
            async with aclosing(self._answered(document)) as events:
                async for event in events:
                    yield event
        except UNUSABLE:
            if self._settings.delegate:
                raise
            failed = True
        if failed:
            raise TextRefused("local_only", "documents.delegate is off, and the local model cannot read the document")

    async def _answered(self, document: Document) -> AsyncGenerator[Event]:
        account = self._ask.provenance
        account.flag("document")
        plan = await self._planned(document)
        found = [(job, await self._done(job, document, len(plan.jobs) - done)) for done, job in enumerate(plan.jobs)]
        if self._ask.cancelled.is_set():
            return
        results = [(job, result) for job, result in found if result is not None]
        account.answered_by, account.reason = "local", account.reason or "document"
        async with aclosing(self._told(document, results)) as events:
            async for event in events:
                yield event

    # --- plan

    async def _planned(self, document: Document) -> Plan:
        """The large model's plan, or one made here, flagged. What may be a part of the document is shown to nobody."""
        account, question = self._ask.provenance, document.question
        if self._settings.plan == "llm" and document.clear:
            body = {"messages": [{"role": "system", "content": PLANNER}, {"role": "user", "content": question}]}
            try:
                said = await ask_llm(self._egress, self._ask, body, "plan")
                if (plan := plan_of(said.text)) is not None:
                    return plan
            except (TextRefused, UpstreamFailed) as error:
                account.reason = error.reason
                account.flag(flag_of_failure(error.reason))
        account.flag("job_default")
        return default_plan(question)

    # --- map and reduce

    async def _done(self, job: Job, document: Document, waiting: int) -> Result | None:
        most = max(1, self._left // waiting)  # those that wait get their share
        chosen, cut = selected(document.text, job, document.question, self._size, most)
        if cut:
            self._ask.provenance.flag("truncated")
        return combined(job, [each for found in await self._all(job, chosen) for each in found])

    async def _all(self, job: Job, chosen: Sequence[str]) -> list[list[Extract]]:
        """What every piece says. Where one turn fails, the others end too."""
        tasks = [asyncio.create_task(self._in_turn(job, piece)) for piece in chosen]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _in_turn(self, job: Job, piece: str) -> list[Extract]:
        async with self._slots:
            return await self._read(job, piece)

    async def _read(self, job: Job, piece: str) -> list[Extract]:
        """What ``piece`` says, cut smaller where the local model cannot read so much at once."""
        if len(piece) > self._size:
            return [each for part in pieces(piece, self._size) for each in await self._read(job, part)]
        if self._left < 1:
            self._ask.provenance.flag("truncated")
            return []
        if self._ask.cancelled.is_set():
            return []
        self._left -= 1
        messages = (await prompts_of(self._local)).ask("read", instruction=job.instruction, text=piece)
        try:
            whole = await ask_local(
                self._local,
                self._ask,
                messages,
                self._settings.piece_tokens,
                0.0,
                personal=self._settings.finish != "llm",
            )
        except PromptTooLong as error:
            self._left += 1  # it read nothing
            smaller = self._smaller(len(piece), error)
            if smaller < _SMALLEST_PIECE:
                raise
            self._size = min(self._size, smaller)
            return await self._read(job, piece)
        found = extract_of(whole.text, job.answer, whole.confidence)
        return [] if found is None else [found]

    def _smaller(self, length: int, error: PromptTooLong) -> int:
        """Characters that leave the local model room for its answer."""
        room = max(error.context - self._settings.piece_tokens, error.context // 2)
        return min(int(length * room / error.tokens * _ROOM), length * 3 // 4)

    # --- the answer

    async def _told(self, document: Document, results: Sequence[tuple[Job, Result]]) -> AsyncGenerator[Event]:
        ask, settings, question = self._ask, self._settings, document.question
        known = (result.confidence for _, result in results)
        ask.provenance.confidence = next((each for each in known if each is not None), None)
        if not results:
            ask.provenance.flag("nothing_found")
            events = told(NOT_FOUND, "stop", ask)
        elif settings.finish == "none" or all(result.computed for _, result in results):
            events = told(_notes(results), "stop", ask)
        elif settings.finish == "llm" and document.clear:
            events = self._worded_by_llm(question, results)
        else:
            events = told(await self._worded(question, results), "stop", ask)
        async with aclosing(events):
            async for event in events:
                yield event

    async def _worded(self, question: str, results: Sequence[tuple[Job, Result]]) -> str:
        """What was found, as the local model puts it; as it was found, where it cannot."""
        account, notes = self._ask.provenance, _notes(results)
        messages = (await prompts_of(self._local)).ask("read", instruction=question, text=notes)
        try:
            whole = await ask_local(self._local, self._ask, messages, temperature=0.0, personal=True)
        except PromptTooLong:
            whole = None
        if whole is None or extract_of(whole.text, "text", None) is None:
            account.flag("fallback_words")
            return notes
        account.confidence = whole.confidence
        return whole.text.strip()

    async def _worded_by_llm(self, question: str, results: Sequence[tuple[Job, Result]]) -> AsyncGenerator[Event]:
        """The large model's wording, through the gate and as it streams; as it was found, where it cannot be had."""
        notes, account, begun = _notes(results), self._ask.provenance, False
        text = f"{question}\n\nThis was found in a document that you do not see; use it alone:\n{notes}"
        sent = {"messages": [{"role": "user", "content": text}]}
        try:
            async with aclosing(asked(self._egress, None, self._ask, "wording", sent)) as events:
                async for event in events:
                    begun = True
                    yield event
            return
        except (TextRefused, UpstreamFailed) as error:
            if begun:
                raise
            account.answered_by, account.reason = "local", error.reason
        account.flag(flag_of_failure(account.reason))
        account.flag("fallback_words")
        async with aclosing(told(notes, "stop", self._ask)) as events:
            async for event in events:
                yield event


def _notes(results: Sequence[tuple[Job, Result]]) -> str:
    """One result alone, several each after what was asked."""
    if len(results) == 1:
        return results[0][1].text
    return "\n".join(f"{job.instruction} {result.text}" for job, result in results)
