"""An audit report as one HTML file that opens anywhere, offline, without a script, in light and in dark.

Labels are the descriptions of the document's fields, so page and JSON cannot drift apart. Every value is escaped: names
of runs and reasons come from a ledger that anybody may have written.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from jinja2 import Template
from markupsafe import Markup
from pydantic.fields import FieldInfo

from tacit_privacy.audit.document import Report, Shown
from tacit_privacy.audit.figures import bars, curve, measured
from tacit_privacy.audit.reading import SEEDED, as_given, percent_up
from tacit_privacy.contract import Fact
from tacit_privacy.templating import templates
from tacit_privacy.wording import rounded_down, rounded_up

_MOST_ROWS = 60  # of a table; the JSON beside the page has them all
_LONG = 12  # rows past which a table is folded
_HEADS = ("ledger", "tacit", "notes", "reading")  # stand above the chapters
_EPOCH = 1e9  # seconds; a clock that shows less is a simulation's


@dataclass(frozen=True, slots=True)
class Table:
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    more: int = 0  # rows left out

    @property
    def long(self) -> bool:
        return len(self.rows) > _LONG


@dataclass(frozen=True, slots=True)
class Pair:
    label: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chapter:
    """A heading and what stands below it, in this order."""

    key: str
    title: str
    pairs: tuple[Pair, ...] = ()
    drawing: Markup | None = None
    tables: tuple[Table, ...] = ()
    inner: tuple["Chapter", ...] = ()


def page(report: Report) -> str:
    """The whole document. Same report, same bytes."""
    return _template().render(report=report, tiles=_tiles(report), chapters=_chapters(report))


def _tiles(report: Report) -> list[tuple[str, str, str]]:
    """Name, value and what it means: the figures that are looked for first."""
    found = [("Ledger", "verifies" if report.verification.ok else "does NOT verify", report.verification.state)]
    if report.verification.ok and report.guarantees and report.empirical:
        told, seeded = report.guarantees[0], f"; {SEEDED}" if _is_seeded(report) else ""
        cap = f" (cap {as_given(report.budget.epsilon)})" if report.budget else ""
        found += [
            (f"epsilon, at most{cap}", rounded_up(told.epsilon), f"at delta {as_given(told.delta)}{seeded}"),
            ("right guesses, at most", percent_up(told.right_guess), "between even odds; a coin has 50 %"),
            ("epsilon, at least", measured(report.empirical.lower_bound), _attacked(report)),
        ]
    return found


def _attacked(report: Report) -> str:
    if report.empirical is None or report.empirical.confidence is None:
        return "no attack was tried"
    return f"by canaries, confidence {as_given(report.empirical.confidence)}"


def _chapters(report: Report) -> list[Chapter]:
    found = []
    for name, field in Report.model_fields.items():
        if name in _HEADS:
            continue
        value, title = getattr(report, name), field.description or name
        if value is None:
            found.append(Chapter(name, title, (Pair("unknown", ("the first entry could not be read",)),)))
        elif isinstance(value, tuple):
            inner = tuple(_chapter(f"{name}-{place}", each.span, each, report) for place, each in enumerate(value))
            found.append(Chapter(name, title, inner=inner))
        else:
            found.append(_chapter(name, title, value, report))
    return found


def _chapter(key: str, title: str, fact: Fact, report: Report) -> Chapter:
    pairs, tables = [], []
    for name, field in type(fact).model_fields.items():
        value, label = getattr(fact, name), _label(field, name, report)
        if isinstance(value, tuple) and value and isinstance(value[0], Fact):
            tables.append(_table(label, value, report))
        elif isinstance(value, tuple):
            pairs.append(Pair(label, tuple(_said(each, field, report) for each in value) or ("none",)))
        elif value != title:
            pairs.append(Pair(label, (_said(value, field, report),)))
    return Chapter(key, title, tuple(pairs), _drawing(fact, report), tuple(tables))


def _table(caption: str, facts: Sequence[Fact], report: Report) -> Table:
    fields = type(facts[0]).model_fields
    step = max(1, math.ceil(len(facts) / _MOST_ROWS))
    shown = facts[::step]
    columns = tuple(field.description or name for name, field in fields.items())
    marked = any("epsilon" in column for column in columns) and SEEDED not in caption and _is_seeded(report)
    return Table(
        f"{caption} ({SEEDED})" if marked else caption,
        columns,
        tuple(tuple(_said(getattr(fact, name), field, report) for name, field in fields.items()) for fact in shown),
        len(facts) - len(shown),
    )


def _label(field: FieldInfo, name: str, report: Report) -> str:
    label = field.description or name
    return f"{label} ({SEEDED})" if "epsilon" in label and _is_seeded(report) else label


def _is_seeded(report: Report) -> bool:
    return report.noise is not None and report.noise.source == "seeded"


def _said(value: Any, field: FieldInfo, report: Report) -> str:
    if value is None:
        return "not given"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return "no bound"
    return _number(value, next((shown for shown in field.metadata if isinstance(shown, Shown)), None))


def _number(value: float, shown: Shown | None) -> str:
    match shown:
        case Shown.UP if not _is_short(value):
            return rounded_up(value)
        case Shown.DOWN if not _is_short(value):
            return rounded_down(value)
        case Shown.PERCENT:
            return percent_up(value)
        case Shown.TIME:
            return _time(value)
        case _:
            return as_given(value)


def _is_short(value: float) -> bool:
    """Whether four digits are all of it, so that there is nothing to round."""
    return float(f"{value:.4g}") == value


def _time(seconds: float) -> str:
    """A date where the clock shows one; seconds where it is a simulation's, or no date at all."""
    try:
        if seconds >= _EPOCH:
            return datetime.fromtimestamp(seconds, UTC).isoformat(" ", "seconds")
    except (OverflowError, ValueError):
        pass
    return f"{seconds:,.6g} s on the coordinator's clock"


def _drawing(fact: Fact, report: Report) -> Markup | None:
    if report.guarantees is not None and any(fact is each for each in report.guarantees):
        told = next(each for each in report.guarantees if fact is each)
        first = told is report.guarantees[0]
        cap = report.budget.epsilon if first and report.budget else None
        lower = report.empirical.lower_bound if told is report.guarantees[-1] and report.empirical else None
        return curve(told, cap, lower)
    if fact is report.participation and report.participation.histogram is not None:
        return bars(report.participation.histogram)
    return None


@lru_cache(maxsize=1)
def _template() -> Template:
    return templates("tacit_privacy.audit").get_template("report.html.j2")
