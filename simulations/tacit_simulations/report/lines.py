"""Line charts: curves over rounds or hours, levels to compare them with, names at their ends."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from markupsafe import Markup

from tacit_simulations.report.figures import Format, significant, trimmed
from tacit_simulations.report.marks import (
    Canvas,
    element,
    line,
    marker,
    names_beside,
    path,
    stairs,
    svg,
    words,
)
from tacit_simulations.report.scales import Scale, thinned, ticks, whole_ticks

# Beyond these the eye sees a line, not points, and the file grows for nothing.
MOST_POINTS, MOST_MARKERS, MOST_READOUTS = 400, 30, 120


@dataclass(frozen=True, slots=True)
class Series:
    """One curve; ``tone`` is a role of the palette, ``points`` are ``(x, y)`` in data units, x ascending."""

    name: str
    tone: str
    points: tuple[tuple[float, float], ...]
    shape: str = "circle"
    step: Literal["none", "after", "centred"] = "none"
    area: bool = False
    joined: bool = True
    ends: bool = True  # whether its last value is worth a word


@dataclass(frozen=True, slots=True)
class Level:
    """One value across the whole chart: a model that was not trained round by round, or a cap."""

    name: str
    tone: str
    y: float


@dataclass(frozen=True, slots=True)
class LineChart:
    """What to draw; ``described`` is what a person who cannot see it is told."""

    described: str
    y_label: str
    x_label: str
    series: tuple[Series, ...]
    levels: tuple[Level, ...] = ()
    y_format: Format = significant
    x_format: Format = "{:g}".format
    x_unit: str = "round"
    x_ticks: tuple[float, ...] = ()
    y_from_zero: bool = False
    y_most: float | None = None


def draw_lines(chart: LineChart, canvas: Canvas) -> Markup:
    """The chart on ``canvas``."""
    chart = replace(
        chart,
        series=tuple(replace(s, points=thinned(s.points, MOST_POINTS)) for s in chart.series if s.points),
    )
    x, y, marks = _scales(chart, canvas)
    parts = _axes(chart, canvas, x, y, marks)
    parts += [_level(level, canvas, y) for level in chart.levels]
    for series in chart.series:
        parts += _curve(series, canvas, x, y)
    parts += names_beside(canvas, _names(chart, canvas, y), canvas.x_end)
    parts += _readouts(chart, canvas, x, y)
    return svg(canvas, chart.described, parts)


def _scales(chart: LineChart, canvas: Canvas) -> tuple[Scale, Scale, tuple[float, ...]]:
    xs = [px for s in chart.series for px, _ in s.points] or [0.0, 1.0]
    ys = [py for s in chart.series for _, py in s.points] + [level.y for level in chart.levels] or [0.0, 1.0]
    if any(series.step == "centred" for series in chart.series):
        xs += [min(xs) - 0.5, max(xs) + 0.5]
    low = 0.0 if chart.y_from_zero else min(ys)
    marks = ticks(low, max(ys) if chart.y_most is None else chart.y_most, 5)
    if chart.y_most is not None:
        marks = tuple(mark for mark in marks if mark <= chart.y_most * (1 + 1e-9))
    first, last = (chart.x_ticks[0], chart.x_ticks[-1]) if chart.x_ticks else (min(xs), max(xs))
    top = max(marks[-1], max(ys))
    return (
        Scale(first, last, canvas.x_start, canvas.x_end),
        Scale(marks[0], top, canvas.y_base, canvas.y_top),
        marks,
    )


def _axes(chart: LineChart, canvas: Canvas, x: Scale, y: Scale, marks: Sequence[float]) -> list[Markup]:
    ticked = trimmed if chart.y_format is significant else chart.y_format
    parts = [words(chart.y_label, 4, canvas.text * 1.3, "axis title")]
    for mark in marks:
        height = y(mark)
        parts.append(line(canvas.x_start, height, canvas.x_end, height, "grid"))
        parts.append(words(ticked(mark), canvas.x_start - 8, height + canvas.text * 0.35, "axis", "end"))
    wanted = 8 if canvas.width > 600 else 4
    spots: Sequence[float] = chart.x_ticks or whole_ticks(math.ceil(x.low), math.floor(x.high), wanted)
    for spot in spots:
        parts.append(words(chart.x_format(spot), x(spot), canvas.y_base + canvas.text * 1.45, "axis", "middle"))
    middle = (canvas.x_start + canvas.x_end) / 2
    return [*parts, words(chart.x_label, middle, canvas.height - 6, "axis title", "middle")]


def _level(level: Level, canvas: Canvas, y: Scale) -> Markup:
    return line(canvas.x_start, y(level.y), canvas.x_end, y(level.y), f"level s-{level.tone}")


def _curve(series: Series, canvas: Canvas, x: Scale, y: Scale) -> list[Markup]:
    points = [(x(px), y(py)) for px, py in series.points]
    drawn = points
    if series.step != "none":
        drawn = stairs(points, centred=x(1.0) - x(0.0) if series.step == "centred" else None)
    parts: list[Markup] = []
    if series.area:
        parts.append(path(drawn, f"area f-{series.tone}", base=canvas.y_base))
    if series.joined:
        parts.append(path(drawn, f"curve s-{series.tone}"))
    if not series.joined or (len(points) <= MOST_MARKERS and series.step == "none"):
        parts += [marker(series.shape, px, py, f"dot f-{series.tone}") for px, py in points]
    return parts


def _names(chart: LineChart, canvas: Canvas, y: Scale) -> list[tuple[float, Sequence[str], str]]:
    """Each series by name and last value; on a small chart the axis names a lone one, and a cloud has no last value."""
    if canvas.name == "small" and len(chart.series) == 1 and not chart.levels:
        only = chart.series[0]
        return [(y(only.points[-1][1]), (chart.y_format(only.points[-1][1]),), only.tone)]
    named: list[tuple[float, Sequence[str], str]] = []
    for series in chart.series:
        if series.joined and not series.ends:
            named.append((y(series.points[-1][1]), (series.name,), series.tone))
        elif series.joined:
            named.append(_named(chart, canvas, y, (series.name, series.tone, series.points[-1][1])))
        else:
            middle = sum(py for _, py in series.points) / len(series.points)
            named.append((y(middle), (series.name,), series.tone))
    return [*named, *(_named(chart, canvas, y, (level.name, level.tone, level.y)) for level in chart.levels)]


def _named(chart: LineChart, canvas: Canvas, y: Scale, end: tuple[str, str, float]) -> tuple[float, Sequence[str], str]:
    name, tone, value = end
    shown = chart.y_format(value)
    return y(value), (f"{name} {shown}",) if canvas.name == "wide" else (name, shown), tone


def _readouts(chart: LineChart, canvas: Canvas, x: Scale, y: Scale) -> list[Markup]:
    """Invisible columns that, under the pointer, show the values at that x; plain CSS, no script."""
    spots = sorted({px for series in chart.series for px, _ in series.points})
    if not spots or len(spots) > MOST_READOUTS or any(not series.joined for series in chart.series):
        return []
    edges = [x.start, *((x(a) + x(b)) / 2 for a, b in itertools.pairwise(spots)), x.end]
    found = [dict(series.points) for series in chart.series]
    parts = []
    for spot, left, right in zip(spots, edges, edges[1:], strict=False):
        values = [
            f"{series.name} {chart.y_format(at[spot])}"
            for series, at in zip(chart.series, found, strict=True)
            if spot in at
        ]
        said = f"{chart.x_unit} {chart.x_format(spot)}: " + ", ".join(values)
        hit = element(
            "rect", x=left, y=canvas.y_top, width=max(1.0, right - left), height=y.start - y.end, class_="hit"
        )
        rule = line(x(spot), canvas.y_top, x(spot), canvas.y_base, "rule")
        cover = element("rect", x=0, y=0, width=canvas.width, height=canvas.text * 1.9, class_="cover")
        parts.append(
            element("g", hit, element("g", rule, cover, words(said, 4, canvas.text * 1.3, "said"), class_="out"))
        )
    return parts
