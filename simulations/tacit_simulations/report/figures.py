"""Numbers as a person reads them: SI prefixes, shares in per cent, durations in the unit that fits."""

import math
from collections.abc import Callable

Format = Callable[[float], str]
NOTHING = "–"  # noqa: RUF001 -- an en dash is what typography puts in an empty cell


def significant(value: float | None, digits: int = 3) -> str:
    """Plain decimal with ``digits`` significant digits, thousands separated; tiny values in e-notation."""
    if value is None:
        return NOTHING
    if not math.isfinite(value):
        return "unbounded" if value > 0 else "-unbounded"
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if magnitude < -4:
        return f"{value:.{digits - 1}e}".replace("e-0", "e-")
    decimals = max(0, digits - 1 - magnitude)
    return f"{value:,.{decimals}f}"


def trimmed(value: float | None, digits: int = 3) -> str:
    """``significant`` without trailing zeros, for axis ticks and settings."""
    shown = significant(value, digits)
    return shown.rstrip("0").rstrip(".") if "." in shown and "e" not in shown else shown


def count(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}"


def percent(share: float | None) -> str:
    """A share in [0, 1] in per cent with one decimal; none once it is whole."""
    if share is None or not math.isfinite(share):
        return NOTHING
    shown = f"{100 * share:.1f}"
    return f"{shown.removesuffix('.0')}%"


def scaled(value: float | None, steps: tuple[tuple[float, str], ...], digits: int = 3) -> str:
    """``value`` in the largest unit of ``steps`` (ascending ``(size, name)``) that leaves at least 1."""
    if value is None or not math.isfinite(value):
        return NOTHING
    size, name = steps[0]
    for candidate, label in steps:
        if abs(value) >= candidate:
            size, name = candidate, label
    return f"{trimmed(value / size, digits)} {name}"


DURATIONS = ((1e-3, "ms"), (1.0, "s"), (60.0, "min"), (3600.0, "h"), (86400.0, "days"))
BYTES = ((1.0, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB"), (1e12, "TB"))
# People know batteries and bills in watt-hours; one of them is 3,600 joules.
ENERGY = ((1e-3, "mJ"), (1.0, "J"), (3600.0, "Wh"), (3.6e6, "kWh"), (3.6e9, "MWh"))


def duration(seconds: float | None) -> str:
    if seconds == 0:
        return "0 s"
    return scaled(seconds, DURATIONS)


def size(number_of_bytes: float | None) -> str:
    return scaled(number_of_bytes, BYTES)


def energy(joules: float | None) -> str:
    if joules == 0:
        return "0 J"
    return scaled(joules, ENERGY)


def amount(value: float | None, currency: str) -> str:
    """Money, the currency after the figure because symbols are ambiguous between countries."""
    if value is None:
        return NOTHING
    shown = f"{value:,.2f}" if abs(value) >= 1 or value == 0 else trimmed(value)
    return f"{shown} {currency}".rstrip()


def is_share(metric_name: str, values: list[float]) -> bool:
    """Whether a metric is a share of right answers, to be shown in per cent."""
    words = ("accuracy", "exact", "match", "f1", "recall", "precision", "share", "top")
    return any(word in metric_name.lower() for word in words) and all(0 <= value <= 1 for value in values)


def lower_is_better(metric_name: str) -> bool:
    return any(word in metric_name.lower() for word in ("loss", "perplexity", "error", "nll", "distance"))


WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def moment(seconds: float | None) -> str:
    """A point of virtual time, which begins on a Monday at 00:00 UTC: ``Tue 03:10:05``, later ones with their week."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    week = f", week {days // 7 + 1}" if days >= 7 else ""
    return f"{WEEKDAYS[days % 7]} {hour:02d}:{minute:02d}:{second:02d}{week}"


def plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def tier_name(tier: str) -> str:
    """A device tier in words."""
    return "single-board computer" if tier == "sbc" else worded(tier)


def worded(name: str) -> str:
    """A key of the result as words: ``single_board`` reads 'single board'."""
    return name.replace("_", " ").replace("-", " ").strip() or name
