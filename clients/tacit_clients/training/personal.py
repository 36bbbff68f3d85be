"""The personal adapter: trained on top of the shared one, kept on the device, in no reply and no log."""

from collections.abc import Sequence

import numpy as np

from tacit_clients.slm.adapters import AdaptedModel, initial_vector
from tacit_clients.training.examples import Example, Task
from tacit_clients.training.local import Score, Vector, evaluate, train
from tacit_privacy.contract import AdapterSpec, LocalTraining


def personal_spec(shared: AdapterSpec, rank: int) -> AdapterSpec:
    """A personal adapter for the modules of the shared one: both factors learn, since nobody averages it."""
    return shared.model_copy(
        update={"method": "lora", "rank": rank, "alpha": shared.alpha * rank / shared.rank, "seed": shared.seed + 1}
    )


def train_personal(
    adapted: AdaptedModel,
    shared: Vector,
    shared_rank: int,
    data: Sequence[Example],
    task: Task,
    rank: int,
    training: LocalTraining,
    rng: np.random.Generator,
) -> Vector:
    """Train a fresh personal adapter of ``rank`` over the frozen shared vector; returns it, shape (prefix,).

    It stays loaded for ``evaluate_personal``, and switched off.
    """
    spec = personal_spec(adapted.spec, rank)
    adapted.load_vector(shared, shared_rank)
    adapted.add_personal(spec)
    start = initial_vector(spec)
    try:
        result = train(adapted, data, task, start, rank, training, rng, which="personal")
    finally:
        adapted.train_only("shared")  # the model is resident: what comes next must not meet this adapter
    return start + result.delta


def evaluate_personal(adapted: AdaptedModel, data: Sequence[Example], task: Task, max_length: int) -> Score:
    """Score with the personal adapter switched on; it is off again afterwards."""
    with adapted.personal_on():
        return evaluate(adapted, data, task, max_length)
