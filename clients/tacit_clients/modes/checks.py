"""How a local answer is looked at before it is given: each check gives it, or nothing and the reason why."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import BaseModel, Field, PositiveInt

from tacit_clients.modes.asking import Whole, answer_local, ask_local, prompts_of, told
from tacit_clients.modes.local import LocalMode, local_request
from tacit_clients.modes.probing import Probe
from tacit_clients.modes.protocol import Ask, Event
from tacit_clients.modes.trust import agreement, verdict
from tacit_clients.modes.turns import alone, said
from tacit_privacy.errors import Busy

if TYPE_CHECKING:
    from tacit_clients.modes.judging import Judge

_ALIKE = 0.9  # an agreement from which on two samples say the same


class CheckSettings(BaseModel, frozen=True, extra="forbid"):
    """Which check, and what passes it. ``auto``: confidence, or consistency where no probabilities are told."""

    check: Literal["auto", "confidence", "predictor", "consistency", "question", "never"] = "auto"
    sure: float = Field(default=0.8, ge=0, le=1)  # confidence from which a local answer stands
    probe_tokens: PositiveInt = 24
    samples: int = Field(default=4, ge=1, le=16)  # further local answers of the consistency check
    sample_temperature: float = Field(default=0.7, gt=0, le=10)
    consistent: float = Field(default=0.75, ge=0, le=1)  # share of them that must say the same


class Check(Protocol):
    """``failed`` is the reason, a short stable word, where ``answer`` gave nothing."""

    failed: str

    def answer(self, ask: Ask) -> AsyncGenerator[Event]: ...


def check_of(local: LocalMode, settings: CheckSettings, judge: "Judge | None") -> Check:
    match settings.check:
        case "never":
            return Unchecked(local)
        case "predictor" if judge is not None:
            return ByPredictor(local, judge)
        case "question":
            return ByQuestion(local)
        case "consistency":
            return ByConsistency(local, settings)
    return ByConfidence(local, settings)


class Unchecked:
    """Whatever the local model says."""

    failed = ""

    def __init__(self, local: LocalMode) -> None:
        self._local = local

    async def answer(self, ask: Ask) -> AsyncGenerator[Event]:
        ask.provenance.reason = "predicted"
        async with aclosing(alone(self._local, ask)) as events:
            async for event in events:
                yield event


class ByConfidence:
    """By the probabilities of its first tokens: the answer is told as it comes once they are likely enough."""

    def __init__(self, local: LocalMode, settings: CheckSettings) -> None:
        self._local, self._settings, self.failed = local, settings, "unsure"

    async def answer(self, ask: Ask) -> AsyncGenerator[Event]:
        probe = Probe(self._local, self._settings.sure, self._settings.probe_tokens)
        async with aclosing(probe.answer(local_request(ask.body, self._local.most_tokens), ask)) as events:
            async for event in events:
                yield event
        ask.provenance.local_in += probe.spoken.prompt
        ask.provenance.local_out += probe.spoken.tokens
        if probe.sure or probe.spoken.value is not None or self._settings.check != "auto":
            return
        other = ByConsistency(self._local, self._settings)
        self.failed = other.failed
        async with aclosing(other.answer(ask)) as events:
            async for event in events:
                yield event


class ByPredictor:
    """By the predictor once more, which now knows how sure the local model was: one threshold for all of it."""

    failed = "predicted"

    def __init__(self, local: LocalMode, judge: "Judge") -> None:
        self._local, self._judge = local, judge

    async def answer(self, ask: Ask) -> AsyncGenerator[Event]:
        whole = await answer_local(self._local, ask)
        ask.provenance.confidence = whole.confidence
        if not await self._judge.escalates(said(ask), whole.confidence):
            async with aclosing(_given(whole, ask, "predicted")) as events:
                async for event in events:
                    yield event


class ByConsistency:
    """By asking again at some temperature: what is known is said again (Wang et al. 2022). Needs no probabilities."""

    failed = "inconsistent"

    def __init__(self, local: LocalMode, settings: CheckSettings) -> None:
        self._local, self._settings = local, settings

    async def answer(self, ask: Ask) -> AsyncGenerator[Event]:
        whole, settings = await answer_local(self._local, ask), self._settings
        messages, alike = local_request(ask.body, self._local.most_tokens).messages, 0
        for sample in range(settings.samples):
            try:
                again = await ask_local(
                    self._local, ask, messages, None, settings.sample_temperature, sample, personal=True
                )
            except Busy:
                continue  # one sample less that agrees
            alike += agreement(whole.text, again.text) >= _ALIKE
        ask.provenance.confidence = share = alike / settings.samples
        if share >= settings.consistent:
            async with aclosing(_given(whole, ask, "consistent")) as events:
                async for event in events:
                    yield event


class ByQuestion:
    """By asking the local model whether its own answer is right (AutoMix, Aggarwal et al. 2023)."""

    failed = "unverified"

    def __init__(self, local: LocalMode) -> None:
        self._local = local

    async def answer(self, ask: Ask) -> AsyncGenerator[Event]:
        whole, prompt = await answer_local(self._local, ask), said(ask)
        ask.provenance.confidence = whole.confidence
        wording = await prompts_of(self._local)
        question = wording.ask("verify", prompt=prompt, answer=whole.text)
        judged = await ask_local(self._local, ask, question, 8, personal=True)
        if verdict(judged.text):
            async with aclosing(_given(whole, ask, "verified")) as events:
                async for event in events:
                    yield event


async def _given(whole: Whole, ask: Ask, reason: str) -> AsyncGenerator[Event]:
    ask.provenance.answered_by, ask.provenance.reason = "local", reason
    async with aclosing(told(whole.text, whole.finish, ask)) as events:
        async for event in events:
            yield event
