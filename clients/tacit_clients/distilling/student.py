"""A student: the local model with an adapter that has learnt from what the large one answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field, PositiveFloat, PositiveInt

from tacit_clients.slm.adapters import AdaptedModel, build_spec, initial_vector
from tacit_clients.slm.models import NANO, load, single_thread
from tacit_clients.training.examples import Example, Task
from tacit_clients.training.local import train
from tacit_privacy.adapter_folder import save_adapter
from tacit_privacy.contract import LocalTraining
from tacit_privacy.errors import BadInput


class StudentSettings(BaseModel, frozen=True, extra="forbid"):
    """The adapter's shape, and how it is trained."""

    method: Literal["ffa", "lora"] = "lora"
    rank: PositiveInt = 8
    alpha: PositiveFloat = 16.0
    seed: int = Field(default=0, ge=0)  # of the factors as they are drawn
    targets: tuple[str, ...] = ()  # modules; none: what peft adapts in this architecture
    training: LocalTraining = LocalTraining(epochs=3, max_length=256)


@dataclass(frozen=True, slots=True)
class Distilled:
    """What came of it. The figures are the owner's alone: they depend on what was asked."""

    folder: Path
    examples: int
    steps: int
    loss_first: float
    loss_last: float


def distil(
    examples: Sequence[Example],
    folder: Path,
    model: str = NANO,
    settings: StudentSettings | None = None,
    rng: np.random.Generator | None = None,
) -> Distilled:
    """Train an adapter of ``model`` on ``examples`` and write it to ``folder`` in peft's format.

    ``LocalModel.swap`` takes that folder; over a chat model, open it with the form ``plain``, which is what is learnt.
    ``rng`` orders the examples. Raises BadInput without examples or where the folder cannot be written,
    NonFiniteUpdate where the learning rate is too high.
    """
    if not examples:
        raise BadInput("there is nothing to learn from; ask tacit/distillation with distillation.enabled = true first")
    chosen = StudentSettings() if settings is None else settings
    single_thread()
    resident = load(model)
    spec = build_spec(resident, chosen.method, chosen.rank, chosen.alpha, chosen.seed, chosen.targets)
    adapted = AdaptedModel(resident, spec)
    try:
        start = initial_vector(spec)
        order = np.random.default_rng() if rng is None else rng
        done = train(adapted, examples, Task.INSTRUCT, start, spec.rank, chosen.training, order)
    finally:
        adapted.remove()
    save_adapter(folder, spec, start + done.delta)
    return Distilled(folder, done.examples, done.steps, done.loss_first, done.loss_last)
