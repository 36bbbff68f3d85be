"""A result in a few lines for a terminal."""

from collections.abc import Iterator
from typing import Any

from tacit_privacy.wording import rounded_down, rounded_up

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
    given_up = sum(not row.get("released", True) for row in rounds)
    many = f"{len(rounds)} round{'s' if len(rounds) != 1 else ''}"
    many += f" ({given_up} given up: too few updates came)" if given_up else ""
    yield f"{result['scenario']}: {many}, {asked}"
    evaluation = result.get("evaluation") or {}
    for key, label in _NAMES.items():
        if key in evaluation:
            figures = evaluation[key]
            metric, loss = (_shown(figures[name]) for name in ("metric", "loss"))
            yield f"  {label:<28}{evaluation['metric_name']} {metric}   loss {loss}"
    privacy = result.get("privacy") or {}
    if privacy.get("epsilon") is not None:
        spent = (
            f"epsilon {rounded_up(privacy['epsilon'])} of {privacy['epsilon_cap']:g} at delta {privacy['delta']:.3g}"
        )
        yield f"Privacy: {spent}, {privacy['adjacency']}, {privacy['assumption']}"
        measured = privacy.get("empirical_lower_bound")
        if measured is not None:
            yield f"  Canaries prove epsilon at least {rounded_down(measured)}; tacit audit canary says more."
        yield "  The noise is seeded: this is a simulation and protects nobody."
    if result.get("stopped"):
        yield f"Stopped early: {result['stopped']}"


def _shown(figure: float | None) -> str:
    return "no number" if figure is None else f"{figure:.3f}"
