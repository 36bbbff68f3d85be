"""Rounds without any model: who is asked, who finishes when, what it costs, at a million completions a second.

The very schedules of a training run (``Emulator.dispatch``), reached through arrays instead of messages.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from math import ceil
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.errors import BadInput
from tacit_privacy.randomness import stream
from tacit_simulations.clock import VirtualClock
from tacit_simulations.fleet.dispatch import Schedule
from tacit_simulations.fleet.emulator import Emulator
from tacit_simulations.fleet.figures import costs, turnout
from tacit_simulations.fleet.habits import Bools, Devices
from tacit_simulations.fleet.outcomes import Outcome
from tacit_simulations.fleet.selection import Selector

_WEEK = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class TimingPlan:
    """How rounds are held. ``sync``: ask a cohort, close by count or deadline. ``buffered``: keep ``concurrency``
    devices at work and step whenever ``buffer_size`` replies are in (FedBuff, Nguyen et al. 2022).
    """

    rounds: int
    cohort: int
    over_selection: float = 1.0  # devices asked for each one wanted
    deadline_seconds: float = 600.0
    policy: Literal["sync", "buffered"] = "sync"
    buffer_size: int = 0  # 0: the cohort
    concurrency: int = 0  # 0: twice the buffer
    participations: int = 0  # the most rounds a device is asked for; 0: no limit
    retry_seconds: float = 900.0  # how long to wait when nobody can be asked

    def __post_init__(self) -> None:
        positive = {"rounds": self.rounds, "cohort": self.cohort, "deadline_seconds": self.deadline_seconds}
        for name, value in (positive | {"retry_seconds": self.retry_seconds}).items():
            if not 0 < value < float("inf"):
                raise BadInput(f"{name} is {value}; a timing simulation needs a finite number above 0")
        if not 1 <= self.over_selection < float("inf"):
            raise BadInput(f"over_selection is {self.over_selection}; it is a finite factor of 1 or more")
        if min(self.buffer_size, self.concurrency, self.participations) < 0:
            raise BadInput("buffer_size, concurrency and participations are 0 (a default) or more")
        if self.policy == "buffered" and self.at_work < self.buffer:
            raise BadInput(f"concurrency {self.at_work} never fills a buffer of {self.buffer}; raise it")

    @property
    def asked(self) -> int:
        """Devices asked in a synchronous round."""
        return ceil(self.cohort * self.over_selection)

    @property
    def buffer(self) -> int:
        return self.buffer_size or self.cohort

    @property
    def at_work(self) -> int:
        return self.concurrency or 2 * self.buffer


@dataclass(frozen=True, slots=True)
class RoundTiming:
    """One round, in the words of ``result.json``; seconds are virtual, energy in joules, money in the fleet's currency.

    Of a buffered round, ``sampled`` counts devices that settled in it: they replied, or their time ran out.
    """

    round: int
    virtual_start: float
    virtual_seconds: float
    sampled: int
    completed: int
    dropped: dict[str, int]
    tiers: dict[str, dict[str, Any]]
    bytes_down: float
    bytes_up: float
    energy_j: float
    money: float
    staleness: float = 0.0  # mean number of server steps between a device's start and its reply's use

    def row(self) -> dict[str, Any]:
        return asdict(self)


class TimingSimulation:
    """Rounds of ``plan`` over an emulated fleet, in virtual time; same seed, same rounds."""

    def __init__(self, emulator: Emulator, plan: TimingPlan, seed: int, clock: VirtualClock | None = None) -> None:
        if plan.cohort > emulator.devices:
            raise BadInput(
                f"a cohort of {plan.cohort} needs as many devices but the fleet has {emulator.devices}; "
                "choose a smaller cohort or a larger fleet"
            )
        self.emulator, self.plan, self.seed = emulator, plan, seed
        self.clock = clock or VirtualClock(emulator.config.start)
        self._selector = Selector(emulator.devices)
        self._participations = np.zeros(emulator.devices, dtype=np.uint16)
        self._outstanding = np.zeros(emulator.devices, dtype=np.bool_)  # asked, and the server does not know yet

    def rounds(self) -> Iterator[RoundTiming]:
        """The rounds, one by one, as they are simulated."""
        return self._buffered() if self.plan.policy == "buffered" else self._synchronous()

    def run(self) -> list[RoundTiming]:
        return list(self.rounds())

    def draw(self, name: str, number: int, count: int) -> Devices:
        """A cohort at the clock's time: uniform over eligible devices that may still take part; fewer if fewer are."""
        rng, now, cap = stream(self.seed, "timing", name, number), self.clock.now(), self.plan.participations

        def allowed(devices: Devices) -> Bools:
            fresh = ~self._outstanding[devices]
            if cap:
                fresh &= self._participations[devices] < cap
            fresh[fresh] = self.emulator.eligible(devices[fresh], now)
            return np.asarray(fresh)

        return self._selector.draw(rng, count, allowed)

    def _ask(self, name: str, number: int, count: int) -> Schedule:
        """Draw and dispatch; whoever is asked has taken part, whatever becomes of it."""
        devices = self.draw(name, number, count)
        now = self.clock.now()
        self._participations[devices] += 1
        self._outstanding[devices] = True
        return self.emulator.dispatch(devices, now, now + self.plan.deadline_seconds)

    def _ask_patiently(self, number: int) -> Schedule:
        """Wait until somebody can be asked. Raises BadInput when nobody can for a week."""
        begin = self.clock.now()
        while not len(asked := self._ask("cohort", number, self.plan.asked)):
            if self.clock.now() - begin >= _WEEK:
                raise BadInput(
                    f"in round {number} none of {self.emulator.devices} devices could be asked for a week; relax "
                    "fleet.require_*, raise participations or choose a model that fits the fleet's memory"
                )
            self.clock.wait(self.clock.now() + self.plan.retry_seconds)
        return asked

    def _synchronous(self) -> Iterator[RoundTiming]:
        for number in range(1, self.plan.rounds + 1):
            tasks = self._ask_patiently(number)
            begin = self.clock.now()
            accepted, end = close(tasks, self.plan.cohort, begin + self.plan.deadline_seconds)
            outcome = np.where(tasks.completes & ~accepted, np.uint8(Outcome.DISPLACED), tasks.outcome)
            self.clock.advance_to(end)
            self._outstanding[tasks.device] = False
            yield self._record(number, begin, end, tasks, outcome)

    def _buffered(self) -> Iterator[RoundTiming]:
        flight = _Flight()
        for number in range(1, self.plan.rounds + 1):
            begin = self.clock.now()
            end = self._fill(flight, number)
            settled, staleness = flight.settle(end, number)
            self._outstanding[settled.device] = False
            self.clock.advance_to(end)
            yield self._record(number, begin, end, settled, settled.outcome, staleness)

    def _fill(self, flight: "_Flight", number: int) -> float:
        """Keep devices at work until the buffer's last reply is on its way; the virtual time of that reply."""
        deadline, quiet_since, attempt = self.plan.deadline_seconds, self.clock.now(), 0
        while True:
            missing = self.plan.at_work - flight.open(self.clock.now())
            if missing > 0:
                # one stream a refill: its number within the round keeps draws apart
                tasks = self._ask(f"refill-{attempt}", number, missing)
                flight.add(tasks, self.clock.now() + deadline, number)
            due = flight.due(self.plan.buffer)
            opens = flight.opens_after(self.clock.now())
            if due <= opens:
                return due
            if self.clock.now() - quiet_since >= _WEEK:
                raise BadInput(
                    f"in round {number} a buffer of {self.plan.buffer} replies did not fill within a week; relax "
                    "fleet.require_*, raise participations or make the buffer smaller"
                )
            self.clock.advance_to(min(opens, self.clock.now() + self.plan.retry_seconds))
            attempt += 1

    def _record(
        self,
        number: int,
        begin: float,
        end: float,
        tasks: Schedule,
        outcome: NDArray[np.uint8],
        staleness: float = 0.0,
    ) -> RoundTiming:
        tiers = self.emulator.population.tiers(tasks.device)
        figures: dict[str, Any] = turnout(outcome, tiers) | costs(tasks)
        return RoundTiming(number, begin, end - begin, **figures, staleness=staleness)


def close(tasks: Schedule, cohort: int, deadline: float) -> tuple[Bools, float]:
    """Which replies a synchronous round takes, and when it ends: by count, when all are in, or at its deadline.

    The first ``cohort`` replies in order of arrival are taken (ties in order of asking); the rest is displaced.
    """
    completes = np.flatnonzero(tasks.completes)
    if len(completes) < cohort:
        everybody = len(completes) == len(tasks)
        return tasks.completes, float(tasks.finish.max()) if everybody else deadline
    order = completes[np.argsort(tasks.finish[completes], kind="stable")[:cohort]]
    accepted = np.zeros(len(tasks), dtype=np.bool_)
    accepted[order] = True
    return accepted, float(tasks.finish[order[-1]])


@dataclass(slots=True)
class _Flight:
    """Tasks at work in a buffered run. The server sees replies; a lost device holds its slot until its time is up."""

    tasks: list[Schedule] = field(default_factory=list)
    settles: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))  # when the server knows
    version: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def add(self, tasks: Schedule, deadline: float, version: int) -> None:
        if len(tasks):
            self.tasks = [_join([*self.tasks, tasks])]
            self.settles = np.append(self.settles, np.where(tasks.completes, tasks.finish, deadline))
            self.version = np.append(self.version, np.full(len(tasks), version))

    def open(self, now: float) -> int:
        """Slots in use at ``now``: replies that wait in the buffer have given theirs back."""
        return int(np.count_nonzero(self.settles > now))

    def opens_after(self, now: float) -> float:
        """When a lost device's slot is next given back; +inf when none is."""
        lost = self.settles[~self.tasks[0].completes] if self.tasks else self.settles
        lost = lost[lost > now]
        return float(lost.min()) if len(lost) else np.inf

    def due(self, buffer: int) -> float:
        """When the ``buffer``-th reply that is on its way or waits will be in; +inf when there are not so many."""
        if not self.tasks:
            return np.inf
        replies = self.settles[self.tasks[0].completes]
        return float(np.partition(replies, buffer - 1)[buffer - 1]) if len(replies) >= buffer else np.inf

    def settle(self, now: float, version: int) -> tuple[Schedule, float]:
        """Take out everything the server knows about at ``now``, and the mean staleness of its replies."""
        known = self.settles <= now
        settled = self.tasks[0].take(known)
        replies = version - self.version[known][settled.completes]
        self.tasks = [self.tasks[0].take(~known)]
        self.settles, self.version = self.settles[~known], self.version[~known]
        return settled, float(replies.mean()) if len(replies) else 0.0


def _join(parts: list[Schedule]) -> Schedule:
    names = Schedule.__dataclass_fields__
    return Schedule(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
