"""What canaries of one run show: the one-shot estimate and the one-run lower bound, beside what the run claims."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, ValidationError

from tacit_privacy.audit.empirical import F64, Estimate, one_shot_estimate
from tacit_privacy.audit.one_run import OneRun, one_run
from tacit_privacy.contract import Fact
from tacit_privacy.errors import BadInput
from tacit_privacy.wording import sentence

Claim = Literal["gaussian", "any"]  # what the claimed epsilon comes from: a Gaussian trade-off curve, or anything
CONFIDENCE = 0.95

Row = TypeVar("Row", bound="Scored")


class Scored(Fact):
    """One canary as an attacker sees it: how much of it seems to be in what was released, and whether it was."""

    score: float = Field(allow_inf_nan=False)
    included: bool


class CanaryRow(Scored):
    """A canary of a simulated run; ``score`` in standard deviations of what one that was left out would score."""

    canary: int = Field(ge=0)
    device: int = Field(ge=0)
    participations: int = Field(ge=0)  # releases that its reply was summed into


@dataclass(frozen=True, slots=True)
class Measured:
    """An empirical lower bound and the estimate beside it; ``claim`` says which of the one-run bounds it is."""

    claim: Claim
    null: Literal["closed form", "scores of those left out"]
    estimate: Estimate | None
    one_run: OneRun

    @property
    def lower_bound(self) -> float:
        """Epsilon, at least, with the confidence asked for: the bound that can refute this kind of claim."""
        return self.one_run.epsilon_gaussian if self.claim == "gaussian" else self.one_run.epsilon_any

    def as_json(self) -> dict[str, Any]:
        shown = self.estimate
        return {
            "claim": self.claim,
            "canaries": self.one_run.canaries,
            "included": self.one_run.included,
            "estimate": shown.epsilon if shown else None,
            "estimate_low": shown.low if shown else None,
            "estimate_high": shown.high if shown else None,
            "null": self.null,
            "lower_bound": self.lower_bound,
            "confidence": self.one_run.confidence,
            "delta": self.one_run.delta,
            "one_run": self.one_run.as_json(),
        }


def measure(
    scores: ArrayLike, included: ArrayLike, delta: float, confidence: float, claim: Claim, standard: bool = False
) -> Measured:
    """Estimate and lower bound from the scores of canaries, each included by its own fair coin.

    Shapes: ``(m,)`` scores, higher for canaries that seem to be in; ``(m,)`` truth. ``standard`` says that scores of
    canaries left out are N(0, 1) by construction; else they are measured by those scores themselves. Raises BadInput.
    """
    bound = one_run(scores, included, delta, confidence)
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(included, dtype=np.bool_)
    seen = values[truth] if standard else _standardised(values[truth], values[~truth])
    estimate = one_shot_estimate(seen, delta, confidence) if seen is not None else None
    return Measured(claim, "closed form" if standard else "scores of those left out", estimate, bound)


def _standardised(seen: F64, unseen: F64) -> F64 | None:
    """``seen`` in units of ``unseen``; None where these are too few or all alike."""
    spread = float(np.std(unseen, ddof=1)) if len(unseen) > 2 else 0.0
    if not (spread > 0 and math.isfinite(spread)):
        return None
    return np.asarray((seen - np.mean(unseen)) / spread, dtype=np.float64)


def claim_of(sampling: str, roster: str) -> Claim:
    """What a run's epsilon comes from: a Gaussian curve, unless it counts on a sealed draw of who takes part."""
    return "any" if sampling != "fixed" and roster == "sealed" else "gaussian"


def measure_rows(rows: Sequence[CanaryRow], delta: float, confidence: float, claim: Claim) -> Measured | None:
    """The canaries of a simulated run; None where none took part.

    A Gaussian claim holds for every pattern of participations, so an attacker may know it and leave out canaries that
    never took part. Amplification by sampling rests on that being unknown: then all canaries are scored alike.
    """
    if not any(row.participations for row in rows):
        return None
    scored = [row for row in rows if row.participations or claim == "any"]
    # a canary's scores of several releases add up, and these may be alike: then their spread is measured
    standard = claim == "any" or all(row.participations == 1 for row in scored)
    return measure([row.score for row in scored], [row.included for row in scored], delta, confidence, claim, standard)


def read_scores(lines: Iterable[str], source: str) -> list[Scored]:
    """Rows ``{"score": x, "included": 0 or 1}``, one a line; further keys are left alone. Raises BadInput."""
    return [_row(line, number, source, Scored) for number, line in _numbered(lines)]


def read_canaries(lines: Iterable[str], source: str) -> list[CanaryRow]:
    """Rows of a simulated run's ``canaries.jsonl``. Raises BadInput."""
    return [_row(line, number, source, CanaryRow) for number, line in _numbered(lines)]


def _numbered(lines: Iterable[str]) -> Iterable[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(lines, 1) if line.strip())


def _row(line: str, number: int, source: str, kind: type[Row]) -> Row:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise BadInput(f"{source}, line {number} is not JSON; write one row a line") from error
    if not isinstance(found, Mapping):
        raise BadInput(f'{source}, line {number} is no row; write {{"score": 0.5, "included": 1}}')
    try:
        return kind.model_validate({key: found[key] for key in kind.model_fields if key in found})
    except ValidationError as error:
        raise BadInput(f"{source}, line {number}: {sentence(error, kind)}") from error
