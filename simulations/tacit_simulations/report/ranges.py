"""Values side by side along one axis, a line a group: marks, with a whisker to a second value where there is one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from tacit_simulations.report.figures import Format, percent
from tacit_simulations.report.marks import Canvas, element, line, marker, shortened, svg, words
from tacit_simulations.report.scales import Scale, ticks

WIDE = Canvas("wide", width=960, height=0, left=170, right=40, top=44, bottom=50, text=14)
NARROW = Canvas("narrow", width=340, height=0, left=96, right=22, top=44, bottom=44, text=12)


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of mark, explained above the chart."""

    name: str
    tone: str
    shape: str


@dataclass(frozen=True, slots=True)
class Value:
    """A mark at ``at``, of ``kind`` (an index), with a line to ``to`` or, without one, from the axis."""

    kind: int
    at: float
    to: float | None = None


@dataclass(frozen=True, slots=True)
class Ranges:
    """Groups from top to bottom. All on one axis from 0."""

    described: str
    x_label: str
    kinds: tuple[Kind, ...]
    groups: tuple[tuple[str, tuple[Value, ...]], ...]
    x_format: Format = percent
    x_most: float | None = None


def draw_ranges(chart: Ranges, canvas: Canvas) -> Markup:
    """The chart on ``canvas``, as high as it must be."""
    legend, top = _legend(chart.kinds, canvas)
    lanes = 1.0 if canvas.name == "wide" else 0.86
    pitch = canvas.text * lanes
    heights = [pitch * (len(values) + 0.9) for _, values in chart.groups]
    canvas = replace(canvas, top=top, height=top + sum(heights) + canvas.bottom)
    found = [value for _, values in chart.groups for each in values for value in (each.at, each.to) if value]
    most = max(found, default=1.0) if chart.x_most is None else chart.x_most
    marks = ticks(0.0, most or 1.0, 6 if canvas.name == "wide" else 3)
    marks = tuple(mark for mark in marks if mark <= most * (1 + 1e-9)) if chart.x_most is not None else marks
    x = Scale(0.0, marks[-1], canvas.x_start, canvas.x_end)
    parts = [*legend, *_axis(chart, canvas, x, marks)]
    height = canvas.y_top
    for (name, values), tall in zip(chart.groups, heights, strict=True):
        parts += _group(chart, canvas, x, (name, values), (height, pitch))
        height += tall
        parts.append(line(4, height, canvas.x_end, height, "grid"))
    return svg(canvas, chart.described, parts)


def _legend(kinds: Sequence[Kind], canvas: Canvas) -> tuple[list[Markup], float]:
    """The marks' names in as many lines as they take, and where the chart may begin."""
    parts, left, row = [], 6.0, canvas.text
    for kind in kinds:
        wide = 18 + 0.58 * canvas.text * len(kind.name) + 14
        if left + wide > canvas.width and left > 6:
            left, row = 6.0, row + canvas.text * 1.5
        parts.append(marker(kind.shape, left + 5, row - canvas.text * 0.33, f"dot f-{kind.tone}", 4.4))
        parts.append(words(kind.name, left + 14, row, "name"))
        left += wide
    return parts, row + canvas.text * 0.9


def _axis(chart: Ranges, canvas: Canvas, x: Scale, marks: Sequence[float]) -> list[Markup]:
    parts = [line(4, canvas.y_top, canvas.x_end, canvas.y_top, "grid")]
    for mark in marks:
        parts.append(line(x(mark), canvas.y_top, x(mark), canvas.y_base, "grid"))
        parts.append(words(chart.x_format(mark), x(mark), canvas.y_base + canvas.text * 1.45, "axis", "middle"))
    middle = (canvas.x_start + canvas.x_end) / 2
    return [*parts, words(chart.x_label, middle, canvas.height - 6, "axis title", "middle")]


def _group(
    chart: Ranges, canvas: Canvas, x: Scale, group: tuple[str, Sequence[Value]], at: tuple[float, float]
) -> list[Markup]:
    (name, values), (top, pitch) = group, at
    middle = top + pitch * (len(values) + 0.9) / 2
    room = canvas.fits(canvas.x_start - 14)
    parts = [words(shortened(name, room), canvas.x_start - 8, middle + canvas.text * 0.35, "name", "end")]
    for index, value in enumerate(values):
        kind, y = chart.kinds[value.kind], top + pitch * (index + 0.95)
        said = f"{name}, {kind.name}: {chart.x_format(value.at)}"
        drawn = []
        if value.to is not None:
            said += f" to {chart.x_format(value.to)}"
            drawn.append(line(x(value.at), y, x(value.to), y, "bar"))
        else:
            drawn.append(line(x.start, y, x(value.at), y, f"tie s-{kind.tone}"))
        drawn.append(marker(kind.shape, x(value.at), y, f"dot f-{kind.tone}", 4.4))
        parts.append(element("g", element("title", Markup.escape(said)), *drawn))
    return parts
