"""What students learn from a large model's answers: task by task, and a fleet over ten private rounds.

Wants the live pair of the repository (``simulations/pair``). ``--quick`` is for trying it out and writes nothing.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from figures import Figure, told, verdict

from tacit_clients.slm.models import load, single_thread
from tacit_privacy.pii.policy import RedactionPolicy
from tacit_simulations.data.errands.asking import FAMILIES, SHARES
from tacit_simulations.evaluation.distillation import study
from tacit_simulations.evaluation.distillation.fleet import Fleet, taught_by
from tacit_simulations.evaluation.distillation.students import before_and_after
from tacit_simulations.pair import LARGE, SMALL

PAIRS, TESTS = 24_000, 1_200  # questions that are taught, and that students are scored on
PER_HOUSEHOLD = 24
SEED = 80_000_001  # neither the pair's training nor the frozen questions
FLEET_SEED = 2
RATE = "federation.learning_rate=0.05"  # half of the scenario's; chosen on a fleet of another seed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fraction of the questions; nothing is written")
    parser.add_argument("--only", choices=["students", "fleet"], help="one of the two parts")
    arguments = parser.parse_args()
    if LARGE is None or SMALL is None:
        print("left out: the live pair is not here (simulations/pair); tacit models train makes it")
        return 0
    single_thread()
    share, figures = 0.05 if arguments.quick else 1.0, list[Figure]()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.only != "fleet":
            rows = students(share, Path(folder))
            figures += told("distillation", about_students(rows), {"students": rows}, arguments.quick)
        if arguments.only != "students":
            found = fleet(share, Path(folder))
            figures += told("distillation_fleet", about_fleet(found), found, arguments.quick)
    return verdict(figures)


def students(share: float, out: Path) -> list[dict[str, Any]]:
    """tacit-nano and the pair's small model, before and after they read the large one's answers."""
    teacher = load(str(LARGE))
    homes = max(2, round(share * PAIRS / PER_HOUSEHOLD))
    taught = Fleet(SEED, homes, PER_HOUSEHOLD, SHARES).ask()
    tests = Fleet(SEED, max(2, round(share * TESTS / PER_HOUSEHOLD)), PER_HOUSEHOLD, SHARES).ask(homes)
    said, wanted = taught_by(teacher, taught, tell), taught_by(teacher, tests, tell)
    lessons = [each.lesson(answer) for each, answer in zip(taught, said, strict=True)]
    pairs = [lesson for lesson in lessons if lesson is not None]
    found = []
    for name, model in (("tacit-nano", "tacit-nano"), ("pair-small", str(SMALL))):
        row = before_and_after(model, wanted, tests, pairs, SEED, out / name)
        found.append({**row, "student": name, "teacher_parameters": teacher.parameters})
        tell(f"{name}: {row['before']['all']:.3f} before, {row['after']['all']:.3f} after")
    return found


def about_students(rows: list[dict[str, Any]]) -> list[Figure]:
    figures = []
    for row in rows:
        smaller = 1 - row["parameters"] / row["teacher_parameters"]
        best = row is max(rows, key=lambda each: each["kept"])
        figures.append(
            Figure(
                f"{row['student']}, {smaller:.0%} smaller than its teacher: share of the teacher's score after "
                f"{row['pairs']:,} of its answers",
                f"{row['kept']:.1%} ({row['after']['all']:.3f})",
                f"before {row['before']['all']:.3f}, teacher {row['teacher']['all']:.3f}",
                "at least 90% by one of at most half the size" if best else "",
                bool(row["kept"] >= 0.9 and smaller >= 0.5) if best else None,
            )
        )
        figures += [
            Figure(
                f"{row['student']} on {family}",
                f"{row['after'][family]:.3f} after",
                f"{row['before'][family]:.3f} before, teacher {row['teacher'][family]:.3f}",
            )
            for family in FAMILIES
        ]
    return figures


def fleet(share: float, out: Path) -> dict[str, Any]:
    """Ten private rounds of the scenario home, over the answers that the fleet had to ask for.

    Names leave as made-up names, which tacit-nano can copy; placeholders it would first have to learn to copy.
    """
    small = ("fleet.devices=80", "federation.cohort=16", "federation.rounds=3")
    chosen = study.FleetStudy(
        teacher=str(LARGE),
        policy=RedactionPolicy(types={"PERSON": "surrogate"}),
        seed=FLEET_SEED,
        overrides=(RATE, *(() if share == 1.0 else small)),
    )
    return study.run(chosen, out / "fleet", tell)


def about_fleet(found: dict[str, Any]) -> list[Figure]:
    first, last = found["rounds"][0], found["rounds"][-1]
    epsilon = found["privacy"]["epsilon"]
    figures = [
        Figure(
            f"a fleet of tacit-nano, household commands: escalation rate after {last['round']} private rounds, "
            f"epsilon {epsilon:.2f}; {what}",
            f"{after['rate']:.3f}",
            f"{before['rate']:.3f} before the first",
            "falls, epsilon at most 8",
            bool(after["rate"] < before["rate"] and epsilon <= 8),
        )
        for what, before, after in (
            ("threshold set anew, so that as much of what stays is right", first["held"], last["held"]),
            ("threshold of the first round", first, last),
        )
    ]
    return [
        *figures,
        Figure(
            "the same fleet: the student alone, and all with escalated questions answered by the large model",
            f"{last['right_alone']:.3f} and {last['held']['right']:.3f} right",
            f"{first['right_alone']:.3f} and {first['held']['right']:.3f} before; the large model alone "
            f"{last['teacher']:.3f}",
        ),
    ]


def tell(line: str) -> None:
    print(f"   {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
