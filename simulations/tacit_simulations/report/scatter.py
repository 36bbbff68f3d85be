"""Points with names: what one thing costs in another, with the front of those that nothing beats."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tacit_simulations.report.figures import Format, percent
from tacit_simulations.report.marks import Canvas, element, line, marker, path, svg, words
from tacit_simulations.report.scales import Scale, ticks

WIDE = Canvas("wide", width=960, height=420, left=62, right=40, top=44, bottom=50, text=14)
NARROW = Canvas("narrow", width=340, height=360, left=44, right=18, top=46, bottom=46, text=12)


_STEPS = 14  # how far a name may move away from its point, in lines of text


@dataclass(frozen=True, slots=True)
class Dot:
    """One point. Without a ``name`` it stands unnamed; ``said`` is shown under the pointer."""

    x: float
    y: float
    name: str
    said: str


@dataclass(frozen=True, slots=True)
class Trail:
    """Points of one kind; ``joined`` draws a line through them, by x."""

    tone: str
    shape: str
    dots: tuple[Dot, ...]
    joined: bool = True


@dataclass(frozen=True, slots=True)
class Scatter:
    """What to draw. ``front`` are the corners of the front, by x; it is drawn as stairs."""

    described: str
    x_label: str
    y_label: str
    trails: tuple[Trail, ...]
    front: tuple[tuple[float, float], ...]
    x_format: Format = percent
    y_format: Format = percent


@dataclass(frozen=True, slots=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "_Box") -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


def draw_scatter(chart: Scatter, canvas: Canvas) -> Markup:
    """The chart on ``canvas``."""
    dots = [dot for trail in chart.trails for dot in trail.dots]
    x_marks = ticks(0.0, max((dot.x for dot in dots), default=1.0) or 1.0, 6 if canvas.name == "wide" else 3)
    y_marks = ticks(min((dot.y for dot in dots), default=0.0), max((dot.y for dot in dots), default=1.0), 5)
    y_marks = tuple(mark for mark in y_marks if -1e-9 <= mark <= 1 + 1e-9) if len(y_marks) > 2 else y_marks
    low, high = min(y_marks[0], *(dot.y for dot in dots), 1.0), max(y_marks[-1], *(dot.y for dot in dots), 0.0)
    x = Scale(0.0, x_marks[-1], canvas.x_start + 8, canvas.x_end)
    y = Scale(low, high, canvas.y_base - 8, canvas.y_top + 6)
    parts = _axes(chart, canvas, (x, x_marks), (y, y_marks))
    parts += _front(chart, canvas, x, y)
    for trail in chart.trails:
        parts += _trail(trail, x, y)
    return svg(canvas, chart.described, [*parts, *_names(chart, canvas, x, y)])


def _axes(
    chart: Scatter, canvas: Canvas, across: tuple[Scale, Sequence[float]], up: tuple[Scale, Sequence[float]]
) -> list[Markup]:
    (x, x_marks), (y, y_marks) = across, up
    parts = [words(chart.y_label, 4, canvas.text * 1.3, "axis title")]
    for mark in y_marks:
        parts.append(line(canvas.x_start, y(mark), canvas.x_end, y(mark), "grid"))
        parts.append(words(chart.y_format(mark), canvas.x_start - 8, y(mark) + canvas.text * 0.35, "axis", "end"))
    for index, mark in enumerate(x_marks):
        anchor = "end" if index == len(x_marks) - 1 and canvas.name == "narrow" else "middle"
        parts.append(words(chart.x_format(mark), x(mark), canvas.y_base + canvas.text * 1.45, "axis", anchor))
    middle = (canvas.x_start + canvas.x_end) / 2
    return [*parts, words(chart.x_label, middle, canvas.height - 6, "axis title", "middle")]


def _front(chart: Scatter, canvas: Canvas, x: Scale, y: Scale) -> list[Markup]:
    corners = _corners(chart, canvas, x, y)
    return [
        path(corners, "area f-federated-private", base=canvas.y_base),
        path(corners, "level s-federated-private curve"),
    ]


def _corners(chart: Scatter, canvas: Canvas, x: Scale, y: Scale) -> list[tuple[float, float]]:
    """Up to the next point of the front, its predecessor's height is what is to be had."""
    if not chart.front:
        return []
    corners = [(x(chart.front[0][0]), y(chart.front[0][1]))]
    for px, py in chart.front[1:]:
        corners += [(x(px), corners[-1][1]), (x(px), y(py))]
    return [*corners, (canvas.x_end, corners[-1][1])]


def _trail(trail: Trail, x: Scale, y: Scale) -> list[Markup]:
    parts = []
    if trail.joined and len(trail.dots) > 1:
        ordered = sorted(trail.dots, key=lambda dot: (dot.x, dot.y))
        parts.append(path([(x(dot.x), y(dot.y)) for dot in ordered], f"tie s-{trail.tone}"))
    for dot in trail.dots:
        drawn = marker(trail.shape, x(dot.x), y(dot.y), f"dot f-{trail.tone}", 4.4)
        parts.append(element("g", element("title", Markup.escape(dot.said)), drawn))
    return parts


def _names(chart: Scatter, canvas: Canvas, x: Scale, y: Scale) -> list[Markup]:
    """Each named point's name where it hides no point, no other name and no stair; beside it where that cannot be."""
    reach = 5.0
    taken = [
        _Box(x(dot.x) - reach, y(dot.y) - reach, x(dot.x) + reach, y(dot.y) + reach)
        for trail in chart.trails
        for dot in trail.dots
    ]
    stairs = _corners(chart, canvas, x, y)
    taken += [
        _Box(min(x1, x2) - 1, min(y1, y2) - 1, max(x1, x2) + 1, max(y1, y2) + 1)
        for (x1, y1), (x2, y2) in itertools.pairwise(stairs)
    ]
    parts = []
    for trail in chart.trails:
        for dot in trail.dots:
            if dot.name:
                box, anchor, at = _place(dot, canvas, x, y, taken)
                taken.append(box)
                if abs((box.top + box.bottom) / 2 - y(dot.y)) > 1.5 * canvas.text:  # too far to be seen as its own
                    near = box.bottom if box.bottom < y(dot.y) else box.top
                    ends = (x(dot.x), y(dot.y)), (min(max(x(dot.x), box.left + 4), box.right - 4), near)
                    parts.append(path(ends, f"tie s-{trail.tone}"))
                parts.append(words(dot.name, at, box.bottom - canvas.text * 0.25, f"name t-{trail.tone}", anchor))
    return parts


def _place(dot: Dot, canvas: Canvas, x: Scale, y: Scale, taken: Sequence[_Box]) -> tuple[_Box, str, float]:
    """Where a name goes: the first free spot around its point, further away at each round."""
    width, height = 0.56 * canvas.text * len(dot.name), canvas.text * 1.15
    px, py = x(dot.x), y(dot.y)
    spots = []
    for step in range(_STEPS):
        far = 9 + step * height * 0.8
        for dx, dy, anchor in (
            (-9.0, -height / 2 - step * height * 0.8, "end"),
            (9.0, -height / 2 - step * height * 0.8, "start"),
            (-9.0, -height / 2 + step * height * 0.8, "end"),
            (9.0, -height / 2 + step * height * 0.8, "start"),
            (0.0, -far - height, "middle"),
            (0.0, far, "middle"),
        ):
            left = px + dx - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
            spots.append((_Box(left, py + dy, left + width, py + dy + height), anchor, px + dx))
    inside = [
        spot
        for spot in spots
        if spot[0].left >= canvas.x_start + 2
        and spot[0].right <= canvas.width - 4
        and canvas.y_top - 4 <= spot[0].top
        and spot[0].bottom <= canvas.y_base
    ]
    free = [spot for spot in inside if not any(spot[0].meets(box) for box in taken)]
    return (free or inside or spots)[0]
