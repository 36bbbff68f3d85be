"""How a learning rate changes over a plan of known length, on the server and on the device."""

from math import cos, pi
from typing import Literal

Schedule = Literal["constant", "cosine"]


def share(schedule: Schedule, step: int, steps: int) -> float:
    """Share of the learning rate at ``step`` (from 0) of ``steps``; cosine ends near 0 (Loshchilov and Hutter 2017)."""
    if schedule == "constant":
        return 1.0
    return 0.5 * (1.0 + cos(pi * min(step, steps) / steps))
