"""Text made fit to leave the device: found, decided by the policy, replaced."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tacit_privacy.pii.entities import Detector, Entity
from tacit_privacy.pii.policy import Action, RedactionPolicy
from tacit_privacy.pii.pseudonyms.conversation import Conversation
from tacit_privacy.pii.pseudonyms.folding import Folded, fold
from tacit_privacy.pii.pseudonyms.grammar import ESCAPED, type_word
from tacit_privacy.pii.pseudonyms.known import KnownValues
from tacit_privacy.pii.restoring import restore
from tacit_privacy.pii.spans import look_alikes, settled
from tacit_privacy.pii.trees import JSON, Path, Tree, is_wire_key


@dataclass(frozen=True, slots=True)
class Redaction:
    """One text as it may leave. ``repr`` shows neither text nor what was found."""

    text: str = field(repr=False)  # empty when refused
    entities: tuple[Entity, ...]  # what was replaced, offsets in the input; what was refused, when refused
    masked: dict[str, int]  # how many of each type were replaced
    refused: str | None = None  # the type that the policy does not let leave
    local_only: bool = False  # refused, and a local answer is what the policy asks for


@dataclass(frozen=True, slots=True)
class TreeRedaction:
    """One JSON body as it may leave."""

    body: JSON = field(repr=False)  # None when refused
    masked: dict[str, int]
    refused: str | None = None
    local_only: bool = False
    unreadable: tuple[Path, ...] = ()  # where pictures, sound or files stand, which nothing here can look into


class Redactor:
    """Detects, decides, replaces. Keeps nothing of any text but in the conversation. Serves any number of threads."""

    def __init__(self, detector: Detector, policy: RedactionPolicy) -> None:
        self._detector, self._policy = detector, policy
        self._invents = not {"surrogate", "format"}.isdisjoint((policy.default, *policy.types.values()))

    def redact(self, text: str, conversation: Conversation) -> Redaction:
        """``text`` with placeholders. A refused text changes nothing in the conversation."""
        return self.redact_many([text], conversation)[0]

    def redact_many(self, texts: Sequence[str], conversation: Conversation) -> list[Redaction]:
        """Each of ``texts`` with placeholders, by one call of the detector. A value found in one is found in all."""
        found = [self._to_replace(entities) for entities in self._detector.detect(texts)]
        refusals = [self._refusal(entities) for entities in found]
        going = [index for index, refusal in enumerate(refusals) if refusal is None]
        with conversation.lock:
            redacted = self._replace([texts[i] for i in going], [found[i] for i in going], conversation)
        done = dict(zip(going, redacted, strict=True))
        return [done[index] if refusal is None else refusal for index, refusal in enumerate(refusals)]

    def found(self, text: str) -> list[Entity]:
        """Everything that the detector finds, also what the policy keeps."""
        return self._detector.detect([text])[0]

    def redact_tree(
        self,
        body: JSON,
        conversation: Conversation,
        structural: Callable[[Path], bool],
        structural_key: Callable[[Path], bool] = is_wire_key,
    ) -> TreeRedaction:
        """``body`` with placeholders in every string and key, in JSON inside strings, and for numbers that identify.

        ``structural(path)``: the value there is part of the wire format (a role, a model's name) and stays.
        ``structural_key(path)``: the key that ends the path is. All or nothing: a refused body changes nothing.
        """
        tree = Tree(body, structural, structural_key)
        found = tree.gathered([self._to_replace(entities) for entities in self._detector.detect(tree.searched)])
        refusals = [refusal for refusal in map(self._refusal, found) if refusal is not None]
        if refusals:
            worst = min(refusals, key=lambda refusal: refusal.local_only)
            return TreeRedaction(None, {}, worst.refused, worst.local_only, tree.unreadable)
        with conversation.lock:
            redacted = self._replace(tree.texts, found, conversation, tree.whole_numbers)
        masked: dict[str, int] = {}
        for each in redacted:
            for type, count in each.masked.items():
                masked[type] = masked.get(type, 0) + count
        return TreeRedaction(tree.rebuilt([each.text for each in redacted]), masked, unreadable=tree.unreadable)

    # --- deciding

    def _to_replace(self, entities: Sequence[Entity]) -> list[Entity]:
        return [entity for entity in entities if self._policy.action(entity.type) != "keep"]

    def _refusal(self, entities: Sequence[Entity]) -> Redaction | None:
        """The refusal of a text with these entities; "block" weighs more than "local_only"."""
        for action in ("block", "local_only"):
            held = tuple(entity for entity in entities if self._policy.action(entity.type) == action)
            if held:
                return Redaction("", held, {}, held[0].type, action == "local_only")
        return None

    # --- replacing; the conversation's lock is held

    def _replace(
        self,
        texts: Sequence[str],
        found: Sequence[list[Entity]],
        conversation: Conversation,
        fitting: Callable[[int, list[Entity]], list[Entity]] = lambda _, entities: entities,
    ) -> list[Redaction]:
        pairs = list(zip(texts, _everywhere(texts, found, conversation, fitting), strict=True))
        values = {(span.type, text[span.start : span.end]): None for text, spans in pairs for span in spans}
        # full names first: what a short form stands for is then clear wherever it stands
        names = sorted(values, key=lambda key: -len(key[1].split()))
        made = self._made_up(texts, names, conversation) if self._invents else {}
        placed = {key: made.get(key) or conversation.placeholder(*key) for key in names}
        if self._invents:
            for text, spans in pairs:
                conversation.mentioned(fold(_put(text, spans, lambda _: "\0")))
        return [self._written(text, spans, placed, conversation) for text, spans in pairs]

    def _made_up(
        self, texts: Sequence[str], names: Sequence[tuple[str, str]], conversation: Conversation
    ) -> dict[tuple[str, str], str]:
        """The surrogates that the policy asks for, as far as there are any."""
        whole = "\n".join(map(fold, texts))
        for type, value in names:
            if self._actions(type) in ("surrogate", "format"):
                conversation.bearer(type, value)  # all are known before the first is made up
        made = {}
        for type, value in names:
            action = self._actions(type)
            if action in ("surrogate", "format"):
                fiction = conversation.surrogate(type, value, lambda each: fold(each) not in whole, action == "format")
                if fiction is not None:
                    made[type, value] = fiction
        return made

    def _actions(self, type: str) -> Action:
        return "mask" if type == ESCAPED else self._policy.action(type)

    def _written(
        self, text: str, spans: list[Entity], placed: dict[tuple[str, str], str], conversation: Conversation
    ) -> Redaction:
        masked = dict(Counter(span.type for span in spans))
        written = _put(text, spans, lambda span: placed[span.type, text[span.start : span.end]])
        if conversation.fictions() and restore(written, conversation).text != text:
            # made-up words and the words beside them came to read as something else; placeholders never do
            written = _put(text, spans, lambda span: conversation.placeholder(span.type, text[span.start : span.end]))
        return Redaction(written, tuple(spans), masked)


def _put(text: str, spans: list[Entity], instead: Callable[[Entity], str]) -> str:
    """``text`` with each of ``spans`` replaced."""
    parts, position = [], 0
    for span in spans:
        parts += [text[position : span.start], instead(span)]
        position = span.end
    return "".join((*parts, text[position:]))


def _everywhere(
    texts: Sequence[str],
    found: Sequence[list[Entity]],
    conversation: Conversation,
    fitting: Callable[[int, list[Entity]], list[Entity]],
) -> list[list[Entity]]:
    """The spans to replace in each text once every value, found here or known before, is found in all of them."""
    folded = [Folded(text) for text in texts]
    types = conversation.types() | {type_word(entity.type).lower() for each in found for entity in each}
    fictions = conversation.fictions()
    marked = [
        [*each, *fitting(i, conversation.known(folded[i])), *fitting(i, look_alikes(texts[i], types, fictions))]
        for i, each in enumerate(found)
    ]
    known = KnownValues()
    while True:
        spans = [fitting(i, settled(text, each)) for i, (text, each) in enumerate(zip(texts, marked, strict=True))]
        fresh = KnownValues()
        news = False
        for text, each in zip(texts, spans, strict=True):
            for span in each:
                value = text[span.start : span.end]
                if span.type != ESCAPED and known.add(span.type, value):
                    news = fresh.add(span.type, value) or news
        if not news:
            return spans
        for index, each_text in enumerate(folded):
            marked[index] += fitting(index, fresh.find(each_text))
