"""Where things go on a chart: round ticks, linear maps, labels that do not run into each other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from data ``[low, high]`` to pixels ``[start, end]`` (``start > end`` flips, as y does)."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.5
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, wanted: int = 5) -> tuple[float, ...]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from at or below ``low`` to at or above ``high``.

    Strictly increasing, at least two, at most ``2 * wanted + 3``. Edges: ``low == high`` widens by one part in ten.
    """
    if high < low:
        low, high = high, low
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-12):
        pad = max(abs(low), 1e-9) * 0.1
        low, high = low - pad, high + pad
    step = _round_step((high - low) / max(1, wanted))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(index * step for index in range(first, max(last, first + 1) + 1))


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= rough * (1 - 1e-9))


def whole_ticks(low: int, high: int, wanted: int) -> tuple[int, ...]:
    """Integers within ``[low, high]``, evenly spaced, both ends of the range if they fit."""
    if high <= low:
        return (low,)
    step = max(1, round(_round_step((high - low) / max(1, wanted))))
    inner = [value for value in range(low, high + 1) if value % step == 0]
    kept = [value for value in inner if value - low > step / 2 and high - value > step / 2]
    return (low, *kept, high)


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """``positions`` moved as little as possible (least squares) until neighbours are ``gap`` apart, in order.

    Pool adjacent violators on ``position - rank * gap`` (Barlow et al. 1972), then the whole is held inside
    ``[low, high]``; when it cannot fit, the gap shrinks to what fits.
    """
    if not positions:
        return []
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    gap = min(gap, (high - low) / max(1, len(positions) - 1))
    ceiling = high - gap * (len(positions) - 1)
    pools: list[tuple[float, int]] = []
    for rank, index in enumerate(order):
        pools.append((positions[index] - rank * gap, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (value, weight), (before, mass) = pools.pop(), pools.pop()
            pools.append(((value * weight + before * mass) / (weight + mass), weight + mass))
    flat = [min(max(value, low), ceiling) for value, weight in pools for _ in range(weight)]
    placed = [0.0] * len(positions)
    for rank, index in enumerate(order):
        placed[index] = flat[rank] + rank * gap
    return placed


def thinned(items: Sequence[T], limit: int) -> tuple[T, ...]:
    """At most ``limit`` of ``items``, evenly spaced, the first and the last always among them."""
    if len(items) <= limit:
        return tuple(items)
    if limit < 2:
        return (items[-1],)
    last = len(items) - 1
    return tuple(items[round(index * last / (limit - 1))] for index in range(limit))


def buckets(items: Sequence[T], limit: int) -> list[Sequence[T]]:
    """``items`` cut into at most ``limit`` runs of neighbours of nearly equal length, none lost."""
    if not items:
        return []
    width = math.ceil(len(items) / limit)
    return [items[start : start + width] for start in range(0, len(items), width)]
