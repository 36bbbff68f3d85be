"""Detectors under measurement: the one that a policy asks for, and the same at other thresholds.

A threshold changes what is read out of a model's scores, not the scores. So detectors at many thresholds share one run
of every model over each batch of texts.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tacit_privacy.pii.detection.detector import CombinedDetector, Model, build_detector
from tacit_privacy.pii.entities import Detector, Entity
from tacit_privacy.pii.policy import RedactionPolicy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tacit_privacy.pii.detection.recogniser import Recogniser
    from tacit_privacy.pii.detection.recogniser.features import Pieces

THRESHOLDS: Final = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Of the curve."""


def detector(policy: RedactionPolicy, recogniser: Path | None = None) -> Detector:
    """What ``policy`` asks for; ``recogniser``: a folder in place of the one that ships. Raises BadInput."""
    if recogniser is None or policy.detection.recogniser == "none":
        return build_detector(policy)
    from tacit_privacy.pii.detection.recogniser import Recogniser

    return CombinedDetector(policy, [Recogniser.open(recogniser, _least(policy)), *_plugins(policy)])


def at_thresholds(
    policy: RedactionPolicy, thresholds: Sequence[float], recogniser: Path | None = None
) -> list[tuple[RedactionPolicy, Detector]]:
    """``policy`` and its detector with every threshold in turn, for all types alike. Not for several threads."""
    scores = None
    if policy.detection.recogniser == "tacit":
        from tacit_privacy.pii.detection.recogniser import Recogniser

        scores = _Scores(Recogniser.shipped() if recogniser is None else Recogniser.open(recogniser))
    plugins = [_Remembered(model) for model in _plugins(policy)]
    made: list[tuple[RedactionPolicy, Detector]] = []
    for threshold in thresholds:
        changed = policy.detection.model_copy(update={"threshold": threshold, "thresholds": {}})
        one = policy.model_copy(update={"detection": changed})
        read = [] if scores is None else [_Threshold(scores, threshold)]
        made.append((one, CombinedDetector(one, [*read, *plugins])))
    return made


def _least(policy: RedactionPolicy) -> float:
    return min([policy.detection.threshold, *policy.detection.thresholds.values()])


def _plugins(policy: RedactionPolicy) -> list[Model]:
    if not policy.detection.plugins:
        return []
    from tacit_privacy.pii.detection.plugins import load

    return [load(plugin) for plugin in policy.detection.plugins]


class _Scores:
    """The recogniser's scores of the last batch."""

    def __init__(self, recogniser: "Recogniser") -> None:
        self._recogniser = recogniser
        self._texts: list[str] | None = None
        self._last: list[tuple[Pieces, NDArray[np.float32]]] = []

    def of(self, texts: Sequence[str]) -> "list[tuple[Pieces, NDArray[np.float32]]]":
        if list(texts) != self._texts:
            read = self._recogniser.read(texts)
            self._texts, self._last = list(texts), list(zip(read, self._recogniser.scores(read), strict=True))
        return self._last


class _Threshold:
    """The recogniser at one threshold."""

    def __init__(self, scores: _Scores, threshold: float) -> None:
        self._scores, self._threshold = scores, threshold

    def detect(self, texts: Sequence[str]) -> list[list[Entity]]:
        from tacit_privacy.pii.detection.recogniser.decode import entities

        return [entities(read, scores, {}, self._threshold) for read, scores in self._scores.of(texts)]


class _Remembered:
    """A model that is asked once for each batch."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._texts: list[str] | None = None
        self._last: list[list[Entity]] = []

    def detect(self, texts: Sequence[str]) -> list[list[Entity]]:
        if list(texts) != self._texts:
            self._texts, self._last = list(texts), self._model.detect(texts)
        return self._last
