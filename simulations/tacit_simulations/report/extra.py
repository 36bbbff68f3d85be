"""Charts that the caller brings along, drawn like the report's own."""

from collections.abc import Mapping
from typing import Any

from tacit_privacy.errors import BadInput
from tacit_simulations.report.document import Exhibit, Section, both, table_of
from tacit_simulations.report.figures import significant, trimmed
from tacit_simulations.report.lines import LineChart, Series, draw_lines
from tacit_simulations.report.palette import LINES
from tacit_simulations.report.reading import Json, mapping, rows, text

SHAPES = ("circle", "square", "diamond", "triangle")


def extra(charts: Mapping[str, Any]) -> Section | None:
    """A chapter of the caller's line charts; None without any. Raises BadInput on a chart of another shape."""
    exhibits = tuple(_exhibit(title, mapping(charts, title, "charts_extra")) for title in charts)
    return Section("extra", "More figures", "", exhibits) if exhibits else None


def _exhibit(title: str, chart: Json) -> Exhibit:
    where = f"charts_extra.{title}"
    series = tuple(rows(chart, "series", where, _series))
    if not 1 <= len(series) <= len(LINES):
        raise BadInput(
            f"{where} has {len(series)} series but a chart shows 1 to {len(LINES)}; split it into several charts"
        )
    x_label, y_label = text(chart, "x_label", where) or "x", text(chart, "y_label", where) or "y"
    ends = "; ".join(f"{s.name} ends at {significant(s.points[-1][1])}" for s in series)
    drawn = LineChart(f"Line chart of {title}: {ends}.", y_label, x_label, series, y_format=trimmed, x_unit=x_label)
    numbers = [[s.name, f"{x:g}", significant(y, 4)] for s in series for x, y in s.points]
    table = table_of(title, ("series", x_label, y_label), numbers)
    return Exhibit(title, text(chart, "takeaway", where), both(draw_lines, drawn), table)


def _series(row: Json, where: str, position: int) -> Series:
    tone = LINES[-position % len(LINES)]
    return Series(text(row, "name", where), tone, _points(row, where), SHAPES[position % len(SHAPES)])


def _points(row: Json, where: str) -> tuple[tuple[float, float], ...]:
    try:
        points = tuple(sorted((float(x), float(y)) for x, y in row.get("points") or ()))
    except (TypeError, ValueError) as error:
        raise BadInput(f"{where}.points is not a list of [x, y] pairs of numbers; give such a list") from error
    if not points:
        raise BadInput(f"{where}.points is empty; leave the series out or give at least one [x, y] pair")
    return points
