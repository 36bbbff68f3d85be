"""Figures that are one number for the whole fleet, or an array with one for every device."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

PerDevice = float | NDArray[Any]  # one number for all, or an array (population,)


def of(value: PerDevice, devices: NDArray[np.intp]) -> NDArray[np.float64]:
    """The figures of ``devices`` (n,), shape ``(n,)``."""
    if isinstance(value, np.ndarray):
        return value[devices].astype(np.float64)
    return np.full(len(devices), float(value))
