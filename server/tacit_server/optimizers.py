"""Server optimizers on the noised mean update, taken as a pseudo-gradient that points downhill (Reddi et al. 2021)."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.schedules import share
from tacit_server.config import FederationConfig

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ServerState:
    """What survives a round: the adapter and the optimizer's moments, each of shape ``(d,)`` float64."""

    adapter: Vector
    first: Vector
    second: Vector
    steps: int = 0

    @classmethod
    def start(cls, adapter: Vector) -> "ServerState":
        return cls(adapter, np.zeros_like(adapter), np.zeros_like(adapter))


def step(config: FederationConfig, state: ServerState, release: Vector) -> ServerState:
    """One server step: FedAvg (Hsu et al. 2019 with momentum: FedAvgM) or FedAdam (Reddi et al. 2021, Alg. 2).

    ``release`` (d,) is the mean update. Post-processing of a noised release costs no privacy. FedAdam divides by
    sqrt(second) + tau without bias correction, as in the paper.

    Unlike the paper, whose v_{-1} is at least tau^2, ``second`` starts at 0: there is nothing to set, and a first step
    that is at most twice as long (where the release is far below tau) is all that differs. What v_{-1} adds to
    ``second`` fades by beta 2 a step. ``ServerState.second`` may be set to start as the paper does.
    """
    rate, beta = config.learning_rate * share(config.schedule, state.steps, config.rounds), config.momentum
    match config.optimizer:
        case "fedavg":
            return replace(state, adapter=state.adapter + rate * release, steps=state.steps + 1)
        case "fedavgm":
            first = beta * state.first + release
            return replace(state, adapter=state.adapter + rate * first, first=first, steps=state.steps + 1)
        case "fedadam":
            first = beta * state.first + (1 - beta) * release
            second = config.second_moment * state.second + (1 - config.second_moment) * release**2
            adapter = state.adapter + rate * first / (np.sqrt(second) + config.tau)
            return ServerState(adapter, first, second, state.steps + 1)
