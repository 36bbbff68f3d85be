"""From which confidence on a student's answer may stand."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tacit_clients.modes.lexical import folded
from tacit_clients.slm.generation import LocalModel
from tacit_clients.training.examples import Example
from tacit_privacy.audit.empirical import clopper_pearson

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
    """The lowest threshold by which ``kept_right`` or more of the answers it keeps of these are right; else NOBODY.

    Who answers as surely is kept together. A student that grows surer, rightly or not, gets another threshold: so rates
    of escalation compare at equal quality of what stays at home. It says nothing of answers to come where there are
    few: see ``safe_threshold``.
    """
    best = NOBODY
    for confidence, right, count in _steps(found):
        if right >= kept_right * count:
            best = confidence
    return best


def safe_threshold(found: Sequence[Tried], kept_right: float, doubt: float = 0.05) -> float:
    """The lowest threshold that is safe to keep answers by; NOBODY where these are too few to tell, or too many wrong.

    Less than ``kept_right`` of the answers to come that it keeps are right with probability at most ``doubt``, if what
    is asked then is as these questions were. Thresholds are tested from the highest down, and the first that does not
    pass ends it, so that trying many costs nothing (fixed sequence testing; Angelopoulos et al. 2021, Learn then Test);
    each by the one-sided bound of Clopper and Pearson (1934). With 0.9 and 0.05 it takes 29 answers, all right.
    """
    fewest = math.ceil(math.log(doubt) / math.log(kept_right)) if 0 < kept_right < 1 else math.inf
    best = NOBODY
    for confidence, right, count in _steps(found):
        if count < fewest:
            continue  # not even all of them right would do: which says nothing of who is right
        if clopper_pearson(right, count, doubt)[0] < kept_right:
            break
        best = confidence
    return best


def _steps(found: Sequence[Tried]) -> Iterator[tuple[float, int, int]]:
    """Every confidence from the highest down: how many of the answers that are as sure are right, and how many are."""
    right, count = 0, 0
    order = sorted(found, key=lambda each: -each.confidence)
    for place, each in enumerate(order):
        right, count = right + each.right, count + 1
        if place + 1 == len(order) or order[place + 1].confidence < each.confidence:
            yield each.confidence, right, count
