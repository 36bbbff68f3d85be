"""What a page is made of, before any HTML: sections, exhibits (a chart and its numbers), tables, tiles, notes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from markupsafe import Markup

from tacit_simulations.report.figures import NOTHING
from tacit_simulations.report.marks import NARROW, WIDE, Canvas
from tacit_simulations.report.scales import thinned

MOST_ROWS = 400  # a longer table is thinned; result.json keeps every row

Chart = TypeVar("Chart")


@dataclass(frozen=True, slots=True)
class Table:
    """Text cells; the first column names the row, ``wordy`` columns hold prose and are set left."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    wordy: frozenset[int] = frozenset()
    marked: frozenset[int] = frozenset()  # rows to stand out


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A chart with its takeaway and the same figures as a table.

    ``small`` exhibits stand side by side. Without drawings the table is shown open.
    """

    title: str
    takeaway: str
    drawings: tuple[Markup, ...]
    table: Table | None
    small: bool = False
    simulator_only: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """One chapter; ``key`` is its anchor."""

    key: str
    title: str
    lead: str
    exhibits: tuple[Exhibit, ...]


@dataclass(frozen=True, slots=True)
class Tile:
    """One headline figure; ``share`` in [0, 1] draws a meter under it."""

    label: str
    value: str
    detail: str
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """Something the reader must not miss; ``alarm`` is red."""

    title: str
    body: str
    alarm: bool


def both(draw: Callable[[Chart, Canvas], Markup], chart: Chart) -> tuple[Markup, Markup]:
    """The chart for a wide page and for a phone; the style sheet shows one of them."""
    return draw(chart, WIDE), draw(chart, NARROW)


def table_of(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]], wordy: Sequence[int] = ()) -> Table:
    """A table of at most ``MOST_ROWS`` rows; a longer one is thinned evenly and its caption says so."""
    kept = thinned(tuple(tuple(row) for row in rows), MOST_ROWS)
    if len(kept) < len(rows):
        caption += f" ({len(kept):,} of {len(rows):,} rows, evenly spaced; result.json has all)"
    return Table(caption, tuple(columns), kept, frozenset(wordy))


def filled(table: Table) -> Table:
    """``table`` without the columns in which every cell is empty."""
    keep = [
        index
        for index in range(len(table.columns))
        if index == 0 or any(row[index] not in (NOTHING, "") for row in table.rows)
    ]
    return Table(
        table.caption,
        tuple(table.columns[index] for index in keep),
        tuple(tuple(row[index] for index in keep) for row in table.rows),
        frozenset(new for new, old in enumerate(keep) if old in table.wordy),
        table.marked,
    )
