"""The recogniser that ships: names, places, organisations and more, by a small encoder in eight bits."""

from tacit_privacy.pii.detection.recogniser.model import Recogniser

__all__ = ["Recogniser"]
