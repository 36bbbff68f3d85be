"""``tacit/routing``: policy first, then a calibrated guess whether the large model would help, then a check.

What must stay at home is answered there. A prompt that the predictor takes for one where the large model is right and
the small one wrong is asked at once. Everything else is answered locally, and the answer is given where it passes its
own check (FrugalGPT, Chen et al. 2023). Nothing leaves before one of the three says so.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import model_validator

from tacit_clients.egress import Egress
from tacit_clients.modes.checks import CheckSettings, check_of
from tacit_clients.modes.judging import Judge, JudgeSettings, damage_of
from tacit_clients.modes.local import UNUSABLE, LocalMode, why_unusable
from tacit_clients.modes.probing import needs_llm
from tacit_clients.modes.protocol import Ask, Event
from tacit_clients.modes.turns import alone, asked, said
from tacit_privacy.errors import BadInput, TacitError

if TYPE_CHECKING:
    from tacit_clients.routing.predictor import Predictor


class RoutingSettings(CheckSettings, JudgeSettings, frozen=True, extra="forbid"):
    """What guesses, and what becomes of a prompt that is unlike all it was trained on."""

    predictor: Path | None = None  # a file that ``tacit models train-router`` wrote
    out_of_scope: Literal["decide", "escalate", "local"] = "decide"

    @model_validator(mode="after")
    def _somebody_must_guess(self) -> Self:
        if self.predictor is None and (self.threshold is not None or self.token_price):
            raise ValueError("threshold and token_price are of a predictor; name one, or leave them out")
        return self


class RoutingMode:
    """Three gates in the order of what they cost; the one that decided is told in ``reason``."""

    name = "routing"

    def __init__(
        self, egress: Egress, local: LocalMode | None, settings: RoutingSettings, predictor: "Predictor | None" = None
    ) -> None:
        self._egress, self._local, self._settings = egress, local, settings
        self._judge = None if predictor is None else Judge(egress, local, predictor, settings)

    async def answer(self, ask: Ask) -> AsyncGenerator[Event]:
        async with aclosing(await self._chosen(ask)) as events:
            async for event in events:
                yield event

    async def _chosen(self, ask: Ask) -> AsyncGenerator[Event]:
        local, needs = self._local, needs_llm(ask.body)
        if ask.stays:
            return _at_home(local, ask)
        if local is None or needs:
            return asked(self._egress, None, ask, needs or "no_local_model")
        why = await self._predicted(ask)
        if why == "local":
            ask.provenance.reason = "out_of_scope"
            return alone(local, ask)
        return asked(self._egress, local, ask, why) if why else self._checked(local, ask)

    async def _predicted(self, ask: Ask) -> str:
        """Why the large model is asked at once, ``local`` where it is not to be asked, or nothing: let us see."""
        prompt, judge, unlike = said(ask), self._judge, self._settings.out_of_scope
        if judge is None or not prompt:
            return ""
        decision = judge.predictor.decide(prompt)
        if decision.out_of_scope:
            ask.provenance.flag("out_of_scope")
            if unlike != "decide":
                return "local" if unlike == "local" else "out_of_scope"
        if not decision.escalate:
            return ""
        try:
            masked = await judge.masked(prompt)
        except TacitError:
            return "predicted"  # the gate will find the same, and nothing leaves
        damage = damage_of(prompt, masked)
        if not judge.predictor.decide(prompt, damage=damage).escalate:
            ask.provenance.flag("redaction_damage")
            return ""
        return "predicted" if await judge.worth_it(prompt, masked, damage=damage) else ""

    async def _checked(self, local: LocalMode, ask: Ask) -> AsyncGenerator[Event]:
        """The local answer if it passes its check, else the large model's."""
        check, begun = check_of(local, self._settings, self._judge), False
        fallback: LocalMode | None = local
        try:
            async with aclosing(check.answer(ask)) as events:
                async for event in events:
                    begun = True
                    yield event
            why = check.failed
        except UNUSABLE as error:
            if begun:
                raise
            why, fallback = why_unusable(error), None
            ask.provenance.flag("fallback_local")
        if begun or ask.cancelled.is_set():
            return
        async with aclosing(asked(self._egress, fallback, ask, why)) as events:
            async for event in events:
                yield event


async def _at_home(local: LocalMode | None, ask: Ask) -> AsyncGenerator[Event]:
    """Raises BadInput where no local model can answer: to ask elsewhere is what the client ruled out."""
    if local is None:
        raise BadInput("the request is to stay on the device, and there is no local model; leave metadata.tacit out")
    ask.provenance.reason = "policy"
    async with aclosing(alone(local, ask)) as events:
        async for event in events:
            yield event


def load_predictor(path: Path | None) -> "Predictor | None":
    """The predictor that the settings name. Raises BadInput where the file is none."""
    if path is None:
        return None
    from tacit_clients.routing.predictor import Predictor

    return Predictor.load(path)
