"""``tacit/auto``: the local model begins, and goes on where it is sure; the large one is asked where it is not."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from pydantic import BaseModel, Field, PositiveInt

from tacit_clients.egress import Egress
from tacit_clients.modes.asking import delegated
from tacit_clients.modes.local import UNUSABLE, LocalMode, local_request, needs_more, why_unusable
from tacit_clients.modes.probing import Probe
from tacit_clients.modes.protocol import Ask, Event


class AutoSettings(BaseModel, frozen=True, extra="forbid"):
    """When the local model is sure: ``threshold`` is on exp of its tokens' mean log-probability."""

    threshold: float = Field(default=0.8, ge=0, le=1)
    probe_tokens: PositiveInt = 24  # after so many the decision is made, or at the answer's end


class AutoMode:
    """Nothing leaves while the local model is sure; whatever keeps the large one from being asked leaves it to it."""

    name = "auto"

    def __init__(self, egress: Egress, local: LocalMode | None, settings: AutoSettings) -> None:
        self._egress, self._local, self._settings = egress, local, settings

    async def answer(self, ask: Ask) -> AsyncGenerator[Event]:
        local = self._local
        needs = needs_more(ask.body)
        why = needs or ("unsure" if local is not None else "no_local_model")
        if local is not None and not needs:
            sure = False
            try:
                async with aclosing(self._if_sure(local, ask)) as events:
                    async for event in events:
                        sure = True
                        yield event
            except UNUSABLE as error:
                if sure:
                    raise
                local, why = None, why_unusable(error)
                ask.provenance.flag("fallback_local")
            if sure or ask.cancelled.is_set():
                return
        async with aclosing(delegated(self._egress, None if needs else local, ask, why)) as events:
            async for event in events:
                yield event

    async def _if_sure(self, local: LocalMode, ask: Ask) -> AsyncGenerator[Event]:
        """The local answer if its beginning is likely enough; nothing at all if it is not. The first choice decides."""
        request = local_request(ask.body, local.most_tokens)
        probe = Probe(local, self._settings.threshold, self._settings.probe_tokens)
        async with aclosing(probe.answer(request, ask)) as events:
            async for event in events:
                yield event
        if not probe.sure:
            return
        async with aclosing(local.choices(request, 1, probe.spoken.prompt, probe.spoken.tokens, ask)) as events:
            async for event in events:
                yield event
