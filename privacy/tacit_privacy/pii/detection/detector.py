"""Patterns, the shipped recogniser and plug-ins as one detector."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from tacit_privacy.pii.detection.borrowed import NationalNumbers
from tacit_privacy.pii.detection.contact import CONTACT
from tacit_privacy.pii.detection.introductions import Introductions
from tacit_privacy.pii.detection.merging import joined, settle
from tacit_privacy.pii.detection.network import NETWORK
from tacit_privacy.pii.detection.normalise import Readable, readable
from tacit_privacy.pii.detection.numbers import NUMBERS
from tacit_privacy.pii.detection.phrases import FORMS_OF_ADDRESS, Word, again, lexicon, split
from tacit_privacy.pii.detection.places import PLACES
from tacit_privacy.pii.detection.public import set_apart
from tacit_privacy.pii.detection.secrets import SECRETS
from tacit_privacy.pii.detection.shapes import Finder, Found, View, find_all
from tacit_privacy.pii.entities import Detector, Entity
from tacit_privacy.pii.policy import RedactionPolicy

PATTERNS: Final[tuple[Finder, ...]] = (
    *SECRETS,
    *NUMBERS,
    *CONTACT,
    *NETWORK,
    *PLACES,
    Introductions(),
    NationalNumbers(),
)
"""Every pattern that comes with Tacit."""


MOST_OF_A_MODEL: Final = 0.99
"""A model's score, however sure, ranks below a check digit's."""


class Model(Protocol):
    """Finds by reading rather than by shape: the shipped recogniser, a plug-in."""

    def detect(self, texts: Sequence[str]) -> list[list[Entity]]:
        """For each text its entities."""
        ...


class CombinedDetector:
    """What every part finds, merged; found again wherever the same text holds it. Immutable, so any thread may use it.

    Detection reads a copy of the text in which nothing hides (``normalise``); offsets are those of the text itself.
    """

    def __init__(self, policy: RedactionPolicy, models: Sequence[Model] = ()) -> None:
        self._policy = policy.detection
        self._models = tuple(models)
        self._kept = policy.action
        self._allow = lexicon(policy.detection.allow)
        self._deny = lexicon(policy.detection.deny)

    def detect(self, texts: Sequence[str]) -> list[list[Entity]]:
        """For each text its entities, sorted and apart; those that the policy keeps are among them."""
        copies = [readable(text) for text in texts]
        read = [model.detect([copy.text for copy in copies]) for model in self._models] if texts else []
        return [self._one(copy, [part[index] for part in read]) for index, copy in enumerate(copies)]

    def _keeps(self, type: str) -> bool:
        return self._kept(type) == "keep"

    def _one(self, copy: Readable, read: Iterable[Iterable[Entity]]) -> list[Entity]:
        text = copy.text
        found = [one for one in find_all(PATTERNS, View(text)) if one.score >= self._policy.least(one.type)]
        found += [
            Found(entity.start, entity.end, _type_of(text, entity), min(entity.score, MOST_OF_A_MODEL))
            for part in read
            for entity in part
            if entity.score >= self._policy.least(entity.type) and _may_be(text[entity.start : entity.end], entity.type)
        ]
        run = split(text) if found or self._deny else []
        found += [Found(start, end, "CUSTOM", 1.0) for start, end, _ in self._deny.find(text, run)]
        settled = self._allowed(text, run, settle(text, found, self._keeps))
        if settled:
            settled = self._allowed(text, run, settle(text, [*settled, *again(text, run, settled)], self._keeps))
        entities = [Entity(*one) for one in joined(text, settled, self._keeps)]
        return [_back(copy, entity) for entity in set_apart(text, entities)]

    def _allowed(self, text: str, run: Sequence[Word], settled: list[Found]) -> list[Found]:
        """Without what consists of allowed words and phrases alone."""
        if not self._allow or not settled:
            return settled
        allowed = {
            word.start
            for start, end, _ in self._allow.find(text, run)
            for word in run[bisect_left(run, start, key=_start) : bisect_left(run, end, key=_start)]
        }
        return [one for one in settled if one.type == "CUSTOM" or not _all_in(allowed, run, one)]


def _may_be(shown: str, type: str) -> bool:
    """Whether a model's span can be of its type: words in small letters alone are nobody's number."""
    return type != "ID" or any(char.isdigit() or char.isupper() for char in shown)


def _type_of(text: str, entity: Entity) -> str:
    """A form of address that stands alone is nobody's name."""
    said = {word.folded for word in split(text[entity.start : entity.end])} if entity.type == "PERSON" else set[str]()
    return "TITLE" if said and said <= FORMS_OF_ADDRESS else entity.type


def _start(word: Word) -> int:
    return word.start


def _all_in(allowed: set[int], run: Sequence[Word], one: Found) -> bool:
    """Whether a span has words, and each is allowed."""
    inside = run[bisect_left(run, one.start, key=_start) : bisect_left(run, one.end, key=_start)]
    return bool(inside) and all(word.start in allowed for word in inside)


def _back(copy: Readable, entity: Entity) -> Entity:
    start, end = copy.span(entity.start, entity.end)
    return replace(entity, start=start, end=end)


def pattern_detector(policy: RedactionPolicy) -> Detector:
    """Patterns, checksums and the policy's lists alone: no model, the same answer everywhere."""
    return CombinedDetector(policy)


def build_detector(policy: RedactionPolicy) -> Detector:
    """Everything that the policy asks for. Raises MissingExtra or BadInput where a plug-in cannot be loaded."""
    models: list[Model] = []
    detection = policy.detection
    if detection.recogniser == "tacit":
        from tacit_privacy.pii.detection.recogniser import Recogniser  # ONNX Runtime and 20 MB of weights

        models.append(Recogniser.shipped(detection.threshold, detection.thresholds))
    if detection.plugins:
        from tacit_privacy.pii.detection.plugins import load

        models += map(load, detection.plugins)
    return CombinedDetector(policy, models)
