"""The console's plots: SVG made on the server, each with a text for those who do not see it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup

from tacit_privacy.audit.document import Often
from tacit_privacy.audit.figures import bars as bars_of
from tacit_privacy.drawing import LinearAxis
from tacit_privacy.wording import rounded_up

_SIZES: Final = (("wide", 720, 250), ("narrow", 340, 230))  # scaled down to a phone, text would have 5 pixels
_MOST_DOTS: Final = 60
_MOST_BARS: Final = 120
_LEFT, _ABOVE, _BELOW = 46, 26, 40
Box = tuple[int, int, int, int]  # left, right, top, bottom


def gauge(spent: float, cap: float) -> Markup:
    """How much of a budget is spent."""
    share = min(1.0, spent / cap)
    kind = "full" if share >= 0.9 else "some"
    return Markup(
        '<svg class="gauge" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<rect class="track" width="100" height="6" rx="1"/><rect class="{}" width="{:.2f}" height="6" rx="1"/></svg>'
    ).format(f"epsilon {rounded_up(spent)} of {cap:g} is spent", kind, 100 * share)


def steps(points: Sequence[tuple[int, float]], cap: float, what: str) -> Markup:
    """Epsilon after each of ``what`` (a round, a release) and the cap; nothing where there is none yet."""
    if not points:
        return Markup("")
    first, last = points[0], points[-1]
    label = (
        f"epsilon is {rounded_up(first[1])} after {what} {first[0]} and {rounded_up(last[1])} after {what} {last[0]}; "
        f"the cap is {cap:g}"
    )
    return _both([_steps(points, cap, what, *size[1:]) for size in _SIZES], label)


def completed(records: Sequence[Mapping[str, Any]], cohort: int) -> Markup:
    """Updates that each round completed with, beside the cohort that was asked for."""
    if not records:
        return Markup("")
    shown = records[-_MOST_BARS:]
    told = ", ".join(f"{record['completed']} in round {record['round']}" for record in shown[-10:])
    label = f"updates that rounds completed with, of a cohort of {cohort}: {told}"
    return _both([_completed(shown, cohort, *size[1:]) for size in _SIZES], label)


def bars(often: Sequence[tuple[int, int]]) -> Markup:
    """How many devices took part how often."""
    return bars_of([Often(times=times, devices=devices) for times, devices in often])


def _both(drawn: Sequence[Markup], label: str) -> Markup:
    frame = Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    return Markup("").join(
        frame.format(name, width, height, label, parts)
        for (name, width, height), parts in zip(_SIZES, drawn, strict=True)
    )


def _steps(points: Sequence[tuple[int, float]], cap: float, what: str, width: int, height: int) -> Markup:
    box = (_LEFT, width - 14, _ABOVE, height - _BELOW)
    left, right, top, bottom = box
    first, last = points[0][0], points[-1][0]
    up = LinearAxis(max(cap, *(value for _, value in points), points[0][1]), bottom, top)

    def across(number: int) -> float:
        share = 0.5 if first == last else (number - first) / (last - first)
        return left + 8 + (right - left - 16) * share

    y = up.at(cap)
    path = " ".join(f"{across(number):.1f},{up.at(value):.1f}" for number, value in points)
    line = Markup('<line class="cap" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>')
    curve = Markup('<polyline class="curve" points="{}"/>')
    parts = [_levels(up, box), line.format(left, right, y, y), _text(right, y - 5, f"cap {cap:g}", "end")]
    parts.append(curve.format(path))
    if len(points) <= _MOST_DOTS:
        dot = Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="3.5"/>')
        parts += [dot.format(across(number), up.at(value)) for number, value in points]
    parts += [_text(across(number), bottom + 17, str(number), "middle") for number in sorted({first, last})]
    parts += [_text((left + right) / 2, height - 5, what, "middle"), _text(4, 14, "epsilon", "start")]
    return Markup("").join(parts)


def _completed(records: Sequence[Mapping[str, Any]], cohort: int, width: int, height: int) -> Markup:
    box = (_LEFT, width - 14, _ABOVE, height - _BELOW)
    left, right, top, bottom = box
    up = LinearAxis(max(cohort, *(record["completed"] for record in records), 1), bottom, top)
    room, y = (right - left) / len(records), up.at(cohort)
    bar = Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>')
    parts = [_levels(up, box)]
    for place, record in enumerate(records):
        at, wide = up.at(record["completed"]), min(46.0, 0.7 * room)
        kind, x = "bar" if record["released"] else "bar void", left + (place + 0.5) * room - wide / 2
        parts.append(bar.format(kind, x, at, wide, bottom - at))
    parts.append(Markup('<line class="lower" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(left, right, y, y))
    parts.append(_text(right, y - 5, f"cohort {cohort}", "end"))
    for place in sorted({0, len(records) - 1}):
        parts.append(_text(left + (place + 0.5) * room, bottom + 17, str(records[place]["round"]), "middle"))
    parts += [_text((left + right) / 2, height - 5, "round", "middle"), _text(4, 14, "updates", "start")]
    return Markup("").join(parts)


def _levels(up: LinearAxis, box: Box) -> Markup:
    left, right, _, _ = box
    line = Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>')
    parts = []
    for value in up.ticks:
        y = up.at(value)
        parts += [line.format(left, right, y, y), _text(left - 7, y + 4, f"{value:.6g}", "end")]
    return Markup("").join(parts)


def _text(x: float, y: float, words: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, words)
