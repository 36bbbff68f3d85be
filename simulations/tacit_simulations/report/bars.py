"""Stacked columns over rounds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from tacit_simulations.report.figures import Format, count
from tacit_simulations.report.marks import (
    Canvas,
    element,
    line,
    names_beside,
    svg,
    words,
)
from tacit_simulations.report.scales import Scale, ticks, whole_ticks


@dataclass(frozen=True, slots=True)
class Layer:
    """One part of every column, from the bottom up; ``values`` has one entry a column."""

    name: str
    tone: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Columns:
    """Stacked columns; ``labels`` say which rounds a column stands for, ``7`` or ``7 to 12``."""

    described: str
    y_label: str
    x_label: str
    labels: tuple[str, ...]
    layers: tuple[Layer, ...]
    y_format: Format = count


def draw_columns(chart: Columns, canvas: Canvas) -> Markup:
    """The chart on ``canvas``; with one layer its name is the axis title and none stands beside it."""
    canvas = replace(canvas, right=_margin(chart, canvas))
    heights = [sum(layer.values[index] for layer in chart.layers) for index in range(len(chart.labels))]
    marks = ticks(0.0, max(heights, default=0.0) or 1.0, 4)
    y = Scale(0.0, marks[-1], canvas.y_base, canvas.y_top)
    parts = [words(chart.y_label, 4, canvas.text * 1.2, "axis title")]
    for mark in marks:
        parts.append(line(canvas.x_start, y(mark), canvas.x_end, y(mark), "grid"))
        parts.append(words(chart.y_format(mark), canvas.x_start - 8, y(mark) + canvas.text * 0.35, "axis", "end"))
    slot = (canvas.x_end - canvas.x_start) / max(1, len(chart.labels))
    inset = slot * (0.14 if slot > 6 else 0.0)
    bases = [0.0] * len(chart.labels)
    last: list[tuple[float, Sequence[str], str]] = []
    for layer in chart.layers:
        for index, value in enumerate(layer.values):
            left = canvas.x_start + index * slot + inset
            parts.append(_block(chart, layer, index, left, slot - 2 * inset, y, bases[index]))
            bases[index] += value
        last.append((y(bases[-1] - layer.values[-1] / 2), (layer.name,), layer.tone))
    parts += _ordinals(chart, canvas, slot)
    if len(chart.layers) > 1:
        parts += names_beside(canvas, last, canvas.x_end - inset, swatch=True)
    return svg(canvas, chart.described, parts)


def _margin(chart: Columns, canvas: Canvas) -> float:
    """Room for the names beside the columns: none for a lone layer, up to almost half of a phone for long ones."""
    if len(chart.layers) == 1:
        return min(canvas.right, 16.0)
    longest = max(len(layer.name) for layer in chart.layers)
    return max(canvas.right, min(36 + 0.58 * canvas.text * longest, 0.46 * canvas.width))


def _block(chart: Columns, layer: Layer, index: int, left: float, width: float, y: Scale, base: float) -> Markup:
    value = layer.values[index]
    if value <= 0:
        return Markup("")
    top = y(base + value)
    said = f"{chart.x_label} {chart.labels[index]}: {layer.name} {chart.y_format(value)}"
    return element(
        "rect",
        element("title", Markup.escape(said)),
        x=left,
        y=top,
        width=width,
        height=max(0.6, y(base) - top),
        class_=f"block f-{layer.tone}",
    )


def _ordinals(chart: Columns, canvas: Canvas, slot: float) -> list[Markup]:
    """The first round of some columns, the last round of the last: whole spans would run into each other."""
    last = len(chart.labels) - 1
    if last < 0:
        return []
    said = [label.split()[0] for label in chart.labels[:-1]] + [chart.labels[-1].split()[-1]]
    room = (canvas.x_end - canvas.x_start) / (canvas.text * (0.62 * max(map(len, said)) + 1.2))
    height, middle = canvas.y_base + canvas.text * 1.4, (canvas.x_start + canvas.x_end) / 2
    parts = [
        words(said[index], canvas.x_start + (index + 0.5) * slot, height, "axis", "middle")
        for index in whole_ticks(0, last, max(1, min(10, int(room))))
    ]
    return [*parts, words(chart.x_label, middle, canvas.height - 5, "axis title", "middle")]
