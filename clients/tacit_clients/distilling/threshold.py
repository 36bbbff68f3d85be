"""From which confidence on a student's answer may stand."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

NOBODY: Final = 2.0
"""A threshold that no confidence reaches: everything is asked."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What a student made of one question."""

    confidence: float
    right: bool


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
