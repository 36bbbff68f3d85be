"""What every mode must beat: a coin, the prompt's length, the small model alone, the large one always."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from tacit_simulations.evaluation.modes.asking import Outcome
from tacit_simulations.evaluation.modes.measures import Pool
from tacit_simulations.evaluation.modes.tasks import Task

SHARES: Final = (0.1, 0.25, 0.5, 0.75, 0.9)  # of questions escalated; 0 and 1 are rows of their own
ALWAYS_LOCAL, ALWAYS_RAW, ALWAYS_REDACTED = "always-local", "always-llm-raw", "always-llm-redacted"
RANDOM, LENGTH = "random", "length"


def random(local: Sequence[Outcome], llm: Sequence[Outcome], share: float) -> Pool:
    """A coin for every question, in expectation: each has both answers, by weight. Quality is the straight line."""
    count = len(local)
    question = np.concatenate([np.arange(count), np.arange(count)])
    weight = np.concatenate([np.full(count, 1 - share), np.full(count, share)])
    return Pool((*local, *llm), question, weight, count)


def length(tasks: Sequence[Task], local: Sequence[Outcome], llm: Sequence[Outcome], share: float) -> Pool:
    """The longest prompts, by characters, go to the large model; of equal ones the earlier rows."""
    longest = sorted(range(len(tasks)), key=lambda at: (-len(tasks[at].prompt), at))[: round(share * len(tasks))]
    asked = frozenset(longest)
    return Pool.of([llm[at] if at in asked else local[at] for at in range(len(tasks))])
