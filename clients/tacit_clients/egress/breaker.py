"""Stops asking an endpoint that fails, for a while."""

import time
from collections.abc import Callable
from secrets import SystemRandom
from typing import Literal

from tacit_privacy.errors import UpstreamFailed

State = Literal["closed", "open", "half_open"]


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

    def enter(self) -> None:
        """Ask to send. Raises UpstreamFailed while open, or half open with somebody already trying."""
        state = self.state
        if state == "open" or (state == "half_open" and self._trying):
            raise UpstreamFailed("open_circuit")
        self._trying = state == "half_open"

    def succeeded(self) -> None:
        self._failed, self._trying = 0, False

    def failed(self) -> None:
        self._failed, self._trying = self._failed + 1, False
        if self._failed >= self._most:
            self._until = self._clock() + self._rest_s * SystemRandom().uniform(1.0, 1.25)

    def abandoned(self) -> None:
        """The client went away: says nothing about the endpoint."""
        self._trying = False
