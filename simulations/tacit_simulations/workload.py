"""What a round's work costs each device of a scenario: its tier decides how much of the adapter it carries."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tacit_clients.slm.models import LanguageModel
from tacit_privacy.contract import AdapterSpec, LocalTraining
from tacit_privacy.mechanisms.coding import update_bytes
from tacit_server.config import bits_for
from tacit_simulations.fleet.dispatch import Work
from tacit_simulations.fleet.per_device import PerDevice
from tacit_simulations.fleet.population import Population
from tacit_simulations.fleet.roster import ranks_of
from tacit_simulations.scenario import Scenario

_TERMS_BYTES = 2_048.0  # terms on the way down, a receipt on the way up
_RUNTIME_BYTES = 350e6  # interpreter and libraries that hold the model


def work_of(
    scenario: Scenario, model: LanguageModel, spec: AdapterSpec, population: Population, examples: NDArray[Any]
) -> Work:
    """The work of one round; ``examples`` (population,) is how many each device has.

    Bytes and memory follow a device's rank; operations do not, since the adapter's own share of them is below 1 %.
    Raises BadInput on a tier that does not exist.
    """
    training = scenario.training
    seen = examples_seen(training, examples)
    ranks = ranks_of(population, spec.rank, scenario.adapter.tiers)
    bits = bits_for(scenario.federation, scenario.privacy)
    down = _by_rank(ranks, lambda rank: 4.0 * spec.prefix(rank) + _TERMS_BYTES)
    up = _by_rank(ranks, lambda rank: update_bytes(spec.prefix(rank), bits) + _TERMS_BYTES)
    memory = _by_rank(
        ranks,
        lambda rank: _RUNTIME_BYTES + model.training_bytes(spec.prefix(rank), training.batch_size, training.max_length),
    )
    flops = model.training_flops(training.max_length) * float(training.max_length)
    return Work(down, up, flops, seen, memory, scenario.fleet.fixed_seconds)


def examples_seen(training: LocalTraining, examples: NDArray[Any]) -> NDArray[np.float64]:
    """How many examples devices that hold ``examples`` train on in a round, repeats counted; of draws, the mean."""
    if training.example_dp is None:
        seen = examples * float(training.epochs)
        most = training.max_steps * training.batch_size * training.accumulation
        return np.asarray(np.minimum(seen, most) if most else seen, dtype=np.float64)
    batch = training.example_dp.expected_batch
    steps = training.epochs * np.ceil(examples / batch)
    if training.max_steps:
        steps = np.minimum(steps, training.max_steps)
    return np.asarray(steps * np.minimum(examples, batch), dtype=np.float64)


def _by_rank(ranks: PerDevice, figure: Callable[[int], float]) -> PerDevice:
    """``figure`` of every rank, as an array where ``ranks`` is one."""
    if not isinstance(ranks, np.ndarray):
        return figure(int(ranks))
    known, place = np.unique(ranks, return_inverse=True)
    return np.array([figure(int(rank)) for rank in known])[place]
