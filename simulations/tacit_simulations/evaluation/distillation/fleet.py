"""A simulated fleet's escalations: what households ask, which of it their model is unsure of, what the large one says.

What a device does one prompt at a time (``tacit_clients.modes.distillation``) is done here in batches: the same
redaction, the same placeholders for the student, the same confidence, the same greedy answers; only the gateway and its
connection are left out.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tacit_clients.distilling.space import Canon
from tacit_clients.distilling.threshold import Tried
from tacit_clients.slm.models import LanguageModel
from tacit_privacy.files import write_whole
from tacit_privacy.pii.detection.detector import build_detector
from tacit_privacy.pii.policy import RedactionPolicy
from tacit_privacy.pii.pseudonyms.conversation import Conversation
from tacit_privacy.pii.redactor import Redactor
from tacit_privacy.pii.restoring import restore
from tacit_simulations.data.errands.asking import Asker, Question
from tacit_simulations.evaluation.batched import answers

Tell = Callable[[str], None]
_CHUNK: Final = 2048  # questions that are looked at together


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of one household, as it may leave, with the names that its answer is restored by.

    ``seen`` is the same as the student reads it: with the same few placeholders in every prompt.
    """

    household: int
    question: Question = field(repr=False)
    redacted: str = field(repr=False)
    seen: str = field(repr=False)
    names: Conversation = field(repr=False)

    @classmethod
    def of(cls, household: int, question: Question, redacted: str, names: Conversation) -> "Asked":
        return cls(household, question, redacted, Canon(names).read(redacted), names)

    def right(self, answer: str) -> bool:
        """Whether an answer of the large model is the right one once restored; case does not count."""
        return self._is(restore(answer, self.names).text)

    def right_here(self, answer: str) -> bool:
        """The same of an answer of the student, to ``seen``."""
        restorer = self._canon().restorer(None)
        return self._is(restorer.feed(answer) + restorer.close())

    def lesson(self, answer: str) -> tuple[str, str] | None:
        """Prompt and large model's answer as the student reads them.

        None where there is no answer, or it has names that the prompt has not: nobody could restore them.
        """
        canon = self._canon()
        met, told = len(canon), canon.read(answer)
        return (self.seen, told) if told.strip() and len(canon) == met else None

    def _canon(self) -> Canon:
        canon = Canon(self.names)
        canon.read(self.redacted)
        return canon

    def _is(self, text: str) -> bool:
        return text.strip().casefold() == self.question.answer.strip().casefold()


@dataclass(frozen=True)
class Fleet:
    """``households`` that ask ``questions`` each, in the families' ``shares``. Seeded; its pseudonyms too."""

    seed: int
    households: int
    questions: int
    shares: Sequence[float]
    policy: RedactionPolicy = field(default_factory=RedactionPolicy)

    def ask(self, first: int = 0) -> list[Asked]:
        """Every question, redacted. ``first``: the number of the first household."""
        redactor = Redactor(build_detector(self.policy), self.policy)
        found = []
        for index in range(first, first + self.households):
            said = Asker(self.seed, index, self.shares).ask(self.questions)
            names = Conversation(str(index), hashlib.sha256(f"{self.seed} {index}".encode()).digest())
            done = redactor.redact_many([question.prompt for question in said], names)
            found += [
                Asked.of(index, question, each.text, names)
                for question, each in zip(said, done, strict=True)
                if each.refused is None
            ]
        return found


def tried(student: LanguageModel, asked: Sequence[Asked]) -> list[Tried]:
    """Let ``student`` answer everything, in order."""
    said = answers(student, [each.seen for each in asked])
    return [Tried(answer.confidence, each.right_here(answer.text)) for each, answer in zip(asked, said, strict=True)]


@dataclass(frozen=True, slots=True)
class Escalations:
    """What a student with confidence below ``threshold`` would have asked: a share of all, and how well all ends.

    ``right_alone``: share of all that the student answers rightly; ``right_kept``: of those it keeps; ``right``: of
    all, when the large model answers the rest; ``teacher``: share of all that the large model answers rightly.
    """

    threshold: float
    asked: int
    rate: float
    right_alone: float
    right_kept: float | None  # None where it keeps nothing
    right: float
    teacher: float


def escalations(found: Sequence[Tried], teacher: Sequence[bool], threshold: float) -> Escalations:
    """``found`` is the student's, ``teacher`` whether the large model was right, of the same questions."""
    unsure = [each.confidence < threshold for each in found]
    kept = [each.right for each, escalated in zip(found, unsure, strict=True) if not escalated]
    ends = [t if escalated else each.right for each, t, escalated in zip(found, teacher, unsure, strict=True)]
    return Escalations(
        threshold=threshold,
        asked=len(found),
        rate=_share(unsure),
        right_alone=_share([each.right for each in found]),
        right_kept=_share(kept) if kept else None,
        right=_share(ends),
        teacher=_share(teacher),
    )


def unsure_of(student: LanguageModel, asked: Sequence[Asked], threshold: float) -> list[Asked]:
    """What ``student`` would ask the large model, in order: whatever it answers with confidence below ``threshold``."""
    return [each for each, found in zip(asked, tried(student, asked), strict=True) if found.confidence < threshold]


def taught_by(teacher: LanguageModel, asked: Sequence[Asked], tell: Tell) -> list[str]:
    """The large model's answers to what may leave of every question."""
    found: list[str] = []
    for start in range(0, len(asked), _CHUNK):
        found += [said.text for said in answers(teacher, [each.redacted for each in asked[start : start + _CHUNK]])]
        tell(f"{len(found)}/{len(asked)} questions answered by the large model")
    return found


def write_buffers(path: Path, asked: Sequence[Asked], taught: Sequence[str]) -> int:
    """The fleet's buffers as the rows of a data file: household, prompt, answer. Returns how many.

    ``asked`` were escalated, and ``taught`` are the large model's answers; one that teaches nothing is not kept.
    """
    lessons = [(each, each.lesson(answer)) for each, answer in zip(asked, taught, strict=True)]
    rows = [
        json.dumps({"user": f"household-{each.household}", "text": lesson[0], "target": lesson[1]})
        for each, lesson in lessons
        if lesson is not None
    ]
    write_whole(path, "".join(f"{row}\n" for row in rows))
    return len(rows)


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values)
