"""The drawings of an audit report: plain SVG, each with a text for those who do not see it."""

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from tacit_privacy.audit.document import AtDelta, Guarantee, Often
from tacit_privacy.audit.reading import as_given
from tacit_privacy.drawing import LinearAxis, LogAxis
from tacit_privacy.wording import rounded_down, rounded_up

_MOST_BARS = 24
_SIZES = (("wide", 720, 340), ("narrow", 340, 300))  # a drawing scaled down to a phone has text of 5 pixels


def curve(guarantee: Guarantee, cap: float | None, lower: float | None) -> Markup:
    """delta over epsilon, the point that is promised, the cap and what was measured; nothing where no bound holds."""
    points = [point for point in guarantee.curve if math.isfinite(point.epsilon)]
    if len(points) < 2 or not math.isfinite(guarantee.epsilon):
        return Markup("")
    label = (
        f"delta falls from {points[0].delta:.2g} at epsilon {points[0].epsilon:.3g} to {points[-1].delta:.2g} at "
        f"epsilon {points[-1].epsilon:.3g}; promised is epsilon {rounded_up(guarantee.epsilon)} at delta "
        f"{as_given(guarantee.delta)}"
    )
    drawn = [_curve(points, guarantee, cap, lower, *size[1:]) for size in _SIZES]
    return _both(drawn, label)


def bars(often: Sequence[Often]) -> Markup:
    """How many devices took part how often; nothing where there are too many columns to tell apart."""
    if not often or len(often) > _MOST_BARS:
        return Markup("")
    label = "; ".join(f"{row.devices:,} devices in {row.times} releases" for row in often)
    return _both([_bars(often, *size[1:]) for size in _SIZES], label)


def _both(drawn: Sequence[Markup], label: str) -> Markup:
    frame = Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    return Markup("").join(
        frame.format(name, width, height, label, parts)
        for (name, width, height), parts in zip(_SIZES, drawn, strict=True)
    )


def _curve(
    points: Sequence[AtDelta], guarantee: Guarantee, cap: float | None, lower: float | None, width: int, height: int
) -> Markup:
    left, right, top, bottom = 58, width - 16, 34, height - 46
    shown = [point.epsilon for point in points] + [value for value in (cap, lower) if value is not None]
    across = LinearAxis(max(1e-3, *(value for value in shown if value <= 2 * points[-1].epsilon)), left, right)
    up = LogAxis([point.delta for point in points], bottom, top)
    parts = [_grid(across, up, (left, right, top, bottom))]
    for value, kind, name in ((cap, "cap", "cap"), (lower, "lower", "measured, at least")):
        if value is not None and value <= across.high:
            parts.append(_upright(across.at(value), top, bottom, kind, name, width))
    path = " ".join(f"{across.at(point.epsilon):.1f},{up.at(point.delta):.1f}" for point in points)
    parts.append(Markup('<polyline class="curve" points="{}"/>').format(path))
    x, y = across.at(guarantee.epsilon), up.at(guarantee.delta)
    anchor = "end" if x > width * 0.6 else "start"
    aside, words = (-9 if anchor == "end" else 9), f"ε {rounded_up(guarantee.epsilon)} at δ {as_given(guarantee.delta)}"
    parts.append(Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="5"/>').format(x, y))
    parts.append(_text(x + aside, y + (18 if anchor == "end" else -10), words, anchor, "strong"))
    parts.append(_text((left + right) / 2, height - 8, "epsilon", "middle"))
    parts.append(_text(4, 16, "delta", "start"))
    return Markup("").join(parts)


def _grid(across: LinearAxis, up: LogAxis, box: tuple[int, int, int, int]) -> Markup:
    left, right, top, bottom = box
    line = Markup('<line class="grid" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
    parts = []
    for value in across.ticks:
        x = across.at(value)
        parts += [line.format(x, x, top, bottom), _text(x, bottom + 18, f"{value:.6g}", "middle")]
    decades = up.decades
    for value in decades[:: math.ceil(len(decades) / 7)]:
        y = up.at(value)
        parts += [line.format(left, right, y, y), _text(left - 8, y + 4, f"{value:g}", "end")]
    return Markup("").join(parts)


def _upright(x: float, top: int, bottom: int, kind: str, name: str, width: int) -> Markup:
    line = Markup('<line class="{}" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>').format(kind, x, x, top, bottom)
    anchor = "end" if x > width * 0.75 else "start" if x < width * 0.2 else "middle"
    return line + _text(x, top - 6, name, anchor)


def _bars(often: Sequence[Often], width: int, height: int) -> Markup:
    left, right, top, bottom = 16, width - 16, 30, height - 46
    room = (right - left) / len(often)
    up = LinearAxis(max(row.devices for row in often), bottom, top)
    parts = []
    for place, row in enumerate(often):
        middle, wide, y = left + (place + 0.5) * room, min(70.0, 0.7 * room), up.at(row.devices)
        parts.append(
            Markup('<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                middle - wide / 2, y, wide, bottom - y
            )
        )
        parts.append(_text(middle, bottom + 18, str(row.times), "middle"))
        if room >= 8 * len(f"{row.devices:,}"):
            parts.append(_text(middle, y - 6, f"{row.devices:,}", "middle"))
    parts.append(_text((left + right) / 2, height - 8, "releases that a device took part in", "middle"))
    parts.append(_text(4, 14, "devices", "start"))
    return Markup("").join(parts)


def _text(x: float, y: float, words: str, anchor: str, kind: str = "quiet") -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        kind, x, y, anchor, escape(words)
    )


def measured(lower: float | None) -> str:
    """A lower bound in a tile."""
    return "not measured" if lower is None else rounded_down(lower)
