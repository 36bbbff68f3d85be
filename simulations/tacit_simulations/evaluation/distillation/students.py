"""Students before and after they learnt from a large model's answers, task by task."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tacit_clients.distilling.student import StudentSettings, distil
from tacit_clients.slm.models import LanguageModel, load
from tacit_clients.slm.resident import adapt
from tacit_clients.training.examples import Example
from tacit_privacy.contract import LocalTraining
from tacit_privacy.randomness import stream
from tacit_simulations.data.errands.asking import FAMILIES
from tacit_simulations.evaluation.batched import answers
from tacit_simulations.evaluation.distillation.fleet import Asked

LESSONS: Final = StudentSettings(
    rank=32,
    alpha=64.0,
    targets=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    training=LocalTraining(
        optimizer="adamw", schedule="cosine", epochs=4, batch_size=32, learning_rate=2e-3, max_length=96
    ),
)
"""Plain LoRA on every linear module, as one device trains on its own pairs: no privacy is claimed."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Share of questions answered rightly: of all, and by family."""

    all: float
    families: dict[str, float]

    def row(self) -> dict[str, float]:
        return {"all": self.all, **self.families}


def marks(asked: Sequence[Asked], right: Sequence[bool]) -> Marks:
    """``right``: whether each of ``asked`` was answered rightly."""
    by_family = {
        family: [good for good, each in zip(right, asked, strict=True) if each.question.family == family]
        for family in FAMILIES
    }
    return Marks(sum(right) / len(right), {name: sum(got) / len(got) for name, got in by_family.items() if got})


def taught(student: str, pairs: Sequence[tuple[str, str]], seed: int, folder: Path) -> LanguageModel:
    """The student with an adapter trained on (prompt, large model's answer); ``folder`` gets the adapter."""
    examples = [Example(prompt, answer) for prompt, answer in pairs]
    distil(examples, folder, student, LESSONS.model_copy(update={"seed": seed % 2**31}), stream(seed, "lessons"))
    model = load(student)
    adapt(model, [folder])
    return model


def before_and_after(
    student: str,
    teacher_said: Sequence[str],
    tests: Sequence[Asked],
    pairs: Sequence[tuple[str, str]],
    seed: int,
    folder: Path,
) -> dict[str, Any]:
    """Marks of one student untaught and taught, beside its teacher's on the same tests."""
    untaught = load(student)
    before = _scored(untaught, tests)
    after = _scored(taught(student, pairs, seed, folder), tests)
    teacher = marks(tests, [each.right(answer) for each, answer in zip(tests, teacher_said, strict=True)])
    return {
        "parameters": untaught.parameters,
        "pairs": len(pairs),
        "before": before.row(),
        "after": after.row(),
        "teacher": teacher.row(),
        "kept": after.all / teacher.all if teacher.all else float("nan"),
    }


def _scored(student: LanguageModel, tests: Sequence[Asked]) -> Marks:
    said = answers(student, [each.seen for each in tests])
    return marks(tests, [each.right_here(answer.text) for each, answer in zip(tests, said, strict=True)])
