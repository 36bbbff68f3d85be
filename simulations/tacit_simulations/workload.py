"""What a round's work costs each device of a scenario: its tier decides how much of the adapter it carries."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tacit_clients.slm.models import LanguageModel
from tacit_privacy.contract import AdapterSpec
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
    seen = examples * float(training.epochs)
    if training.max_steps:
        seen = np.minimum(seen, training.max_steps * training.batch_size * training.accumulation)

    ranks = ranks_of(population, spec.rank, scenario.adapter.tiers)
    size = _by_rank(ranks, lambda rank: 4.0 * spec.prefix(rank) + _TERMS_BYTES)
    memory = _by_rank(
        ranks,
        lambda rank: _RUNTIME_BYTES + model.training_bytes(spec.prefix(rank), training.batch_size, training.max_length),
    )
    flops = model.training_flops(training.max_length) * float(training.max_length)
    return Work(size, size, flops, seen.astype(np.float64), memory, scenario.fleet.fixed_seconds)


def _by_rank(ranks: PerDevice, figure: Callable[[int], float]) -> PerDevice:
    """``figure`` of every rank, as an array where ``ranks`` is one."""
    if not isinstance(ranks, np.ndarray):
        return figure(int(ranks))
    known, place = np.unique(ranks, return_inverse=True)
    return np.array([figure(int(rank)) for rank in known])[place]
