"""A comparison as its charts need it: runs with what was measured, and each on every device profile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from tacit_privacy.errors import BadInput
from tacit_simulations.evaluation.modes.baselines import ALWAYS_LOCAL, ALWAYS_RAW, ALWAYS_REDACTED, LENGTH, RANDOM
from tacit_simulations.evaluation.modes.pareto import label
from tacit_simulations.evaluation.modes.rows import FIELDS, HERE

Row = Mapping[str, Any]
# Tone and shape of each mode; the baselines are grey. Colour is never the only sign.
LOOKS: Final[Mapping[str, tuple[str, str]]] = {
    "always-local": ("untrained", "square"),
    "always-llm-redacted": ("untrained", "triangle"),
    "always-llm-raw": ("untrained", "diamond"),
    "random": ("untrained", "circle"),
    "length": ("untrained", "circle"),
    "auto": ("federated", "circle"),
    "pipeline": ("centralised", "square"),
    "routing": ("federated-private", "diamond"),
    "auxiliary": ("local-only", "triangle"),
    "distillation": ("lost-2", "circle"),
    "fusion": ("personalised", "square"),
}
_OTHER: Final = (("federated", "diamond"), ("personalised", "triangle"), ("local-only", "circle"))

_SHORT: Final = {ALWAYS_LOCAL: "local", ALWAYS_REDACTED: "LLM, redacted", ALWAYS_RAW: "LLM, raw"}


def short(name: str) -> str:
    """A mode's or baseline's name where room is scarce."""
    return _SHORT.get(name, name)


@dataclass(frozen=True)
class Run:
    """One run: ``here`` as measured, ``devices`` as emulated."""

    here: Row
    devices: Sequence[Row]

    @property
    def name(self) -> str:
        """Its baseline's or mode's."""
        return str(self.here["baseline"] or self.here["mode"])

    @property
    def label(self) -> str:
        return label(self.here)

    def __getitem__(self, field: str) -> Any:
        return self.here[field]


@dataclass(frozen=True)
class Comparison:
    """The whole document."""

    told: Mapping[str, Any]
    runs: Sequence[Run]

    @property
    def names(self) -> list[str]:
        """Modes and baselines, in order."""
        return list(dict.fromkeys(run.name for run in self.runs))

    @cached_property
    def best(self) -> list[Run]:
        """One run of each mode and of the three baselines that ask one model: the best, of equal ones the cheapest."""
        kept = [name for name in self.names if name not in (RANDOM, LENGTH)]
        return [max(self.of(name), key=lambda run: (run["quality"], -run["llm_tokens"])) for name in kept]

    def of(self, name: str) -> list[Run]:
        return [run for run in self.runs if run.name == name]

    def look(self, name: str) -> tuple[str, str]:
        """Tone and shape."""
        unknown = [other for other in self.names if other not in LOOKS]
        return LOOKS[name] if name in LOOKS else _OTHER[unknown.index(name) % len(_OTHER)]


def read(told: Mapping[str, Any]) -> Comparison:
    """Raises BadInput where it is no result of a comparison."""
    rows = told.get("rows")
    if not isinstance(rows, list) or not rows or not all(isinstance(r, dict) and set(FIELDS) <= set(r) for r in rows):
        raise BadInput("not a result of tacit bench modes: it has no rows with every field")
    runs: list[Run] = []
    for row in rows:
        if row["device_profile"] == HERE:
            runs.append(Run(row, []))
        elif runs:
            runs[-1] = Run(runs[-1].here, [*runs[-1].devices, row])
    return Comparison(told, runs)
