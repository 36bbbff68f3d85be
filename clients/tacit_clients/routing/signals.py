"""What the router may be told besides the prompt: how sure the local model was, and what redaction takes away."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tacit_privacy.errors import BadInput

TYPES: Final = ("PERSON", "LOCATION", "ORGANIZATION", "ADDRESS", "DATE_TIME", "ID")
"""Of masked spans that are counted by themselves; every other type counts as one."""


@dataclass(frozen=True, slots=True)
class Damage:
    """What redaction would take from the prompt before the large model reads it. Raises BadInput."""

    masked_share: float  # of the prompt's characters, 0 to 1
    critical: bool | None = None  # a masked span that the answer needs; None: nobody looked
    counts: Mapping[str, int] = field(default_factory=dict)  # masked spans by type

    def __post_init__(self) -> None:
        if not 0 <= self.masked_share <= 1:
            raise BadInput(f"masked_share is {self.masked_share}, which is no share from 0 to 1")
        if any(count < 0 for count in self.counts.values()):
            raise BadInput("a count of masked spans is below 0")


@dataclass(frozen=True, slots=True)
class Signals:
    """``None``: not given, which is no news: each has an indicator beside it, and is 0 where it is missing."""

    confidence: float | None = None  # 0 to 1: mean or least probability of the local answer's tokens
    damage: Damage | None = None

    def __post_init__(self) -> None:
        if self.confidence is not None and not 0 <= self.confidence <= 1:
            raise BadInput(f"confidence is {self.confidence}, which is no probability from 0 to 1")


NOTHING: Final = Signals()


def signal_names() -> tuple[str, ...]:
    """Of ``signal_values``."""
    counts = tuple(f"masked_{kind.lower()}" for kind in (*TYPES, "other"))
    known = ("confidence_given", "confidence", "confidence_squared")
    return (*known, "damage_given", "masked_share", "critical_given", "critical", *counts)


def signal_values(signals: Signals) -> list[float]:
    """Numbers of order 1, 0 where nothing was given. Confidence is centred at one half."""
    given = signals.confidence is not None
    sure = 2 * signals.confidence - 1 if signals.confidence is not None else 0.0
    known = [float(given), sure, sure * sure]
    damage = signals.damage
    if damage is None:
        return [*known, *[0.0] * (len(signal_names()) - len(known))]
    looked = damage.critical is not None
    critical = [1.0, damage.masked_share, float(looked), float(bool(damage.critical))]
    other = sum(count for kind, count in damage.counts.items() if kind not in TYPES)
    counts = [*(damage.counts.get(kind, 0) for kind in TYPES), other]
    return [*known, *critical, *(math.log1p(count) for count in counts)]
