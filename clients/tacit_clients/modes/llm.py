"""``tacit/llm``: the large model answers, asked through the gate. Routing is skipped, the gate never."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from tacit_clients.egress import Egress
from tacit_clients.modes.local import LocalMode, needs_more
from tacit_clients.modes.protocol import Ask, Event
from tacit_clients.slm.answers import LocalUnusable
from tacit_privacy.errors import TextRefused
from tacit_privacy.pii.policy import RedactionPolicy

_NEVER_LOCAL = frozenset(("block", "paused", "audio", "file"))


class LlmMode:
    """What the gate refuses is answered on the device where the policy says so and a local model can, else refused."""

    name = "llm"

    def __init__(self, egress: Egress, local: LocalMode | None, policy: RedactionPolicy) -> None:
        self._egress, self._local, self._policy = egress, local, policy

    async def answer(self, ask: Ask) -> AsyncGenerator[Event]:
        begun = False
        refusal: TextRefused | None = None
        try:
            async with aclosing(self._egress.chat(ask, "asked")) as events:
                async for event in events:
                    if not begun:
                        begun, ask.provenance.reason = True, "asked"
                    yield event
        except TextRefused as error:
            refusal = TextRefused(*error.args)
        if refusal is None:
            return
        if begun or self._local is None or not self._stays(refusal) or needs_more(ask.body):
            raise refusal
        ask.provenance.reason = refusal.reason
        try:
            async with aclosing(self._local.answer(ask)) as events:
                async for event in events:
                    yield event
            return
        except LocalUnusable:
            ask.provenance.answered_by = ""
        raise refusal

    def _stays(self, refusal: TextRefused) -> bool:
        """Whether the policy asks for a local answer."""
        if refusal.reason in _NEVER_LOCAL:
            return False
        return refusal.reason == "local_only" or self._policy.on_error == "local_only"
