"""Where things go on a drawing of a page that stands alone."""

import math
from collections.abc import Sequence


class LogAxis:
    """A logarithmic axis over whole decades."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self.low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        self.high, self._start, self._end = max(high, self.low + 1), start, end

    def at(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self._start + share * (self._end - self._start)

    @property
    def decades(self) -> list[float]:
        return [10.0**power for power in range(self.low, self.high + 1)]


class LinearAxis:
    """An axis from 0 to at least ``high``, with round ticks: 1, 2 or 5 times a power of ten apart."""

    def __init__(self, high: float, start: float, end: float) -> None:
        power = 10.0 ** math.floor(math.log10(max(high, 1e-9) / 5))
        self._step = next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power * 5 >= high)
        self.high = self._step * max(1, math.ceil(high / self._step - 1e-9))
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        return self._start + value / self.high * (self._end - self._start)

    @property
    def ticks(self) -> list[float]:
        return [index * self._step for index in range(round(self.high / self._step) + 1)]
