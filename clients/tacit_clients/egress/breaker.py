"""Stops asking an endpoint that fails, for a while."""

import time
from collections.abc import Callable
from secrets import SystemRandom
from typing import Literal

from tacit_privacy.errors import UpstreamFailed

State = Literal["closed", "open", "half_open"]


class CircuitOpen(UpstreamFailed):
    """Nothing is sent for ``wait_s`` more seconds."""

    def __init__(self, wait_s: float) -> None:
        super().__init__("open_circuit")
        self.args = (wait_s,)  # they rebuild the error
        self.wait_s = wait_s


class Breaker:
    """Opens after ``failures`` in a row; after ``rest_s`` (up to a quarter more, at random) lets one request try."""

    def __init__(self, failures: int, rest_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._rest_s, self._clock = failures, rest_s, clock
        self._failed, self._until, self._trying = 0, 0.0, False

    @property
    def state(self) -> State:
        if self._failed < self._most:
            return "closed"
        return "open" if self._clock() < self._until else "half_open"

    def refuse_if_open(self) -> None:
        """Raises CircuitOpen while open; takes nobody's turn."""
        if self.state == "open":
            raise CircuitOpen(self._until - self._clock())

    def enter(self) -> None:
        """Ask to send. Raises CircuitOpen while open, or half open with somebody already trying."""
        self.refuse_if_open()
        if self.state == "half_open" and self._trying:
            raise CircuitOpen(0.0)  # soon: when that one knows
        self._trying = self.state == "half_open"

    def succeeded(self) -> None:
        self._failed, self._trying = 0, False

    def failed(self) -> None:
        self._failed, self._trying = self._failed + 1, False
        if self._failed >= self._most:
            self._until = self._clock() + self._rest_s * SystemRandom().uniform(1.0, 1.25)

    def abandoned(self) -> None:
        """The client went away: says nothing about the endpoint."""
        self._trying = False
