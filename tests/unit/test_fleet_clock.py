"""Virtual time."""

from math import inf, nan

import pytest

from tacit_privacy.errors import BadInput
from tacit_simulations.clock import VirtualClock


def test_waiting_stops_at_the_next_event_or_the_deadline_whichever_comes_first() -> None:
    clock = VirtualClock(100.0)
    for at in (130.0, 110.0, 110.0, 90.0, inf):
        clock.schedule_event(at)
    seen = []
    for _ in range(4):
        clock.wait(140.0)
        seen.append(clock.now())
    assert seen == [110.0, 130.0, 140.0, 140.0]


def test_an_event_that_was_passed_does_not_stop_the_clock_again() -> None:
    clock = VirtualClock()
    clock.schedule_event(10.0)
    clock.advance_to(20.0)
    clock.wait(30.0)
    assert clock.now() == 30.0


def test_time_never_runs_backwards() -> None:
    clock = VirtualClock(50.0)
    clock.advance_to(20.0)
    clock.wait(20.0)
    assert clock.now() == 50.0


def test_an_endless_wait_is_refused() -> None:
    with pytest.raises(BadInput, match="finite deadline"):
        VirtualClock().wait(inf)


@pytest.mark.parametrize("start", [-1.0, inf, nan])
def test_a_clock_starts_at_a_finite_time(start: float) -> None:
    with pytest.raises(BadInput):
        VirtualClock(start)
