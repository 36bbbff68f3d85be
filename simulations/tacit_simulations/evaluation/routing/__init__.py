"""How well a router orders prompts, and what its thresholds do: our own beside chance, length and TF-IDF."""

from tacit_simulations.evaluation.routing.evaluate import Outcome, compare, evaluate, judge
from tacit_simulations.evaluation.routing.metrics import (
    Interval,
    apgr,
    bootstrap,
    cpt,
    decisions,
    difference,
    ece,
    oracle,
)
from tacit_simulations.evaluation.routing.rows import read

__all__ = [
    "Interval",
    "Outcome",
    "apgr",
    "bootstrap",
    "compare",
    "cpt",
    "decisions",
    "difference",
    "ece",
    "evaluate",
    "judge",
    "oracle",
    "read",
]
