"""How a token is chosen and when an answer ends: settings of one request, without torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

from tacit_privacy.errors import BadInput

_MOST_STOPS, _LONGEST_STOP, _HOTTEST = 16, 200, 10.0


class Flag(Protocol):
    """A ``threading.Event`` or ``asyncio.Event``: set from outside when nobody waits for the answer any more."""

    def is_set(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was chosen, and the natural logarithm of the probability that the model itself gave it."""

    id: int
    logprob: float


@dataclass(frozen=True, slots=True)
class Sampling:
    """Checked settings of one answer. Raises BadInput, never with a stop string in it.

    ``temperature`` 0 takes the likeliest token every time; ``top_p`` keeps the least set of tokens whose probabilities
    reach it; ``seed`` None draws one from the operating system. ``max_tokens`` None: as many as the model allows.
    """

    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = field(default=(), repr=False)
    seed: int | None = None

    @classmethod
    def of(
        cls,
        max_tokens: int | None,
        temperature: float | None,
        top_p: float | None,
        stop: str | Sequence[str] | None,
        seed: int | None,
    ) -> Self:
        """Settings as a client writes them: one stop string or several, None for the usual value."""
        stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
        return cls(
            max_tokens, 0.0 if temperature is None else temperature, 1.0 if top_p is None else top_p, stops, seed
        )

    def __post_init__(self) -> None:
        if self.max_tokens is not None and self.max_tokens < 1:
            raise BadInput(f"max_tokens is {self.max_tokens}; give 1 or more")
        if not (math.isfinite(self.temperature) and 0 <= self.temperature <= _HOTTEST):
            raise BadInput(f"temperature is {self.temperature}; give a number from 0 to {_HOTTEST:g}")
        if not 0 < self.top_p <= 1:
            raise BadInput(f"top_p is {self.top_p}; give a number above 0 and at most 1")
        if len(self.stop) > _MOST_STOPS or any(not 0 < len(text) <= _LONGEST_STOP for text in self.stop):
            raise BadInput(
                f"stop holds {len(self.stop)} texts; give at most {_MOST_STOPS}, of 1 to {_LONGEST_STOP} characters"
            )
