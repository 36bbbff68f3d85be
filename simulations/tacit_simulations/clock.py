"""Virtual time: seconds since a Monday, 00:00 UTC, that pass only when somebody says so."""

import heapq
from math import inf, isfinite

from tacit_privacy.errors import BadInput


class VirtualClock:
    """The clock of an emulated fleet; satisfies the server's ``Clock`` (``now``, ``wait``).

    Time never runs backwards and never on its own: ``wait`` jumps to the next scheduled event or to its deadline,
    whichever comes first, so a round of hours costs no real time at all.
    """

    def __init__(self, start: float = 0.0) -> None:
        if not isfinite(start) or start < 0:
            raise BadInput(f"a virtual clock cannot start at {start} s; give seconds since Monday 00:00 UTC, 0 or more")
        self._now = float(start)
        self._events: list[float] = []  # heap of virtual times

    def now(self) -> float:
        """Seconds since Monday 00:00 UTC of the week in which the run starts."""
        return self._now

    def advance_to(self, time: float) -> None:
        """Let time pass until ``time``; a time in the past changes nothing. Events passed on the way are over."""
        if not isfinite(time):
            raise BadInput(f"the virtual clock cannot advance to {time}; give a finite deadline in seconds")
        self._now = max(self._now, time)
        while self._events and self._events[0] <= self._now:
            heapq.heappop(self._events)

    def schedule_event(self, time: float) -> None:
        """Something may be worth looking at, at ``time``. Times in the past and infinite ones are forgotten."""
        if self._now < time < inf:
            heapq.heappush(self._events, time)

    def wait(self, deadline: float) -> None:
        """Advance to the next event or to ``deadline``, whichever comes first. Raises BadInput if neither is finite."""
        coming = self._events[0] if self._events else inf
        self.advance_to(min(coming, deadline))
