"""The second guarantee, for single examples: what devices spent on it, as only a simulator can see.

Never added to or compared with the device-level epsilon: another unit, against another reader.
"""

from collections.abc import Iterable
from statistics import median_high
from typing import Any

from flwr.app import RecordDict

from tacit_clients.app import example_spent
from tacit_clients.training.example_dp import total_epsilon
from tacit_privacy.contract import ExampleDp

NOTE = (
    "a second guarantee, for one example of a device against whoever reads that device's updates; "
    "it is no part of the device-level epsilon, and in a deployment each device alone knows its own"
)


def example_level(states: Iterable[RecordDict], settings: ExampleDp) -> dict[str, Any]:
    """Epsilon at ``settings.delta`` over the devices that spent any, for ``result.json``; null where none did.

    Each device's is that of all it did in the run, whether or not the server used it. The median of an even number is
    the higher of the two in the middle.
    """
    spent = [account for state in states if (account := example_spent(state, settings.delta))]
    epsilons = sorted(total_epsilon(account, settings.delta) for account in spent)
    return {
        "unit": "example",
        "adjacency": "zero-out",
        "delta": settings.delta,
        "epsilon_max": epsilons[-1] if epsilons else None,
        "epsilon_median": median_high(epsilons) if epsilons else None,
        "devices": len(epsilons),
        "noise_multiplier": settings.noise_multiplier,
        "clip_norm": settings.clip_norm,
        "accountant": "dp-accounting PLD",
        "noise_source": "seeded",
        "simulator_only": True,
        "note": NOTE,
    }
