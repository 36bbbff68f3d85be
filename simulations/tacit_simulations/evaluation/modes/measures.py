"""Figures over the answers to all questions: weighted means, quantiles, intervals, calibration, routing errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.randomness import stream
from tacit_simulations.evaluation.modes.asking import Outcome

F64 = NDArray[np.float64]
RESAMPLES: Final = 2000
BINS: Final = 10


@dataclass(frozen=True, eq=False)
class Pool:
    """Answers to ``n`` questions. Several answers to one question share a weight of 1 (a mixture); shapes ``(m,)``."""

    outcomes: tuple[Outcome, ...]
    question: NDArray[np.intp]  # which of the n questions each answers
    weight: F64
    n: int

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> "Pool":
        """One answer to each question."""
        count = len(outcomes)
        return cls(tuple(outcomes), np.arange(count), np.ones(count), count)

    def values(self, get: Callable[[Outcome], float]) -> F64:
        """``get`` of every answer, shape ``(m,)``."""
        return np.array([get(outcome) for outcome in self.outcomes], dtype=np.float64)

    def mean(self, get: Callable[[Outcome], float]) -> float:
        """Per question."""
        return float(np.dot(self.weight, self.values(get)) / self.n)

    def total(self, get: Callable[[Outcome], float]) -> float:
        return float(np.dot(self.weight, self.values(get)))

    def per_question(self, get: Callable[[Outcome], float]) -> F64:
        """Shape ``(n,)``."""
        summed = np.bincount(self.question, self.weight * self.values(get), minlength=self.n)
        return np.asarray(summed, dtype=np.float64)

    def came(self) -> NDArray[np.bool_]:
        """Which answers belong to questions none of whose answers failed, shape ``(m,)``: those that can be timed."""
        lost = self.per_question(lambda outcome: bool(outcome.failed)) > 0
        return np.asarray(~lost[self.question])

    def only(self, keep: Callable[[Outcome], bool]) -> "Pool":
        """The questions all of whose answers ``keep`` is true of, numbered anew."""
        kept = np.array([keep(outcome) for outcome in self.outcomes], dtype=bool)
        rows = np.flatnonzero(kept)
        questions, renumbered = np.unique(self.question[rows], return_inverse=True)
        outcomes = tuple(self.outcomes[row] for row in rows)
        return Pool(outcomes, np.asarray(renumbered, dtype=np.intp), self.weight[rows], len(questions))


def right(outcome: Outcome) -> float:
    return float(outcome.right)


def escalated(outcome: Outcome) -> float:
    """1 where the large model was asked at least once."""
    return float(outcome.whole.calls > 0)


def quantile(values: F64, weight: F64, share: float) -> float:
    """The least value with at least ``share`` of the weight at or below it (nearest rank). Shapes ``(m,)``."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weight[order])
    at = int(np.searchsorted(reached, share * reached[-1] * (1 - 1e-12)))
    return float(values[order[min(at, len(order) - 1)]])


def interval(per_question: F64, seed: int) -> tuple[float, float]:
    """A 95 % interval of the mean: percentiles of RESAMPLES bootstrap means (Efron 1979). Shape ``(n,)``."""
    low, high = np.quantile(_resampled(per_question, seed), (0.025, 0.975))
    return float(low), float(high)


def gap_interval(answers: F64, slm: F64, llm: F64, seed: int) -> tuple[float, float] | tuple[None, None]:
    """A 95 % interval of PGR by the same resamples of all three, shapes ``(n,)``.

    None where one resample or more has no gap: then nothing can be said of shares of it.
    """
    mine, small, large = (_resampled(each, seed) for each in (answers, slm, llm))
    if (large <= small).any():
        return None, None
    low, high = np.quantile((mine - small) / (large - small), (0.025, 0.975))
    return float(low), float(high)


def _resampled(per_question: F64, seed: int) -> F64:
    """Means of RESAMPLES resamples of the questions, the same questions for every array of that length and seed."""
    n = len(per_question)
    counts = stream(seed, "modes-bootstrap").multinomial(n, np.full(n, 1 / n), RESAMPLES)
    return np.asarray(counts @ per_question / n, dtype=np.float64)


def calibration_error(confidence: F64, correct: F64) -> float | None:
    """ECE over BINS equal bins (Guo et al. 2017, eq. 3); NaN confidences are left out, None where all are NaN.

    Shapes ``(n,)``, both in [0, 1].
    """
    told = np.isfinite(confidence)
    if not told.any():
        return None
    confidence, correct = confidence[told], correct[told]
    bins = np.minimum((confidence * BINS).astype(np.intp), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    gaps = np.bincount(bins, confidence - correct, minlength=BINS)
    return float(np.abs(gaps).sum() / counts.sum())


def gap_recovered(quality: float, slm: float, llm: float) -> float | None:
    """PGR: what share of the gap between small and large model is closed. None without a gap."""
    return None if llm == slm else (quality - slm) / (llm - slm)


def area_recovered(points: Sequence[tuple[float, float]], slm: float, llm: float) -> float | None:
    """APGR of a sweep: ``points`` are (share of questions escalated, quality); 0.5 is a straight line.

    The always-local and the always-escalating end, (0, slm) and (1, llm), are added. None without a gap.
    """
    if llm == slm:
        return None
    share, quality = _curve(points, slm, llm)
    area = float(np.sum(np.diff(share) * (quality[1:] + quality[:-1]) / 2))
    return (area - slm) / (llm - slm)


def calls_to_recover(points: Sequence[tuple[float, float]], part: float, slm: float, llm: float) -> float | None:
    """CPT of a sweep: the least share of questions escalated at which ``part`` of the gap is closed, by straight lines.

    None where there is no gap to close.
    """
    if llm <= slm:
        return None
    share, quality = _curve(points, slm, llm)
    wanted = slm + part * (llm - slm)
    for at in range(len(share)):
        if quality[at] >= wanted - 1e-12:
            if at == 0:
                return float(share[0])
            rise = quality[at] - quality[at - 1]
            inside = (wanted - quality[at - 1]) / rise if rise > 0 else 1.0
            return float(share[at - 1] + inside * (share[at] - share[at - 1]))
    return None


def confidence_curve(confidence: F64, slm: F64, llm: F64) -> list[tuple[float, float]]:
    """(share escalated, quality) when the least confident questions are asked of the large model first.

    Shapes ``(n,)``; ``slm`` and ``llm`` are 1 for right. Equally confident questions go together: within them the line
    is straight, as if a coin chose.
    """
    order = np.argsort(confidence, kind="stable")
    gains = np.cumsum((llm - slm)[order])
    last = np.flatnonzero(np.append(np.diff(confidence[order]) > 0, True))  # of each run of equals
    start = float(slm.mean())
    return [(float(at + 1) / len(order), start + float(gains[at]) / len(order)) for at in last]


def _curve(points: Sequence[tuple[float, float]], slm: float, llm: float) -> tuple[F64, F64]:
    """Points in order of share with both ends; of several at one share the mean."""
    found: dict[float, list[float]] = {}
    for share, quality in (*points, (0.0, slm), (1.0, llm)):
        found.setdefault(share, []).append(quality)
    shares = sorted(found)
    return np.array(shares), np.array([float(np.mean(found[share])) for share in shares])


@dataclass(frozen=True, slots=True)
class RoutingErrors:
    """Shares of all questions. Right and wrong as always-local and always-LLM (redacted) were."""

    over_escalation: float  # asked the large model though the small one is right
    under_escalation: float  # did not ask though only the large one is right
    both_wrong_waste: float  # asked though neither is right


def routing_errors(asked: F64, slm: F64, llm: F64) -> RoutingErrors:
    """``asked``: share of each question's answers that asked the large model; the others 1 for right. Shapes (n,)."""
    return RoutingErrors(
        over_escalation=float(np.mean(asked * slm)),
        under_escalation=float(np.mean((1 - asked) * (1 - slm) * llm)),
        both_wrong_waste=float(np.mean(asked * (1 - slm) * (1 - llm))),
    )
