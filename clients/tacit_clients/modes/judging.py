"""What a predictor is told before a prompt may leave: what masking takes from it, and what asking it would cost."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, Field

from tacit_clients.egress import Egress
from tacit_clients.modes.lexical import content_words, in_place_of
from tacit_clients.modes.local import LocalMode
from tacit_privacy.errors import TacitError
from tacit_privacy.pii.entities import Entity
from tacit_privacy.pii.pseudonyms.grammar import SHORTEST_STEM

if TYPE_CHECKING:
    from tacit_clients.routing.predictor import Predictor
    from tacit_clients.routing.signals import Damage

_CHARACTERS: Final = 4  # of a token, where the local model does not count them
_STEM: Final = "k3f9q7x2v5"[:SHORTEST_STEM]  # as a placeholder's looks


class JudgeSettings(BaseModel, frozen=True, extra="forbid"):
    """What a prompt has to promise: the large model right and the small one wrong, with at least this probability."""

    threshold: float | None = Field(default=None, ge=0, le=1)  # None: as the predictor was trained
    token_price: float = Field(default=0.0, ge=0, le=1)  # so much more for each token of the prompt as it would leave


class Judge:
    """``predictor`` has the threshold of ``settings``. With a price a longer prompt has to promise more."""

    def __init__(
        self, egress: Egress, local: LocalMode | None, predictor: "Predictor", settings: JudgeSettings
    ) -> None:
        self._egress, self._local, self._price = egress, local, settings.token_price
        self.predictor = predictor if settings.threshold is None else predictor.with_threshold(settings.threshold)

    async def escalates(self, prompt: str, confidence: float | None) -> bool:
        """Whether the large model is asked, now that the local one's confidence is known."""
        if not self.predictor.decide(prompt, confidence=confidence).escalate:
            return False  # a price only asks for more
        if not self._price:
            return True
        try:
            masked = await self.masked(prompt)
        except TacitError:
            return True  # the gate will find the same, and nothing leaves
        return await self.worth_it(prompt, masked, confidence)

    async def masked(self, prompt: str) -> list[Entity]:
        """What the gate would take from ``prompt``."""
        gate = self._egress.gate
        found = [] if gate.redactor is None else await self._egress.in_thread(gate.redactor.found, prompt)
        return [entity for entity in found if gate.policy.action(entity.type) != "keep"]

    async def worth_it(
        self,
        prompt: str,
        masked: Sequence[Entity],
        confidence: float | None = None,
        damage: "Damage | None" = None,
    ) -> bool:
        """Whether a prompt that reaches the threshold also pays for its tokens."""
        if not self._price:
            return True
        tokens = await self._tokens(as_it_leaves(prompt, masked))
        priced = self.predictor.with_threshold(self.predictor.threshold + self._price * tokens)
        return priced.decide(prompt, confidence=confidence, damage=damage).escalate

    async def _tokens(self, text: str) -> float:
        """As the local model counts them, which is near enough: the large one's tokenizer is not here."""
        length = None if self._local is None else getattr(self._local.model, "length", None)
        if length is not None:
            try:
                return float(await length([{"role": "user", "content": text}]))
            except TacitError:
                pass  # too long for the local model, say
        return len(text) / _CHARACTERS


def as_it_leaves(prompt: str, masked: Sequence[Entity]) -> str:
    """``prompt`` with something of a placeholder's length in place of each of ``masked``: to be counted, not sent."""
    return in_place_of(masked, prompt, lambda entity: f"{entity.type}_{_STEM}")


def damage_of(prompt: str, masked: Sequence[Entity]) -> "Damage":
    """What masking ``masked`` takes from ``prompt``.

    It is critical where half or more of the words of the sentence that asks are masked, people's names aside: an answer
    seldom turns on who somebody is, and often on which town it is.
    """
    from tacit_clients.routing.signals import Damage

    counts: dict[str, int] = {}
    for entity in masked:
        counts[entity.type] = counts.get(entity.type, 0) + 1
    start = max(prompt.rfind(mark, 0, max(0, len(prompt.rstrip()) - 1)) for mark in ".!?\n") + 1
    places = [entity for entity in masked if entity.type != "PERSON" and entity.start >= start]
    hidden = [word for entity in places for word in content_words(prompt[entity.start : entity.end])]
    critical = bool(hidden) and 2 * len(hidden) >= len(content_words(prompt[start:]))
    share = sum(entity.end - entity.start for entity in masked) / max(1, len(prompt))
    return Damage(min(1.0, share), critical, counts)
