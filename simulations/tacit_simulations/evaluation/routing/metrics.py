"""How good a router's order of prompts is, as RouteLLM measures it, with its loose ends tied.

Everywhere: ``score`` (n,) is higher where the large model should be asked; ``slm`` and ``llm`` (n,) are 0 or 1, was the
answer right. Nothing is random but the bootstrap, whose generator is passed in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]

PARTS: Final = 10
LEVELS: Final = (20, 50, 80)  # per cent of the gap, of CPT


def curve(score: ArrayLike, slm: ArrayLike, llm: ArrayLike) -> tuple[Vector, Vector]:
    """Share asked and accuracy of the mix at the 11 decile edges of ``score``, shapes (11,), rising in the share.

    Source: lm-sys/RouteLLM ``routellm/evals/evaluate.py``, ``pd.qcut(score, 10, retbins=True)``: the large one answers
    from each edge on, and above the last. Edges: equal scores stay together, so edges may coincide, and points with
    them; one score for all leaves the two ends of the curve. Raises ValueError for no rows or a score that is NaN.
    """
    s, small, large = (np.asarray(each, dtype=np.float64) for each in (score, slm, llm))
    if not s.size or not s.shape == small.shape == large.shape or np.any(np.isnan(s)):
        raise ValueError(f"scores of shape {s.shape} for answers of shape {small.shape} and {large.shape}, none NaN")
    # whole numbers in place of an interpolated edge: who lies above it must not turn on its last digit
    edges = np.sort(s)[[-(-(s.size - 1) * part // PARTS) for part in range(PARTS)]]
    asked = np.array([s >= edge for edge in edges] + [np.zeros(s.size, dtype=bool)])
    share = asked.mean(axis=1)
    quality = np.where(asked, large, small).mean(axis=1)
    order = np.lexsort((quality, share))
    return share[order], quality[order]


def apgr(score: ArrayLike, slm: ArrayLike, llm: ArrayLike) -> float:
    """Average performance gap recovered: the area under ``curve`` above the small model, over that of the large one.

    A random order has 0.5 in expectation, the oracle more than 1 where the small model is sometimes the only one right.
    Edges: NaN where both models are right equally often, since there is no gap. Negative gaps turn the sign around.
    """
    share, quality = curve(score, slm, llm)
    small, large = _mean(slm), _mean(llm)
    if small == large:
        return float("nan")
    area = float(np.trapezoid(quality, share))  # shares reach from 0 to 1
    return (area - small) / (large - small)


def cpt(score: ArrayLike, slm: ArrayLike, llm: ArrayLike, levels: Sequence[int] = LEVELS) -> dict[str, float | None]:
    """Call-performance threshold: per cent of prompts to ask to recover 20, 50, 80 per cent of the gap.

    RouteLLM interpolates in a curve that it takes to rise, which ``np.interp`` needs and nobody checks. Here it is the
    smallest share at which the straight lines between the points of ``curve`` reach that quality: the same number where
    the curve rises, and still the right one where it does not. None where the large model is not better.
    """
    share, quality = curve(score, slm, llm)
    small, large = _mean(slm), _mean(llm)
    if large <= small:
        return {str(level): None for level in levels}
    return {str(level): 100 * _first(share, quality, small + level / 100 * (large - small)) for level in levels}


def _first(share: Vector, quality: Vector, wanted: float) -> float:
    """Where the line through the points first reaches ``wanted``; the last point always does."""
    at = int(np.argmax(quality >= wanted - 1e-12))
    if at == 0 or quality[at] == quality[at - 1]:
        return float(share[at])
    part = (wanted - quality[at - 1]) / (quality[at] - quality[at - 1])
    return float(share[at - 1] + min(1.0, part) * (share[at] - share[at - 1]))


def oracle(slm: ArrayLike, llm: ArrayLike) -> float:
    """The APGR of asking exactly where only the large model is right, first of all (RouteLLM's definition).

    Above 1, for it keeps what only the small model gets right. NaN where there is no gap.
    """
    small, large = np.asarray(slm, dtype=np.float64), np.asarray(llm, dtype=np.float64)
    gap = float(large.mean() - small.mean())
    if gap == 0:
        return float("nan")
    share = np.linspace(0, 1, PARTS + 1)
    quality = small.mean() + np.minimum(share, np.mean((large == 1) & (small == 0)))
    return float(np.trapezoid(quality - small.mean(), share)) / gap


def _mean(values: ArrayLike) -> float:
    return float(np.asarray(values, dtype=np.float64).mean())


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % interval by percentiles of the bootstrap."""

    value: float
    low: float
    high: float


def bootstrap(
    scores: Sequence[ArrayLike],
    slm: ArrayLike,
    llm: ArrayLike,
    rng: np.random.Generator,
    resamples: int = 1000,
    groups: Sequence[str] | None = None,
) -> Vector:
    """APGR of each of ``scores`` on the same ``resamples`` draws of rows with replacement, (resamples, len(scores)).

    Paired: differences of columns are what two routers differ by on the same rows. A draw without a gap gives NaN.
    With ``groups`` whole groups are drawn: what would other subjects have shown, rather than other questions on these.
    """
    all_scores = np.array([np.asarray(each, dtype=np.float64) for each in scores])
    small, large = np.asarray(slm, dtype=np.float64), np.asarray(llm, dtype=np.float64)
    units = _units(groups) if groups is not None else [np.array([row]) for row in range(len(small))]
    found = np.empty((resamples, len(all_scores)))
    for draw in range(resamples):
        rows = np.concatenate([units[unit] for unit in rng.integers(len(units), size=len(units))])
        found[draw] = [apgr(each[rows], small[rows], large[rows]) for each in all_scores]
    return found


def _units(groups: Sequence[str]) -> list[NDArray[np.int64]]:
    """Rows of each group."""
    names, index = np.unique(np.array(groups, dtype=np.str_), return_inverse=True)
    return [np.flatnonzero(index == name) for name in range(len(names))]


def interval(draws: ArrayLike, value: float) -> tuple[float, float]:
    """Their 2.5 and 97.5 per cent points, NaN among them left out. Edges: none for a ``value`` that is NaN itself."""
    known = np.asarray(draws, dtype=np.float64)
    known = known[np.isfinite(known)]
    if not known.size or np.isnan(value):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def difference(
    score: ArrayLike,
    other: ArrayLike,
    slm: ArrayLike,
    llm: ArrayLike,
    rng: np.random.Generator,
    resamples: int = 1000,
) -> Interval:
    """APGR of ``score`` less that of ``other`` on the same rows, with its paired interval."""
    return differences(bootstrap([score, other], slm, llm, rng, resamples), [score, other], slm, llm)[0]


def differences(draws: Vector, scores: Sequence[ArrayLike], slm: ArrayLike, llm: ArrayLike) -> list[Interval]:
    """Of the first of ``scores`` to each other one, from ``draws`` that ``bootstrap`` made of them."""
    first = apgr(scores[0], slm, llm)
    found = []
    for column, other in enumerate(scores[1:], 1):
        value = first - apgr(other, slm, llm)
        found.append(Interval(value, *interval(draws[:, 0] - draws[:, column], value)))
    return found


def ece(probability: ArrayLike, happened: ArrayLike, parts: int = PARTS) -> float:
    """Expected calibration error over ``parts`` of equally many rows: mean distance of probability from frequency."""
    p, h = np.asarray(probability, dtype=np.float64), np.asarray(happened, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    bins = [part for part in np.array_split(order, min(parts, len(p))) if len(part)]
    return float(sum(abs(p[part].mean() - h[part].mean()) * len(part) for part in bins) / len(p))


def decisions(asked: ArrayLike, slm: ArrayLike, llm: ArrayLike) -> dict[str, float]:
    """What a threshold does, as shares of all prompts.

    ``over``: asked though the small model was right; ``under``: not asked though only the large one was;
    ``both_wrong``: asked and neither was; ``accuracy``: of the mix.
    """
    chosen = np.asarray(asked, dtype=bool)
    small, large = np.asarray(slm) == 1, np.asarray(llm) == 1
    return {
        "achieved_rate": float(np.mean(chosen)),
        "over_escalation": float(np.mean(chosen & small)),
        "under_escalation": float(np.mean(~chosen & ~small & large)),
        "both_wrong_waste": float(np.mean(chosen & ~small & ~large)),
        "accuracy": float(np.mean(np.where(chosen, large, small))),
    }
