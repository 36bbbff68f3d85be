"""From which confidence on a student's answer may stand."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tacit_clients.modes.lexical import folded
from tacit_clients.slm.generation import LocalModel
from tacit_clients.training.examples import Example

NOBODY: Final = 2.0
"""A threshold that no confidence reaches: everything is asked."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What a student made of one question."""

    confidence: float
    right: bool


async def tried(student: LocalModel, held_out: Sequence[Example]) -> list[Tried]:
    """What ``student`` makes of examples that it was not taught: an answer is right where it is the large model's own.

    So it is known without asking anybody. Answers of a word or a line are compared as they are written; of longer ones
    few are the same, and the threshold comes out too high. Raises LocalUnusable.
    """
    found = []
    for example in held_out:
        said = await student.answer([{"role": "user", "content": example.prompt}])
        found.append(Tried(said.confidence, folded(said.text) == folded(example.target)))
    return found


def threshold_for(found: Sequence[Tried], kept_right: float) -> float:
    """The lowest threshold by which at least ``kept_right`` of the answers that are kept are right; NOBODY if none is.

    Who answers as surely is kept together. A student that grows surer, rightly or not, gets another threshold: so rates
    of escalation compare at equal quality of what stays at home.
    """
    best, right, count = NOBODY, 0, 0
    order = sorted(found, key=lambda each: -each.confidence)
    for place, each in enumerate(order):
        right, count = right + each.right, count + 1
        last_of_its_kind = place + 1 == len(order) or order[place + 1].confidence < each.confidence
        if last_of_its_kind and right >= kept_right * count:
            best = each.confidence
    return best
