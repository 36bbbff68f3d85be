"""Quality against what it costs: tokens of the large model, and the person's words that crossed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tacit_simulations.evaluation.modes.baselines import LENGTH, RANDOM
from tacit_simulations.evaluation.modes.pareto import front
from tacit_simulations.report.comparison.reading import Comparison, Run, short
from tacit_simulations.report.document import Exhibit, Section, Table, table_of
from tacit_simulations.report.figures import Format, percent, trimmed
from tacit_simulations.report.marks import shortened
from tacit_simulations.report.scatter import NARROW, WIDE, Dot, Scatter, Trail, draw_scatter

MOST_LETTERS = 20  # of a name beside a point


@dataclass(frozen=True, slots=True)
class Axis:
    """A cost of a row."""

    field: str
    title: str
    label: str
    unit: str
    show: Format


AXES = (
    Axis(
        "llm_tokens",
        "Quality against tokens of the large model",
        "tokens of the large model a question",
        "tokens a question",
        trimmed,
    ),
    Axis(
        "exposed_bytes_share",
        "Quality against exposure",
        "share of the person's text that crossed",
        "of the text crossed",
        percent,
    ),
)


def trade_offs(comparison: Comparison) -> Section:
    """A plot for each cost, and how much each mode covers of both."""
    lead = (
        "Up and to the left is better. The stairs are the front: what is to be had for so much, by any of the runs. "
        "Points of one mode differ in its knob alone; grey ones are the baselines."
    )
    return Section(
        "trade-offs",
        "What quality costs",
        lead,
        (*(_plot(comparison, axis) for axis in AXES), _covered(comparison)),
    )


def _plot(comparison: Comparison, axis: Axis) -> Exhibit:
    runs = list(comparison.runs)
    points = [(float(run[axis.field]), float(run["quality"])) for run in runs]
    best = front(points)
    on_front = {id(runs[index]) for index in best}
    trails = tuple(_trail(comparison, name, axis, on_front) for name in comparison.names)
    names = ", ".join(dict.fromkeys(runs[index].name for index in best))
    chart = Scatter(
        described=f"Quality of every run against {axis.label}. On the front: {names}.",
        x_label=axis.label,
        y_label="questions answered right",
        trails=trails,
        front=tuple(points[index] for index in best),
        x_format=axis.show,
    )
    return Exhibit(
        axis.title,
        f"On the front: {names}.",
        (draw_scatter(chart, WIDE), draw_scatter(chart, NARROW)),
        _numbers(comparison, axis, on_front),
    )


def _trail(comparison: Comparison, name: str, axis: Axis, on_front: set[int]) -> Trail:
    """A mode's runs; its name stands at one of them, on the front if it has one there."""
    tone, shape = comparison.look(name)
    runs = comparison.of(name)
    named = max(runs, key=lambda run: (id(run) in on_front, name not in (RANDOM, LENGTH), run["quality"]))
    if name in (RANDOM, LENGTH):
        named = runs[len(runs) // 2]
    dots = tuple(
        Dot(
            x=float(run[axis.field]),
            y=float(run["quality"]),
            name=shortened(short(name), MOST_LETTERS) if run is named else "",
            said=f"{run.label}: {percent(run['quality'])} right, {axis.show(run[axis.field])} {axis.unit}",
        )
        for run in runs
    )
    return Trail(tone, shape, dots)


def _numbers(comparison: Comparison, axis: Axis, on_front: set[int]) -> Table:
    rows = [
        (run.label, percent(run["quality"]), _between(run), axis.show(run[axis.field]), _mark(id(run) in on_front))
        for run in comparison.runs
    ]
    table = table_of(axis.title, ("run", "right", "95 % interval", axis.unit, "front"), rows)
    marked = frozenset(index for index, run in enumerate(comparison.runs) if id(run) in on_front)
    return Table(table.caption, table.columns, table.rows, table.wordy, marked)


def _between(run: Run) -> str:
    return f"{percent(run['quality_low'])} to {percent(run['quality_high'])}"


def _mark(on: bool) -> str:
    return "yes" if on else ""


def _covered(comparison: Comparison) -> Exhibit:
    pareto: Mapping[str, Any] = comparison.told.get("pareto") or {}
    volumes = [pareto[axis.field]["hypervolume"] for axis in AXES if axis.field in pareto]
    names = [*comparison.names, "all"]
    rows = [(name, *(f"{volume[name]:.3f}" for volume in volumes)) for name in names if all(name in v for v in volumes)]
    return Exhibit(
        "How much of the plane each mode covers",
        "Hypervolume: the area below and to the right of a mode's points, the two ends always-local and always-LLM "
        "(redacted) counted with each, as a share of the whole plot. 1 would be everything right at no cost.",
        (),
        table_of("Pareto hypervolume", ("mode", "tokens", "exposure"), rows),
    )
