"""A result in a few lines for a terminal."""

from collections.abc import Iterator
from typing import Any

_NAMES = {
    "untrained": "untrained",
    "local_only": "each device alone",
    "federated_private": "federated, private",
    "federated": "federated, no privacy",
    "centralised": "centralised",
    "personalised": "private + personal adapter",
}


def summary(result: dict[str, Any]) -> Iterator[str]:
    """Lines to print when a run is over."""
    rounds = result["rounds"]
    contributed = sum(row["completed"] for row in rounds)
    sampled = sum(row["sampled"] for row in rounds)
    asked = f"{contributed} updates from {sampled} requests to {result['devices']} devices"
    yield f"{result['scenario']}: {len(rounds)} rounds, {asked}"
    evaluation = result.get("evaluation") or {}
    for key, label in _NAMES.items():
        if key in evaluation:
            figures = evaluation[key]
            yield f"  {label:<28}{evaluation['metric_name']} {figures['metric']:.3f}   loss {figures['loss']:.3f}"
    privacy = result.get("privacy") or {}
    if privacy.get("epsilon") is not None:
        yield (
            f"Privacy: epsilon {privacy['epsilon']:.3f} of {privacy['epsilon_cap']:g} at delta {privacy['delta']:.2g}, "
            f"{privacy['adjacency']}, {privacy['assumption']}"
        )
        yield "  The noise is seeded: this is a simulation and protects nobody."
    if result.get("stopped"):
        yield f"Stopped early: {result['stopped']}"
