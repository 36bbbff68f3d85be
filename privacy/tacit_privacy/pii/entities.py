"""What a detector finds: a span of text, its type and how sure the detector is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, order=True)
class Entity:
    """``text[start:end]``, offsets in Unicode code points; ``score`` in [0, 1] is the detector's confidence."""

    start: int
    end: int
    type: str  # upper case, such as PERSON or EMAIL_ADDRESS: Presidio's names where Presidio has one
    score: float

    def row(self) -> dict[str, int | str | float]:
        """The entity as commands print it: start, end, type, score."""
        return {"start": self.start, "end": self.end, "type": self.type, "score": round(self.score, 4)}


class Detector(Protocol):
    """Finds what identifies people. One object serves many texts and threads; it keeps nothing of any text."""

    def detect(self, texts: Sequence[str]) -> list[list[Entity]]:
        """For each text its entities: sorted by start, not overlapping. Raises nothing for any string."""
        ...
