"""Which of two answers is likelier to be right: evidence as log-odds, added up, with nothing ever ruled out."""

import math
from dataclasses import dataclass

from pydantic import BaseModel, Field

_SUREST = 0.98  # no single figure settles it


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one answer; None where nothing is."""

    confidence: float | None = None  # 0 to 1, of the model that gave it
    likelihood: float | None = None  # mean log-probability per token by the local model, nats, at most 0
    consistency: float | None = None  # mean agreement with further samples of the local model, 0 to 1
    flags: int = 0  # remarks that its text has earned


class Weights(BaseModel, frozen=True, extra="forbid"):
    """How much each kind of evidence counts."""

    llm_prior: float = Field(default=0.75, gt=0, lt=1)  # how often the large model is right, as far as one knows
    likelihood: float = Field(default=0.25, ge=0)  # per nat and token
    consistency: float = Field(default=1.0, ge=0)  # log-odds for all samples against none
    flag: float = Field(default=2.0, ge=0)  # log-odds that a flag costs


def local_share(local: Evidence, remote: Evidence, weights: Weights) -> float:
    """Probability that the local answer is the right one, given that one of the two is: a logarithmic opinion pool.

    Confidence and prior enter as independent testimonies (naive Bayes, the two answers exclusive); differences of
    likelihood and consistency, and flags, are added as log-odds (Genest and Zidek 1986, section 3). It is as calibrated
    as confidence and prior are. Evidence that one side lacks counts for neither.
    """
    odds = _odds(_known(local.confidence)) - _odds(weights.llm_prior)
    odds += weights.likelihood * _gap(local.likelihood, remote.likelihood)
    odds += weights.consistency * _gap(local.consistency, remote.consistency)
    odds -= weights.flag * (local.flags - remote.flags)
    return _probability(odds)


def agreed_confidence(local: Evidence, weights: Weights) -> float:
    """Probability that an answer which both give is right, if they err independently and never alike.

    Models err alike more often than that, so this is an upper figure.
    """
    return _probability(_odds(_known(local.confidence)) + _odds(weights.llm_prior))


def _known(confidence: float | None) -> float:
    return 0.5 if confidence is None or not math.isfinite(confidence) else confidence


def _odds(probability: float) -> float:
    kept = min(max(probability, 1 - _SUREST), _SUREST)
    return math.log(kept / (1 - kept))


def _gap(first: float | None, second: float | None) -> float:
    return 0.0 if first is None or second is None else first - second


def _probability(odds: float) -> float:
    return 1 / (1 + math.exp(-min(max(odds, -700.0), 700.0)))
