"""Time as a coordinator sees it."""

import time
from typing import Protocol

RETRY_S, PATIENCE_S = 900.0, 172_800.0  # an empty fleet is looked at every quarter of an hour, for two days


class Clock(Protocol):
    """Seconds that only grow, and a way to wait."""

    def now(self) -> float: ...

    def wait(self, deadline: float) -> None:
        """Return when something may have arrived, at ``deadline`` at the latest."""
        ...


class WallClock:
    """Real time, by polling."""

    def __init__(self, poll_s: float = 0.2) -> None:
        self._poll = poll_s

    def now(self) -> float:
        return time.time()

    def wait(self, deadline: float) -> None:
        time.sleep(max(0.0, min(self._poll, deadline - time.time())))
