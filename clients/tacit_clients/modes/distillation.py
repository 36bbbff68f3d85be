"""``tacit/distillation``: a student answers where it is sure, and learns from what the large model answered instead."""

import dataclasses
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt

from tacit_clients.distilling.buffer import DistillationBuffer
from tacit_clients.distilling.space import Canon, redacted
from tacit_clients.egress import Egress
from tacit_clients.modes.asking import delegated, last_of_user
from tacit_clients.modes.local import Confidence, LocalMode, LocalRequest, Piece, events_of, local_request
from tacit_clients.modes.probing import Probe, needs_llm
from tacit_clients.modes.protocol import Ask, Delta, Event, Finish, Json, Provenance, Usage
from tacit_clients.modes.trust import flag_of_failure, watched
from tacit_privacy.errors import TacitError, TextRefused, UpstreamFailed
from tacit_privacy.pii.policy import RestorePolicy
from tacit_privacy.pii.vault.store import Vault

_CHARACTERS = 4  # of a token, where the local model does not count them


class DistillationSettings(BaseModel, frozen=True, extra="forbid"):
    """When the student is sure, and what is kept of what it was not."""

    enabled: bool = False  # keep pairs; many providers' terms forbid to train a model on their answers: read them first
    placeholder_space: bool = True  # the student reads placeholders, as it was trained to, and its answer is restored
    threshold: float = Field(default=0.8, ge=0, le=1)
    probe_tokens: PositiveInt = 24
    most: PositiveInt = 2000  # pairs
    days: PositiveFloat = 30.0
    most_tokens: PositiveInt = 256  # of prompt, answer and end together; a longer pair is not kept

    def buffer(self, vault: Vault) -> DistillationBuffer:
        return DistillationBuffer(vault, self.most, self.days)


@dataclass(frozen=True, slots=True)
class View:
    """What the student is asked. ``canon`` None: it reads the text itself."""

    request: LocalRequest
    canon: Canon | None = field(default=None, repr=False)


class Shown:
    """The pieces of one answer of the student, with originals in them."""

    def __init__(self, view: View, sinks: RestorePolicy) -> None:
        self._restorer = None if view.canon is None else view.canon.restorer(sinks)

    def __call__(self, piece: Piece, choice: int) -> list[Event]:
        if self._restorer is None:
            return events_of(piece, choice)
        text = self._restorer.feed(piece.text) + (self._restorer.close() if piece.finish else "")
        events: list[Event] = [Delta(choice, "content", text)] if text else []
        if piece.finish:
            events.append(Finish(choice, piece.finish if piece.finish in ("stop", "length") else "stop"))
        return events

    def count(self, account: Provenance) -> None:
        """What was restored, of an answer that was given."""
        if self._restorer is not None:
            for count in ("restored", "unknown", "malformed", "withheld"):
                setattr(account, count, getattr(account, count) + getattr(self._restorer, count))


class DistillationMode:
    """The gate stands before the large model as ever. Pairs are kept once an answer is out, and only where opted in."""

    name = "distillation"

    def __init__(
        self,
        egress: Egress,
        local: LocalMode | None,
        buffer: DistillationBuffer,
        settings: DistillationSettings,
    ) -> None:
        self._egress, self._local, self._buffer, self._settings = egress, local, buffer, settings

    async def answer(self, ask: Ask) -> AsyncGenerator[Event]:
        local, needs = self._local, needs_llm(ask.body)
        why, view = needs or ("unsure" if local is not None else "no_local_model"), None
        if local is not None and not needs:
            begun = False
            try:
                view = await self._view(local, ask)
                async with aclosing(self._if_sure(local, view, ask)) as events:
                    async for event in events:
                        begun = True
                        yield event
            except TacitError:
                if begun:
                    raise
                why = "local_unusable"
                ask.provenance.flag("fallback_local")
            if begun or ask.cancelled.is_set():
                return
        async with aclosing(self._escalated(None if needs else local, view, ask, why)) as events:
            async for event in events:
                yield event

    async def _view(self, local: LocalMode, ask: Ask) -> View | None:
        """None where the policy lets the text not leave: nothing in placeholder space stands for it then.

        What was said last is numbered first, since pairs to learn from consist of that alone.
        """
        request = local_request(ask.body, local.most_tokens)
        if not self._settings.placeholder_space:
            return View(request)
        roles = [message["role"] for message in request.messages]
        last = max((place for place, role in enumerate(roles) if role == "user"), default=0)
        order = sorted(range(len(roles)), key=lambda place: place != last)
        texts = [request.messages[place]["content"] for place in order]
        try:
            seen = await self._egress.in_thread(redacted, self._egress.gate, ask.conversation, texts)
        except TacitError:
            return None
        if seen is None:
            return None
        messages = list(request.messages)
        for place, text in zip(order, seen.texts, strict=True):
            messages[place] = {**messages[place], "content": text}
        return View(dataclasses.replace(request, messages=messages), seen.canon)

    async def _if_sure(self, local: LocalMode, view: View | None, ask: Ask) -> AsyncGenerator[Event]:
        """The student's answer if it is sure; nothing at all if it is not."""
        if view is None:
            return
        probe = Probe(local, self._settings.threshold, self._settings.probe_tokens)
        shown = Shown(view, self._egress.gate.policy.restore)
        async with aclosing(probe.answer(view.request, ask, shown)) as events:
            async for event in events:
                yield event
        _count(probe.spoken, ask)
        if probe.sure:
            shown.count(ask.provenance)
            ask.provenance.confidence = probe.spoken.value
            yield Usage(probe.spoken.prompt, probe.spoken.tokens)

    async def _escalated(self, local: LocalMode | None, view: View | None, ask: Ask, why: str) -> AsyncGenerator[Event]:
        """The large model's answer, kept if it may be; the student's where it cannot be had."""
        said, finish, begun = list[str](), "", False
        failure: TextRefused | UpstreamFailed | None = None
        try:
            async with aclosing(watched(delegated(self._egress, None, ask, why), ask, _prompt(ask))) as events:
                async for event in events:
                    begun = True
                    if isinstance(event, Delta) and event.choice == 0 and event.field == "content":
                        said.append(event.text)
                    if isinstance(event, Finish) and event.choice == 0:
                        finish = event.reason
                    yield event
        except (TextRefused, UpstreamFailed) as error:
            failure = type(error)(*error.args)
        if failure is None:
            if finish == "stop" and self._settings.enabled and self._sound(ask):
                await self._keep(ask, "".join(said))
            return
        if begun or local is None:
            raise failure
        ask.provenance.reason = failure.reason
        ask.provenance.flag(flag_of_failure(failure.reason))
        async with aclosing(self._alone(local, view, ask)) as events:
            async for event in events:
                yield event

    async def _alone(self, local: LocalMode, view: View | None, ask: Ask) -> AsyncGenerator[Event]:
        """The student's answer, sure or not."""
        view = View(local_request(ask.body, local.most_tokens)) if view is None else view
        spoken, shown = Confidence(), Shown(view, self._egress.gate.policy.restore)
        async with aclosing(local.pieces(view.request, 0, ask.cancelled)) as pieces:
            async for piece in pieces:
                ask.provenance.answered_by = "local"
                spoken.add(piece)
                for event in shown(piece, 0):
                    yield event
        _count(spoken, ask)
        shown.count(ask.provenance)
        ask.provenance.confidence = spoken.value
        yield Usage(spoken.prompt, spoken.tokens)

    def _sound(self, ask: Ask) -> bool:
        """Whether an answer is one to learn from: to a prompt that stands alone, whole, and instructing nobody."""
        account = ask.provenance
        damaged = account.unknown or account.malformed or account.withheld
        stands_alone = _first_turn(ask.body.get("messages")) and not needs_llm(ask.body)
        return stands_alone and not damaged and "instructions" not in account.flags

    async def _keep(self, ask: Ask, answer: str) -> None:
        """Keep the pair in placeholder space. Whatever fails here costs the pair, and nothing of the answer."""
        prompt = _prompt(ask)
        if not prompt.strip() or not answer.strip():
            return
        try:
            gate = self._egress.gate
            seen = await self._egress.in_thread(redacted, gate, ask.conversation, [prompt, answer])
            if seen is None or seen.met[0] != seen.met[1]:  # names that only the answer has: nobody could restore them
                return
            if await self._fits(*seen.texts):
                await self._egress.in_thread(self._buffer.keep, ask.conversation, *seen.texts)
        except TacitError:
            return

    async def _fits(self, prompt: str, answer: str) -> bool:
        """Whether the student can read the pair whole."""
        length = None if self._local is None else getattr(self._local.model, "length", None)
        if length is None:
            return len(prompt) + len(answer) <= _CHARACTERS * self._settings.most_tokens
        tokens = await length([{"role": "user", "content": prompt}], answer)
        return int(tokens) <= self._settings.most_tokens


def _count(spoken: Confidence, ask: Ask) -> None:
    ask.provenance.local_in += spoken.prompt
    ask.provenance.local_out += spoken.tokens


def _prompt(ask: Ask) -> str:
    try:
        return last_of_user(ask.body.get("messages"))
    except TacitError:
        return ""


def _first_turn(messages: Json) -> bool:
    """Whether the person said one thing and nobody answered yet: a later turn cannot be understood alone."""
    roles: Sequence[Json] = [message.get("role") for message in messages] if isinstance(messages, list) else []
    return roles.count("user") == 1 and set(roles) <= {"system", "developer", "user"}
