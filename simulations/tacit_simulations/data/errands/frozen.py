"""The errands that modes are measured on: fixed before any mode was tuned, and held by their digest."""

from collections.abc import Iterator

from tacit_privacy.contract import canonical, digest
from tacit_simulations.data.errands.asking import Asker, Question

TEST_SEED, TUNING_SEED = 60_000_001, 70_000_001  # what settings are chosen on is never what they are measured on
HOMES, PER_HOME = 100, 10
DIGEST = "bab7ed9eb55675bdcc5a1d0bc2e7116f8813c8155d44e8d8a23a835514f3c9e9"


def questions(seed: int = TEST_SEED, homes: int = HOMES, per_home: int = PER_HOME) -> Iterator[Question]:
    """The frozen questions, home by home."""
    for index in range(homes):
        yield from Asker(seed, index).ask(per_home)


def rows(seed: int = TEST_SEED, homes: int = HOMES, per_home: int = PER_HOME) -> list[dict[str, object]]:
    """The same as rows of a task file: id, prompt, answer, units, family."""
    return [
        {
            "id": f"errands-{number}",
            "prompt": question.prompt,
            "answer": question.answer,
            "units": list(question.units),
            "family": question.family,
        }
        for number, question in enumerate(questions(seed, homes, per_home))
    ]


def digest_of(found: list[dict[str, object]]) -> str:
    return digest(canonical(found))
