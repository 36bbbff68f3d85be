"""Where the report puts things, and in which colours."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit_simulations.report import figures
from tacit_simulations.report.palette import FILLS, LINES, TONES
from tacit_simulations.report.scales import buckets, spread, thinned, ticks, whole_ticks

finite = st.floats(-1e9, 1e9)


@given(low=finite, high=finite, wanted=st.integers(1, 10))
def test_ticks_are_few_evenly_spaced_and_enclose_the_data(low: float, high: float, wanted: int) -> None:
    marks = ticks(low, high, wanted)
    low, high = min(low, high), max(low, high)
    slack = 1e-6 * max(high - low, abs(low), abs(high), 1e-9)
    assert 2 <= len(marks) <= 2 * wanted + 3
    assert marks[0] <= low + slack
    assert marks[-1] >= high - slack
    steps = [b - a for a, b in itertools.pairwise(marks)]
    assert min(steps) > 0
    assert max(steps) - min(steps) <= 1e-6 * max(abs(marks[0]), abs(marks[-1]))


@given(low=st.integers(-100, 100), width=st.integers(0, 5000), wanted=st.integers(1, 12))
def test_whole_ticks_keep_both_ends(low: int, width: int, wanted: int) -> None:
    marks = whole_ticks(low, low + width, wanted)
    assert (marks[0], marks[-1]) == (low, low + width)
    assert list(marks) == sorted(set(marks))
    assert len(marks) <= wanted + 3


@given(positions=st.lists(st.floats(0, 300), min_size=1, max_size=12), gap=st.floats(1, 40))
def test_spread_keeps_order_gap_and_bounds(positions: list[float], gap: float) -> None:
    placed = spread(positions, gap, 0, 300)
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    fitting = min(gap, 300 / max(1, len(positions) - 1))
    assert all(placed[b] - placed[a] >= fitting - 1e-6 for a, b in itertools.pairwise(order))
    assert all(-1e-6 <= place <= 300 + 1e-6 for place in placed)


@given(start=st.floats(0, 50), steps=st.lists(st.floats(10, 20), max_size=8))
def test_spread_leaves_alone_what_is_far_enough_apart(start: float, steps: list[float]) -> None:
    positions = list(itertools.accumulate(steps, initial=start))
    assert spread(positions, 9.0, 0, 300) == pytest.approx(positions)


@given(positions=st.lists(st.floats(100, 200), min_size=2, max_size=2))
def test_spread_moves_two_neighbours_equally(positions: list[float]) -> None:
    assert sum(spread(positions, 30.0, 0, 300)) == pytest.approx(sum(positions))


@given(items=st.lists(st.integers(), min_size=1, max_size=300, unique=True), limit=st.integers(2, 50))
def test_thinning_keeps_ends_order_and_limit(items: list[int], limit: int) -> None:
    kept = thinned(items, limit)
    assert len(kept) == min(limit, len(items))
    assert (kept[0], kept[-1]) == (items[0], items[-1])
    assert [items.index(item) for item in kept] == sorted({items.index(item) for item in kept})


@given(items=st.lists(st.integers(), max_size=300), limit=st.integers(1, 60))
def test_buckets_lose_nothing(items: list[int], limit: int) -> None:
    groups = buckets(items, limit)
    assert len(groups) <= limit
    assert [item for group in groups for item in group] == items


@given(value=st.floats(1e-3, 1e14))
def test_scaled_figures_say_the_value_to_three_digits(value: float) -> None:
    for show, units in ((figures.size, figures.BYTES), (figures.energy, figures.ENERGY)):
        number, unit = show(value).rsplit(" ", 1)
        told = float(number.replace(",", "")) * next(size for size, name in units if name == unit)
        assert told == pytest.approx(value, rel=0.006)


@given(share=st.floats(0, 1))
def test_per_cent_is_right_to_a_tenth(share: float) -> None:
    assert abs(float(figures.percent(share).removesuffix("%")) - 100 * share) <= 0.05 + 1e-9


def linear(colour: str) -> tuple[float, float, float]:
    """sRGB hex to linear light (IEC 61966-2-1)."""
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return red, green, blue


def contrast(one: str, other: str) -> float:
    """Contrast ratio of WCAG 2.2, definition "contrast ratio"."""
    shades = sorted(sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear(x), strict=True)) for x in (one, other))
    return (shades[1] + 0.05) / (shades[0] + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_named_lines_reach_the_contrast_of_text_on_every_ground(theme: str) -> None:
    for ground in ("paper", "card"):
        for name in ("ink", "quiet", "alarm", *LINES):
            assert contrast(getattr(TONES[name], theme), getattr(TONES[ground], theme)) >= 4.5, (name, ground)
    assert contrast(getattr(TONES["alarm"], theme), getattr(TONES["alarm-paper"], theme)) >= 4.5
    assert all(contrast(getattr(TONES[name], theme), getattr(TONES["card"], theme)) >= 3 for name in FILLS)


# Machado, Oliveira and Fernandes 2009, "A Physiologically-based Model for Simulation of Color Vision Deficiency",
# severity 1.0, on linear light.
BLINDNESS = {
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
}


def seen(colour: str, matrix: tuple[tuple[float, ...], ...]) -> tuple[float, float, float]:
    """CIELAB (D65) of a colour as seen with ``matrix``."""
    light = [min(1.0, max(0.0, sum(m * c for m, c in zip(row, linear(colour), strict=True)))) for row in matrix]
    to_xyz = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    white = (0.9505, 1.0, 1.089)
    ratios = [sum(m * c for m, c in zip(row, light, strict=True)) / w for row, w in zip(to_xyz, white, strict=True)]
    x, y, z = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in ratios)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", sorted(BLINDNESS))
def test_the_curves_stay_apart_without_red_or_green(kind: str, theme: str) -> None:
    """A just noticeable difference is about 2.3 in CIELAB; the two curves that share a chart get far more."""
    one, other = (seen(getattr(TONES[n], theme), BLINDNESS[kind]) for n in ("federated", "federated-private"))
    assert math.dist(one, other) >= 40
    tones = [seen(getattr(TONES[name], theme), BLINDNESS[kind]) for name in LINES if name != "untrained"]
    assert min(math.dist(a, b) for a, b in itertools.combinations(tones, 2)) >= 8
