"""SVG as escaped markup: the few elements the charts are made of, and the canvases they are drawn on.

Every text and attribute passes through markupsafe, so a tier called ``<script>`` stays a name.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from tacit_simulations.report.scales import spread


@dataclass(frozen=True, slots=True)
class Canvas:
    """A drawing area in CSS pixels: margins hold axes and names, ``text`` is the font size."""

    name: str
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    text: float

    @property
    def x_start(self) -> float:
        return self.left

    @property
    def x_end(self) -> float:
        return self.width - self.right

    @property
    def y_top(self) -> float:
        return self.top

    @property
    def y_base(self) -> float:
        return self.height - self.bottom

    def fits(self, room: float) -> int:
        """Characters that surely fit into ``room`` pixels in any common sans-serif (about 0.58 em each)."""
        return max(4, int(room / (0.58 * self.text)))


# A chart is drawn twice and the page shows the one that fits: one drawing scaled down to a phone has text of 4 pixels.
WIDE = Canvas("wide", width=960, height=380, left=62, right=206, top=44, bottom=46, text=14)
NARROW = Canvas("narrow", width=340, height=320, left=46, right=118, top=46, bottom=44, text=12)
SMALL = Canvas("small", width=360, height=200, left=48, right=12, top=28, bottom=38, text=12)
SMALL_NAMED = Canvas("small", width=360, height=200, left=48, right=62, top=28, bottom=38, text=12)


def element(name: str, *children: Markup | str, **attributes: str | float | None) -> Markup:
    """One element: ``class_`` reads ``class``, ``_`` becomes ``-``, numbers keep one decimal, None is left out."""
    pairs = [
        Markup(' {}="{}"').format(Markup(key.rstrip("_").replace("_", "-")), _plain(value))
        for key, value in attributes.items()
        if value is not None
    ]
    opening = Markup("<") + Markup(name) + Markup("").join(pairs)
    if not children:
        return opening + Markup("/>")
    return opening + Markup(">") + Markup("").join(children) + Markup("</") + Markup(name) + Markup(">")


def svg(canvas: Canvas, described: str, parts: Sequence[Markup]) -> Markup:
    """The whole drawing; to assistive technology it is one image with ``described`` as its text."""
    return element(
        "svg",
        *parts,
        class_=f"chart {canvas.name}",
        viewBox=f"0 0 {canvas.width:g} {canvas.height:g}",
        role="img",
        aria_label=described,
        font_size=canvas.text,
    )


def words(content: str, x: float, y: float, kind: str = "axis", anchor: str | None = None) -> Markup:
    return element("text", escape(content), x=x, y=y, class_=kind, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def path(points: Sequence[tuple[float, float]], kind: str, *, base: float | None = None) -> Markup:
    """A polyline through ``points``; ``base`` closes it down to an area."""
    if not points:
        return Markup("")
    corners = list(points)
    if base is not None:
        corners = [(corners[0][0], base), *corners, (corners[-1][0], base)]
    drawn = "M" + "L".join(f"{_plain(x)} {_plain(y)}" for x, y in corners)
    return element("path", d=drawn + ("Z" if base is not None else ""), class_=kind)


def stairs(points: Sequence[tuple[float, float]], *, centred: float | None = None) -> list[tuple[float, float]]:
    """The corners of a step line: each value holds until the next, or (``centred``) half way to either neighbour.

    ``centred`` is the width of a step in pixels; the first and the last step are as wide as the others.
    """
    half = 0.0 if centred is None else centred / 2
    corners = [(points[0][0] - half, points[0][1])]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        edge = x1 if centred is None else (x0 + x1) / 2
        corners += [(edge, y0), (edge, y1)]
    return [*corners, (points[-1][0] + half, points[-1][1])]


def marker(shape: str, x: float, y: float, kind: str, radius: float = 3.6) -> Markup:
    """A point; the shape says the series where colour cannot."""
    r = radius
    if shape == "square":
        return element("rect", x=x - r, y=y - r, width=2 * r, height=2 * r, class_=kind)
    if shape == "diamond":
        corners = ((x, y - 1.4 * r), (x + 1.4 * r, y), (x, y + 1.4 * r), (x - 1.4 * r, y))
        return _polygon(corners, kind)
    if shape == "triangle":
        return _polygon(((x, y - 1.3 * r), (x + 1.2 * r, y + r), (x - 1.2 * r, y + r)), kind)
    return element("circle", cx=x, cy=y, r=r, class_=kind)


def _polygon(corners: Sequence[tuple[float, float]], kind: str) -> Markup:
    return element("polygon", points=" ".join(f"{_plain(x)},{_plain(y)}" for x, y in corners), class_=kind)


def names_beside(
    canvas: Canvas, names: Sequence[tuple[float, Sequence[str], str]], x: float, *, swatch: bool = False
) -> list[Markup]:
    """Names of series in the right margin, ``(y, lines, tone)`` each, moved apart and tied to their series."""
    if not names:
        return []
    leading = canvas.text * 1.18
    tallest = max(len(lines) for _, lines, _ in names)
    gap = leading * tallest + (3 if tallest > 1 else 1)
    low, high = canvas.y_top + leading / 2, canvas.y_base - leading / 2
    heights = spread([y for y, _, _ in names], gap, low, high)
    room = canvas.fits(canvas.width - x - 20 - (14 if swatch else 0))
    parts: list[Markup] = []
    for (y, lines, tone), height in zip(names, heights, strict=True):
        parts.append(element("path", d=f"M{x + 3:.1f} {y:.1f}L{x + 13:.1f} {height:.1f}", class_=f"tie s-{tone}"))
        start = x + 18
        if swatch:
            parts.append(element("rect", x=start, y=height - 5, width=10, height=10, class_=f"f-{tone}"))
            start += 15
        first = height + canvas.text * 0.35 - leading * (len(lines) - 1) / 2
        for index, content in enumerate(lines):
            kind = "name" if swatch else f"name t-{tone}"
            kind += " strong" if index else ""
            parts.append(words(shortened(content, room), start, first + index * leading, kind))
    return parts


def shortened(content: str, room: int) -> str:
    """``content`` cut to ``room`` characters; the whole stands in the table under the chart."""
    return content if len(content) <= room else content[: max(1, room - 1)].rstrip() + "…"


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
