"""What a router learns from: prompts of which it is known who answered them right."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tacit_clients.routing.signals import NOTHING, Signals


@dataclass(frozen=True, slots=True)
class Example:
    """``group``: prompts of one subject, user or source, where that is known; it guides training and is not learned."""

    prompt: str
    slm: bool  # the small model's answer was right
    llm: bool  # the large one's was
    group: str | None = None
    signals: Signals = NOTHING


def answers(examples: Sequence[Example]) -> NDArray[np.float64]:
    """(n, 2) of 0 and 1: large model right, small model right."""
    return np.array([(each.llm, each.slm) for each in examples], dtype=np.float64).reshape(-1, 2)


def helps(examples: Sequence[Example]) -> NDArray[np.bool_]:
    """(n,): the large model right and the small one wrong."""
    return np.array([each.llm and not each.slm for each in examples], dtype=np.bool_)
