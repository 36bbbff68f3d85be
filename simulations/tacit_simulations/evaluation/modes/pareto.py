"""Which runs nothing beats, and how much a set of runs covers: less of a cost, more quality."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from tacit_simulations.evaluation.modes.baselines import ALWAYS_LOCAL, ALWAYS_REDACTED

Point: TypeAlias = tuple[float, float]  # (cost, quality), both from 0


def front(points: Sequence[Point]) -> list[int]:
    """Indices of the points that no other beats: none is at most as dear and at least as good, and better in one.

    In order of cost; of equal points the first.
    """
    found: list[int] = []
    best = float("-inf")
    for index in sorted(range(len(points)), key=lambda at: (points[at][0], -points[at][1], at)):
        if points[index][1] > best:
            found.append(index)
            best = points[index][1]
    return found


def hypervolume(points: Sequence[Point], most: float) -> float:
    """The area that ``points`` dominate up to the cost ``most`` and down to quality 0, as a share of ``most`` times 1.

    Zitzler and Thiele 1999. 1 would be everything right at no cost; a point dearer than ``most`` covers nothing.
    ``most`` 0: the quality of the best point without cost.
    """
    if most <= 0:
        return max((quality for cost, quality in points if cost <= most), default=0.0)
    area, before = 0.0, 0.0
    inside = [point for point in points if point[0] <= most]
    for cost, quality in [inside[at] for at in front(inside)]:
        area += (most - cost) * max(0.0, quality - before)
        before = max(before, quality)
    return area / most


AXES: Final = ("llm_tokens", "exposed_bytes_share")  # fields of a row, the less the better
_ENDS: Final = frozenset((ALWAYS_LOCAL, ALWAYS_REDACTED))


def label(row: Mapping[str, Any]) -> str:
    """What a run is called: its baseline or mode, and its knob's value."""
    name = str(row["baseline"] or row["mode"])
    if row["knob"] is None:
        return name
    return f"{name} {str(row['knob']).rpartition('.')[2]} {row['value']}"


def fronts(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """For each of AXES the runs on the front, by label, and the hypervolume of each mode and of all runs together.

    ``rows`` are one a run. A mode's hypervolume counts always-local and always-LLM (redacted) with its own points,
    since both are always to be had: what it shows beyond them is what the mode adds.
    """
    told = {}
    for axis in AXES:
        points = [(float(row[axis]), float(row["quality"])) for row in rows]
        most = max((cost for cost, _ in points), default=0.0)
        names = dict.fromkeys(row["baseline"] or row["mode"] for row in rows)
        covered = {
            name: hypervolume([p for row, p in zip(rows, points, strict=True) if _counts(row, name)], most)
            for name in names
        }
        told[axis] = {
            "most": most,
            "front": [label(rows[index]) for index in front(points)],
            "hypervolume": covered | {"all": hypervolume(points, most)},
        }
    return told


def _counts(row: Mapping[str, Any], name: str) -> bool:
    return (row["baseline"] or row["mode"]) == name or row["baseline"] in _ENDS
