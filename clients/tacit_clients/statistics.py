"""The numbers of a device that a round releases beside the adapter, under the same noise."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tacit_clients.training.local import LocalResult
from tacit_privacy.contract import RoundTerms
from tacit_privacy.mechanisms.joint import norm, to_slot


def asks_for_scores(terms: RoundTerms) -> bool:
    """Whether the device has to score the adapter as it was sent."""
    return any(statistic.name in ("loss", "metric") for statistic in terms.statistics)


def slots(terms: RoundTerms, result: LocalResult, scores: Mapping[str, float]) -> NDArray[np.int32]:
    """What stands behind the update, shape ``(statistics,)``: a number that the device does not have is 0."""
    known = dict(scores)
    if result.examples:
        known["within_clip"] = float(norm(result.delta) <= terms.clip_norm)
    found = [to_slot(statistic, known.get(statistic.name), terms.levels) for statistic in terms.statistics]
    return np.array(found, dtype=np.int32)
