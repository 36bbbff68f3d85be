"""The fleet's escalation rate over private rounds: devices learn from the answers that they had to ask for."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tacit_clients.distilling.threshold import threshold_for
from tacit_clients.slm.adapters import AdaptedModel, initial_vector
from tacit_clients.slm.models import LanguageModel, load, single_thread
from tacit_privacy.pii.policy import RedactionPolicy
from tacit_simulations.data.errands.asking import FAMILIES, Family
from tacit_simulations.engines import make_engine
from tacit_simulations.evaluation.distillation.fleet import (
    Asked,
    Escalations,
    Fleet,
    Tell,
    escalations,
    taught_by,
    tried,
    unsure_of,
    write_buffers,
)
from tacit_simulations.outputs import OutputFolder
from tacit_simulations.progress import Silent
from tacit_simulations.run import Prepared
from tacit_simulations.scenario import Scenario, load_scenario

TEST_HOME = 1_000_000  # households that are asked after every round are none of the fleet's
CALIBRATION_HOME = 2_000_000  # nor are those by which a threshold is set


@dataclass(frozen=True)
class FleetStudy:
    """What is simulated. ``scenario`` gives everything but model and data; its fleet's size is the households'.

    A threshold is set on households of its own so that ``kept_right`` of the answers that stay are right. By the first
    one devices keep what they escalate; the fleet is measured by it, and by one that is set anew after every round.
    """

    scenario: str = "home"
    student: str = "tacit-nano"
    teacher: str = ""  # a folder
    families: Sequence[Family] = ("command",)
    questions: int = 36
    test_households: int = 60
    kept_right: float = 0.9
    policy: RedactionPolicy = field(default_factory=RedactionPolicy)
    least: int = 4  # escalations without which a household does not take part
    seed: int = 1
    overrides: Sequence[str] = ()

    def shares(self) -> list[float]:
        return [1 / len(self.families) if family in self.families else 0.0 for family in FAMILIES]


@dataclass(frozen=True, slots=True)
class Point:
    """The fleet after a round; round 0 is before any. ``found``: by the first threshold, ``held``: by one set anew."""

    round: int
    found: Escalations
    held: Escalations


def run(study: FleetStudy, out: Path, tell: Tell) -> dict[str, Any]:
    """Simulate the fleet and return what it learnt, with the run's budget. Everything stays in ``out``."""
    single_thread()
    out.mkdir(parents=True, exist_ok=True)
    base = load_scenario(study.scenario, study.overrides)
    student, teacher = load(study.student), load(study.teacher)
    fleet = Fleet(study.seed, base.fleet.devices, study.questions, study.shares(), study.policy)
    asked = fleet.ask()
    tell(f"{len(asked)} questions of {fleet.households} households redacted")
    tests = _tests(study, teacher, tell)
    threshold = tests.threshold(student)
    unsure = unsure_of(student, asked, threshold)
    tell(f"{len(unsure) / len(asked):.3f} of them are escalated, by the threshold {threshold:.3f}")
    kept = write_buffers(out / "buffers.jsonl", unsure, taught_by(teacher, unsure, tell))
    points, result = _federate(_scenario(base, study, out), tests, threshold, out, tell)
    return {
        "questions": len(asked),
        "buffered": kept,
        "escalated": len(unsure),
        "rounds": [{"round": point.round, **asdict(point.found), "held": asdict(point.held)} for point in points],
        "privacy": result,
        "student_parameters": student.parameters,
        "teacher_parameters": teacher.parameters,
    }


@dataclass(frozen=True, slots=True)
class _Tests:
    """Questions of households that are not in the fleet, and whether the large model answers the first ones rightly."""

    asked: list[Asked]
    teacher: list[bool]
    calibration: list[Asked]
    kept_right: float

    def threshold(self, student: LanguageModel) -> float:
        return threshold_for(tried(student, self.calibration), self.kept_right)


def _tests(study: FleetStudy, teacher: LanguageModel, tell: Tell) -> _Tests:
    others = Fleet(study.seed, study.test_households, study.questions, study.shares(), study.policy)
    asked = others.ask(TEST_HOME)
    said = taught_by(teacher, asked, tell)
    right = [each.right(answer) for each, answer in zip(asked, said, strict=True)]
    return _Tests(asked, right, others.ask(CALIBRATION_HOME), study.kept_right)


def _scenario(base: Scenario, study: FleetStudy, out: Path) -> Scenario:
    """The base scenario over the buffers; nothing is scored inside the run, since every round is measured outside."""
    table = base.model_dump(mode="json")
    table["name"] = f"{base.name}-distilled"
    table["model"] = {**table["model"], "name": study.student}
    table["data"] = {
        **{"kind": "file", "path": str(out / "buffers.jsonl"), "task": "instruct", "partition": "natural"},
        **{"minimum": study.least, "maximum": study.questions, "test_fraction": 0.05},
    }
    table["evaluation"] = {**table["evaluation"], "devices": 0, "compare": [], "held_out": 0}
    return Scenario.model_validate(table)


def _federate(
    scenario: Scenario, tests: _Tests, threshold: float, out: Path, tell: Tell
) -> tuple[list[Point], dict[str, Any]]:
    prepared = Prepared.of(scenario)
    adapted = AdaptedModel(load(scenario.model.name), prepared.spec)
    points: list[Point] = []

    def measure(number: int, vector: NDArray[np.float32]) -> None:
        adapted.load_vector(vector, prepared.spec.rank)
        said = tried(adapted.model, tests.asked)
        found, held = (escalations(said, tests.teacher, t) for t in (threshold, tests.threshold(adapted.model)))
        points.append(Point(number, found, held))
        tell(
            f"round {number}: alone {found.right_alone:.3f}; escalated {found.rate:.3f}, right {found.right:.3f}; "
            f"at equal quality {held.rate:.3f}, right {held.right:.3f}"
        )

    measure(0, initial_vector(prepared.spec))
    prepared.after_round = measure
    folder = OutputFolder(out / "run")
    with folder.claimed(scenario.digest, resume=False), make_engine(scenario.runtime) as engine:
        arm = prepared.arm(engine, folder, private=scenario.privacy.enabled, watch=Silent())
    return points, dict(arm.journal.get("privacy") or {})
