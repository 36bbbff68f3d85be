"""Charts with a row for each tier: pairs of dots, and stacked bars."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tacit_simulations.report.figures import Format
from tacit_simulations.report.marks import Canvas, element, line, marker, shortened, svg, words
from tacit_simulations.report.scales import Scale, ticks

WIDE_ROW, NARROW_ROW = 34.0, 50.0  # pixels; a narrow row has its name above it
NAMES_ROOM = 190.0


@dataclass(frozen=True, slots=True)
class Pair:
    """Two values of one tier."""

    name: str
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True)
class Dumbbells:
    """A row for each tier, a dot for each of two quantities, the distance between them drawn."""

    described: str
    x_label: str
    before: tuple[str, str]  # (name, tone)
    after: tuple[str, str]
    pairs: tuple[Pair, ...]
    x_format: Format
    from_zero: bool = True  # dots, unlike bars, may leave zero out


def draw_dumbbells(chart: Dumbbells, canvas: Canvas) -> Markup:
    """The chart at the width of ``canvas``; its height follows the number of rows."""
    values = [value for pair in chart.pairs for value in (pair.before, pair.after) if value is not None]
    low = min([*values, 0.0]) if chart.from_zero or not values else min(values)
    # a value is written outside each dot, so the first tick stands clear of the names of the rows
    frame, x, parts = _frame(canvas, len(chart.pairs), (low, max([*values, 1e-9])), chart.x_label, chart.x_format, 56)
    for index, pair in enumerate(chart.pairs):
        y = _row_y(frame, index)
        parts.append(_row_name(pair.name, frame, y))
        parts += _dumbbell(chart, pair, frame, x, y)
    return svg(frame, chart.described, [*parts, *_heads(_dumbbell_heads(chart), frame)])


def _frame(
    canvas: Canvas, rows: int, extent: tuple[float, float], x_label: str, x_format: Format, clear: float
) -> tuple[Canvas, Scale, list[Markup]]:
    """The plot of ``rows`` rows: its canvas, its x scale, its grid and axis."""
    wide = canvas.name == "wide"
    top, bottom = canvas.text * 3.4, canvas.text * 3.2
    height = top + (WIDE_ROW if wide else NARROW_ROW) * rows + bottom
    left, right = (NAMES_ROOM, 60.0) if wide else (8.0, 48.0)
    frame = Canvas(canvas.name, canvas.width, height, left, right, top, bottom, canvas.text)
    marks = ticks(*extent, 5 if wide else 4)
    x = Scale(marks[0], marks[-1], frame.x_start + (clear if wide else min(clear, 40)), frame.x_end)
    parts = [line(x(mark), top - 4, x(mark), frame.y_base, "grid") for mark in marks]
    parts += [words(x_format(m), x(m), frame.y_base + canvas.text * 1.3, "axis", "middle") for m in marks]
    parts.append(words(x_label, (x.start + x.end) / 2, height - 5, "axis title", "middle"))
    return frame, x, parts


def _row_y(frame: Canvas, index: int) -> float:
    return frame.top + (WIDE_ROW if frame.name == "wide" else NARROW_ROW) * (index + 0.5)


def _row_name(name: str, frame: Canvas, y: float) -> Markup:
    """Left of the plot where there is room, above the row where there is not."""
    if frame.name == "wide":
        return words(shortened(name, frame.fits(NAMES_ROOM - 14)), frame.x_start - 12, y + 5, "name", "end")
    return words(shortened(name, frame.fits(300)), frame.x_start, y - 12, "name")


def _dumbbell(chart: Dumbbells, pair: Pair, frame: Canvas, x: Scale, y: float) -> list[Markup]:
    found = [value for value in (pair.before, pair.after) if value is not None]
    parts = [line(x(min(found)), y, x(max(found)), y, "bar")] if len(found) == 2 else []
    before_is_left = pair.before is not None and (pair.after is None or pair.before <= pair.after)
    for value, (name, tone), shape, is_left in (
        (pair.before, chart.before, "circle", before_is_left),
        (pair.after, chart.after, "diamond", not before_is_left),
    ):
        if value is None:
            continue
        anchor, shift = ("end", -10.0) if is_left else ("start", 10.0)
        said = element("title", Markup.escape(f"{pair.name}: {name} {chart.x_format(value)}"))
        parts.append(element("g", said, marker(shape, x(value), y, f"dot f-{tone}", 5)))
        parts.append(words(chart.x_format(value), x(value) + shift, y + frame.text * 0.35, f"name t-{tone}", anchor))
    return parts


def _dumbbell_heads(chart: Dumbbells) -> list[tuple[str, str, str]]:
    """The two names in the order in which the dots of most rows stand."""
    known = [(p.before, p.after) for p in chart.pairs if p.before is not None and p.after is not None]
    heads = [(*chart.before, "circle")] if any(p.before is not None for p in chart.pairs) else []
    heads += [(*chart.after, "diamond")] if any(p.after is not None for p in chart.pairs) else []
    return heads[::-1] if sum(after < before for before, after in known) * 2 > len(known) else heads


def _heads(heads: Sequence[tuple[str, str, str]], frame: Canvas) -> list[Markup]:
    """Names over the plot, ``(name, tone, shape)`` each with its mark, wrapped where the canvas ends."""
    spot, height = frame.x_start, frame.text * 1.0
    parts: list[Markup] = []
    for name, tone, shape in heads:
        width = 10 + 0.6 * frame.text * len(name) + 18
        if spot + width > frame.width and spot > frame.x_start:
            spot, height = frame.x_start, height + frame.text * 1.35
        parts.append(marker(shape, spot + 5, height, f"dot f-{tone}", 5))
        parts.append(words(name, spot + 15, height + frame.text * 0.35, f"name t-{tone}"))
        spot += width
    return parts


@dataclass(frozen=True, slots=True)
class StackedRows:
    """A row for each tier, stacked from the left by the same ``parts`` (name, tone) in every row."""

    described: str
    x_label: str
    parts: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, tuple[float, ...]], ...]
    x_format: Format


def draw_stacked_rows(chart: StackedRows, canvas: Canvas) -> Markup:
    """The chart at the width of ``canvas``; the sum of a row is written at its end."""
    most = max((sum(values) for _, values in chart.rows), default=0.0)
    frame, x, parts = _frame(canvas, len(chart.rows), (0.0, max(most, 1e-9)), chart.x_label, chart.x_format, 0)
    for index, (name, values) in enumerate(chart.rows):
        y, base = _row_y(frame, index), 0.0
        parts.append(_row_name(name, frame, y))
        for (part, tone), value in zip(chart.parts, values, strict=True):
            if value > 0:
                said = element("title", Markup.escape(f"{name}: {part} {chart.x_format(value)}"))
                left, right = x(base), x(base + value)
                box = element("rect", said, x=left, y=y - 8, width=right - left, height=16, class_=f"block f-{tone}")
                parts.append(box)
            base += value
        parts.append(words(chart.x_format(base), x(base) + 8, y + frame.text * 0.35, "name"))
    heads = [(name, tone, "square") for name, tone in chart.parts]
    return svg(frame, chart.described, [*parts, *_heads(heads, frame)])
