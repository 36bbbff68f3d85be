"""What each mode is tried with: its knob and the values that the knob takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Sweep:
    """``setting`` is a dotted name of the gateway's settings, as ``GatewaySettings.read`` takes it."""

    setting: str
    values: tuple[Any, ...]


_CONFIDENCES: Final = (0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)  # from which a local answer stands
SWEEPS: Final[Mapping[str, Sweep]] = {
    "auto": Sweep("auto.threshold", _CONFIDENCES),
    "pipeline": Sweep("modes.pipeline.aggregate", (False, True)),
    "routing": Sweep("modes.routing.sure", _CONFIDENCES),
    "auxiliary": Sweep("modes.auxiliary.abstraction", ("rules", "slm")),
    "distillation": Sweep("modes.distillation.threshold", _CONFIDENCES),
    "fusion": Sweep("modes.fusion.llm_prior", (0.25, 0.5, 0.75, 0.9)),
}
"""By mode. One that is not here runs once, with its settings as they are."""


@dataclass(frozen=True, slots=True)
class Run:
    """One mode with one value of its knob; ``knob`` empty: as the settings say."""

    mode: str
    knob: str = ""
    value: Any = None

    @property
    def changes(self) -> dict[str, Any]:
        return {self.knob: self.value} if self.knob else {}

    def __str__(self) -> str:
        return f"{self.mode} {self.knob.rpartition('.')[2]} {self.value}" if self.knob else self.mode


def runs_of(modes: Sequence[str], sweep: bool = True, sweeps: Mapping[str, Sweep] = SWEEPS) -> list[Run]:
    """Every run of ``modes``, in order."""
    runs: list[Run] = []
    for mode in modes:
        found = sweeps.get(mode) if sweep else None
        runs += [Run(mode)] if found is None else [Run(mode, found.setting, value) for value in found.values]
    return runs
