"""``tacit/fusion``: both models answer at once, and the device makes one answer of the two, with all it knows."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self, TypeVar

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from tacit_clients.egress import Egress
from tacit_clients.modes import prompts
from tacit_clients.modes.asking import (
    Whole,
    answer_local,
    ask_llm,
    ask_local,
    delegated,
    last_of_user,
    prompts_of,
    told,
    with_last_of_user,
)
from tacit_clients.modes.local import LocalMode, local_request
from tacit_clients.modes.probing import needs_llm
from tacit_clients.modes.protocol import Ask, Delta, Event, Finish, Usage
from tacit_clients.modes.tokens import Relay
from tacit_clients.modes.trust import agreement, flag_of_failure, flags_of_answer, watched
from tacit_clients.modes.weighing import Evidence, Weights, agreed_confidence, local_share
from tacit_privacy.errors import TacitError, TextRefused, UpstreamFailed

_OWN: Final = ("logprobs", "top_logprobs", "stream", "stream_options")  # of the client's, not of a part of the work
T = TypeVar("T")
S = TypeVar("S")


class FusionSettings(Weights, frozen=True, extra="forbid"):
    """When two answers are one, what decides between them, and what may be asked of the endpoint."""

    llm_s: PositiveFloat = 60.0  # how long the large model may take, all its calls together
    samples: int = Field(default=0, ge=0, le=16)  # further local answers, to see what the local model keeps saying
    sample_temperature: float = Field(default=0.7, gt=0, le=10)
    agree: float = Field(default=0.9, gt=0, le=1)  # an agreement from which on two answers are one
    merge: Literal["never", "auto"] = "auto"  # whether a local chat model may write one answer of both
    merge_below: float = Field(default=0.8, ge=0.5, le=1)  # only where neither has a larger share than this
    token_level: bool = False  # needs log-probabilities and an endpoint that goes on from an assistant's message
    same_tokenizer: bool = False  # the owner's word that both models spell alike
    alpha: float = Field(default=0.5, ge=0, le=4)  # how much the local model counts against the large one
    most_calls: int = Field(default=4, ge=2, le=64)  # of the large model for one answer
    sample_tokens: PositiveInt = 256

    @model_validator(mode="after")
    def _tokens_must_match(self) -> Self:
        if self.token_level and not self.same_tokenizer:
            raise ValueError(
                "token_level needs two models of one tokenizer; say same_tokenizer = true if yours are, or leave it out"
            )
        return self


@dataclass(frozen=True, slots=True)
class Own:
    """The local model's part: its answer, and what it said when it was asked again."""

    whole: Whole
    samples: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Theirs:
    """The large model's part. ``fused``: token by token with the local model, so there is nothing left to weigh."""

    whole: Whole
    fused: bool = False


Failure = TextRefused | UpstreamFailed


class FusionMode:
    """The large model sees what the gate lets through; ranking and merging see everything, and happen here."""

    name = "fusion"

    def __init__(self, egress: Egress, local: LocalMode | None, settings: FusionSettings) -> None:
        self._egress, self._local, self._settings = egress, local, settings
        self._relay = None
        if local is not None and settings.token_level:
            self._relay = Relay(egress, local, settings.alpha, settings.most_calls)

    async def answer(self, ask: Ask) -> AsyncGenerator[Event]:
        local, needs = self._local, needs_llm(ask.body)
        if local is None or needs:
            alone = delegated(self._egress, None, ask, needs or "no_local_model")
            async with aclosing(watched(alone, ask, _prompt(ask))) as events:
                async for event in events:
                    yield event
            return
        own, theirs = await both(self._own(local, ask), self._theirs(ask))
        if ask.cancelled.is_set():
            return
        whole = await self._one(local, ask, own, theirs)
        if isinstance(theirs, Theirs):
            async for event in told(whole.text, whole.finish, ask):
                yield event
            return
        if whole.text:
            yield Delta(0, "content", whole.text)
        yield Finish(0, whole.finish if whole.finish in ("stop", "length") else "stop")
        yield Usage(ask.provenance.local_in, ask.provenance.local_out)

    async def _own(self, local: LocalMode, ask: Ask) -> Own | None:
        """None where the local model cannot be used; why is for the log of whoever runs it, not for this answer."""
        try:
            whole = await answer_local(local, ask)
            return Own(whole, await self._samples(local, ask)) if whole.text.strip() else None
        except TacitError:
            return None

    async def _samples(self, local: LocalMode, ask: Ask) -> tuple[str, ...]:
        """What the local model says to the same again, less surely put. One that fails is one less."""
        messages, settings = local_request(ask.body, local.most_tokens).messages, self._settings
        found = []
        for number in range(settings.samples):
            if ask.cancelled.is_set():
                break
            try:
                whole = await ask_local(
                    local, ask, messages, settings.sample_tokens, settings.sample_temperature, number, personal=True
                )
            except TacitError:
                break
            found.append(whole.text)
        return tuple(found)

    async def _theirs(self, ask: Ask) -> Theirs | Failure:
        body = {name: value for name, value in ask.body.items() if name not in _OWN}
        try:
            async with asyncio.timeout(self._settings.llm_s):
                if self._relay is not None and self._relay.takes(body):
                    return Theirs(*await self._relay.answer(ask, body))
                return Theirs(await ask_llm(self._egress, ask, body, "asked"))
        except TimeoutError:
            return UpstreamFailed("timeout")
        except (TextRefused, UpstreamFailed) as error:
            return type(error)(*error.args)  # without the past of the first, which may hold text

    async def _one(self, local: LocalMode, ask: Ask, own: Own | None, theirs: Theirs | Failure) -> Whole:
        """The one answer, with its account. Raises the large model's failure where nobody answered."""
        account = ask.provenance
        if own is None:
            if not isinstance(theirs, Theirs):
                raise theirs
            account.flag("fallback_local")
            return self._given(ask, theirs.whole, "llm", "local_unusable", theirs.whole.confidence)
        if not isinstance(theirs, Theirs):
            account.flag(flag_of_failure(theirs.reason))
            return self._given(ask, own.whole, "local", theirs.reason, own.whole.confidence)
        if not theirs.whole.text.strip():
            account.flag("fallback_empty")
            return self._given(ask, own.whole, "local", "empty", own.whole.confidence)
        return await self._weighed(local, ask, own, theirs)

    async def _weighed(self, local: LocalMode, ask: Ask, own: Own, theirs: Theirs) -> Whole:
        account, settings, said = ask.provenance, self._settings, theirs.whole
        account.agreement = agreement(own.whole.text, said.text)
        same = account.agreement >= settings.agree
        if not same:
            account.flag("disagreement")
        if theirs.fused:
            return self._given(ask, said, "llm", "relayed", said.confidence)
        mine, other = await self._evidence(local, ask, own, said, same)
        share = local_share(mine, other, settings)
        winner, by, surest = (own.whole, "local", share) if share > 0.5 else (said, "llm", 1 - share)
        if same:
            return self._given(ask, winner, by, "agreed", agreed_confidence(mine, settings))
        if settings.merge == "auto" and surest < settings.merge_below and not _commands(said.text, ask):
            rival = said if winner is own.whole else own.whole
            merged = await self._merged(local, ask, winner.text, rival.text)
            if merged is not None:
                return self._given(ask, merged, "local", "merged", surest)
        return self._given(ask, winner, by, "weighed", surest)

    async def _evidence(
        self, local: LocalMode, ask: Ask, own: Own, said: Whole, same: bool
    ) -> tuple[Evidence, Evidence]:
        """Of the local answer and of the large model's. Two that agree need no likelihoods to choose between them."""
        prompt, answers = _prompt(ask), (own.whole.text, said.text)
        scores = [None, None] if same else [await _score(local, ask, answer) for answer in answers]
        votes = [_votes(answer, own.samples) for answer in answers]
        flags = [len(_flags(answer, prompt, by)) for answer, by in zip(answers, ("local", "llm"), strict=True)]
        return (
            Evidence(own.whole.confidence, scores[0], votes[0], flags[0]),
            Evidence(None, scores[1], votes[1], flags[1]),
        )

    async def _merged(self, local: LocalMode, ask: Ask, first: str, second: str) -> Whole | None:
        """One answer that the local model writes of two, its better one first; None where it cannot."""
        try:
            asked = await prompts_of(local)
            if asked is not prompts.CHAT:
                return None
            (turn,) = asked.ask("merge", prompt=last_of_user(ask.body["messages"]), first=first, second=second)
            messages = with_last_of_user(ask.body["messages"], turn["content"])
            merged = await answer_local(local, ask, messages)
        except TacitError:
            return None
        return merged if merged.text.strip() and merged.finish == "stop" else None

    def _given(
        self, ask: Ask, whole: Whole, by: Literal["local", "llm"] | str, reason: str, confidence: float | None
    ) -> Whole:
        account = ask.provenance
        account.answered_by = "llm" if by == "llm" else "local"
        account.reason, account.confidence = reason, confidence
        for word in _flags(whole.text, _prompt(ask), account.answered_by):
            account.flag(word)
        return whole


async def both(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, S]) -> tuple[T, S]:
    """What both return. Where one fails, or nobody waits any more, the other is ended before this returns."""
    one, other = asyncio.create_task(first), asyncio.create_task(second)
    try:
        await asyncio.gather(one, other)
        return one.result(), other.result()
    finally:
        one.cancel()
        other.cancel()
        await asyncio.gather(one, other, return_exceptions=True)


def _prompt(ask: Ask) -> str:
    try:
        return last_of_user(ask.body.get("messages"))
    except TacitError:
        return ""


def _commands(text: str, ask: Ask) -> bool:
    """Whether the local model would read instructions in it, and perhaps follow them."""
    return "instructions" in flags_of_answer(text, _prompt(ask))


def _flags(text: str, prompt: str, by: str) -> list[str]:
    """Flags of an answer; what a local one repeats of the prompt instructs nobody."""
    return [word for word in flags_of_answer(text, prompt) if by == "llm" or word != "instructions"]


def _votes(answer: str, samples: tuple[str, ...]) -> float | None:
    return sum(agreement(answer, sample) for sample in samples) / len(samples) if samples else None


async def _score(local: LocalMode, ask: Ask, answer: str) -> float | None:
    """How likely the local model finds an answer, with all that the device knows; None where it cannot say."""
    score = getattr(local.model, "score", None)
    if score is None:
        return None
    messages = local_request(ask.body, local.most_tokens).messages
    try:
        found = await score(messages, answer, cancelled=ask.cancelled)
    except Exception:  # evidence is a help, never a need
        return None
    return float(found) if found is not None else None
