"""Who is measured: Tacit's own redaction, and what it stands beside."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from tacit_privacy.pii.entities import Detector, Entity
from tacit_privacy.pii.policy import RedactionPolicy
from tacit_privacy.pii.pseudonyms import Conversation
from tacit_privacy.pii.redactor import Redactor
from tacit_privacy.pii.restoring import restore
from tacit_simulations.evaluation.pii.leakage import scorable
from tacit_simulations.evaluation.pii.scoring import Span
from tacit_simulations.evaluation.pii.sets import Sample


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one text. A refused one leaves nothing, and all its characters count as masked."""

    found: tuple[Span, ...]  # all that was detected, whatever the policy does with it
    masked: tuple[tuple[int, int], ...] | None  # what was replaced, apart from each other; None: nobody knows
    outbound: str
    refused: bool = False
    restored: bool | None = None  # whether the way back gave the very text; None: there is none


class Subject(Protocol):
    """One redactor under measurement."""

    name: str

    def read(self, samples: Sequence[Sample]) -> list[Outcome]:
        """For each sample what was found in it and what would leave."""
        ...


class _Replay:
    """A detector that says again what was found, so that a redactor does not detect a second time."""

    def __init__(self, found: list[Entity]) -> None:
        self._found = found

    def detect(self, texts: Sequence[str]) -> list[list[Entity]]:
        return [self._found for _ in texts]


class Tacit:
    """The real redactor: every text in a conversation of its own, and back again."""

    def __init__(self, detector: Detector, policy: RedactionPolicy, name: str = "tacit") -> None:
        self.name = name
        self._detector, self._policy = detector, policy

    def read(self, samples: Sequence[Sample]) -> list[Outcome]:
        found = self._detector.detect([sample.text for sample in samples])
        return [self._outcome(sample.text, each) for sample, each in zip(samples, found, strict=True)]

    def _outcome(self, text: str, found: list[Entity]) -> Outcome:
        key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()  # the same run, the same placeholders
        conversation = Conversation("bench", key)
        done = Redactor(_Replay(found), self._policy).redact(text, conversation)
        spans = tuple((entity.start, entity.end, entity.type) for entity in found)
        if done.refused is not None:
            return Outcome(spans, ((0, len(text)),), "", refused=True)
        back = restore(done.text, conversation).text == text
        return Outcome(spans, tuple((entity.start, entity.end) for entity in done.entities), done.text, restored=back)


def blanked(text: str, spans: Iterable[Span]) -> Outcome:
    """What leaves where each span is replaced by its type in angle brackets, as Presidio's anonymizer does."""
    spans = tuple(sorted(spans))
    parts, position = [], 0
    for start, end, type in spans:
        parts += [text[position:start], f"<{type}>"]
        position = end
    return Outcome(spans, tuple((start, end) for start, end, _ in spans), "".join([*parts, text[position:]]))


_PARTS: Final = re.compile(r"[^\W_][\w'\u2019&-]*|[^\w\s]+|\n")


class Capitals:
    """Blanks every run of capitalised words: the crudest rule that masks names at all."""

    name = "capitalised runs"

    def read(self, samples: Sequence[Sample]) -> list[Outcome]:
        return [blanked(sample.text, _capital_runs(sample.text)) for sample in samples]


def _capital_runs(text: str) -> list[Span]:
    runs: list[Span] = []
    joins = False
    for match in _PARTS.finditer(text):
        word = match.group()
        if not word[0].isupper():
            joins = False
        elif joins:
            runs[-1] = (runs[-1][0], match.end(), "NAME")
        else:
            runs.append((*match.span(), "NAME"))
            joins = True
    return runs


class Annotated:
    """Masks exactly the units that are scored: what a perfect redactor would take away."""

    name = "annotated units"

    def read(self, samples: Sequence[Sample]) -> list[Outcome]:
        return [blanked(sample.text, _unit_spans(sample)) for sample in samples]


def _unit_spans(sample: Sample) -> list[Span]:
    kept, _ = scorable(sample.text, sample.units or ())
    spans: list[Span] = []
    for unit in kept:
        pattern = r"\s+".join(map(re.escape, unit.split()))
        spans += [(*match.span(), "UNIT") for match in re.finditer(pattern, sample.text, re.IGNORECASE)]
    apart: list[Span] = []
    for start, end, type in sorted(spans):
        if apart and start < apart[-1][1]:
            apart[-1] = (apart[-1][0], max(end, apart[-1][1]), type)
        else:
            apart.append((start, end, type))
    return apart


class Reference:
    """The redaction that was published with the set; which characters it took is not known."""

    name = "published redaction"

    def read(self, samples: Sequence[Sample]) -> list[Outcome]:
        return [Outcome((), None, sample.reference or "") for sample in samples]
