"""Integer vectors on the grid: their norm without rounding and their sum without overflow, at the speed of memory."""

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.errors import BadInput

MOST_LEVELS = 2**26  # grid steps per clip norm: squares add up to at most 2^52, where floats still hold every integer
BLOCK = 2**16  # elements at a time: the buffers of a block stay in cache


def within(grid: NDArray[np.int32], levels: int) -> bool:
    """Whether the norm of integers, shape ``(d,)``, is at most ``levels``: exact, although floats do the work.

    A partial sum of squares is a whole number that a float64 holds, in any order of adding, until one exceeds 2^53;
    nothing that is added afterwards makes that one smaller, and the limit is at most 2^52.
    Raises BadInput for levels beyond MOST_LEVELS.
    """
    limit, squares = most_squares(levels), 0.0
    buffer = np.empty(min(BLOCK, len(grid)), dtype=np.float64)
    for start in range(0, len(grid), BLOCK):
        part = grid[start : start + BLOCK]
        block = buffer[: len(part)]
        np.copyto(block, part)
        squares += float(np.dot(block, block))
    return squares <= limit


def most_squares(levels: int) -> int:
    """The square of a norm of ``levels``. Raises BadInput where sums of squares would not be exact."""
    if not 0 < levels <= MOST_LEVELS:
        raise BadInput(f"a grid has between 1 and {MOST_LEVELS} steps per clip norm, not {levels}")
    return levels * levels


class GridSum:
    """A sum of int32 vectors of norm at most ``levels``, shape ``(dimension,)`` int64; a short one adds to the prefix.

    The newest are added up in 32 bits, as many as fit, and carried over to 64: half the memory to go through for each.
    No overflow: an entry is at most ``levels`` <= 2^26 in size, so 2^37 vectors would fit.
    """

    def __init__(self, dimension: int, levels: int) -> None:
        self._total = np.zeros(dimension, dtype=np.int64)
        self._newest = np.zeros(dimension, dtype=np.int32)
        self._most = (2**31 - 1) // levels
        self._held = 0

    def add(self, vector: NDArray[np.int32]) -> None:
        """Add one vector. Its norm was checked by the caller, or comes from ``clip_to_grid``."""
        if self._held == self._most:
            self._carry()
        newest = self._newest[: len(vector)]
        np.add(newest, vector, out=newest)
        self._held += 1

    @property
    def total(self) -> NDArray[np.int64]:
        """The sum of all vectors added until now."""
        self._carry()
        return self._total

    def _carry(self) -> None:
        if self._held:
            self._total += self._newest
            self._newest[:] = 0
            self._held = 0
