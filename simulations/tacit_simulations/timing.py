"""Rounds without any model: who is asked, who finishes when, and what it costs.

The cohorts and schedules of a training run of the same seed (``tacit_server.coordinator`` over ``FleetGrid``), reached
through arrays instead of messages. Only what a device computes is missing, and with it faults of its code.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import count
from math import ceil
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.errors import BadInput, FleetExhausted
from tacit_privacy.mechanisms.noise import SeededNoise
from tacit_privacy.randomness import stream
from tacit_server.clock import PATIENCE_S, RETRY_S
from tacit_server.config import FederationConfig, PrivacyConfig
from tacit_server.sampling import Selector, rested, secret_cohort
from tacit_simulations.clock import VirtualClock
from tacit_simulations.fleet.dispatch import Schedule
from tacit_simulations.fleet.emulator import Emulator
from tacit_simulations.fleet.figures import costs, turnout
from tacit_simulations.fleet.habits import Bools, Devices
from tacit_simulations.fleet.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class TimingPlan:
    """How rounds are held. ``sync``: ask a cohort, close by count or deadline. ``buffered``: keep ``concurrency``
    devices at work and step whenever ``buffer_size`` replies are in (FedBuff, Nguyen et al. 2022, arXiv 2106.06639).
    """

    rounds: int
    cohort: int  # replies that a round waits for
    over_selection: float = 1.0  # devices asked for each one waited for
    deadline_seconds: float = 600.0
    minimum_share: float = 0.2  # of the cohort: with fewer replies a round counts for nothing
    participations: int = 0  # the most rounds that one device contributes to; 0: no limit
    sampling: Literal["fixed", "uniform", "poisson"] = "fixed"
    policy: Literal["sync", "buffered"] = "sync"
    buffer_size: int = 0  # 0: the cohort
    concurrency: int = 0  # 0: twice the buffer
    separation: int = 1  # rounds from one participation of a device to its next, at least
    cohort_cap: int | None = None  # poisson: the largest cohort

    @classmethod
    def of(cls, federation: FederationConfig, privacy: PrivacyConfig) -> "TimingPlan":
        """The rounds that a coordinator of these settings would hold."""
        return cls(
            federation.rounds,
            federation.cohort,
            federation.over_selection,
            federation.deadline_s,
            federation.minimum_share,
            privacy.participations,
            privacy.sampling,
            federation.policy,
            federation.cohort,
            federation.at_work,
            privacy.separation,
            privacy.cohort_cap,
        )

    def __post_init__(self) -> None:
        for name in ("rounds", "cohort", "deadline_seconds"):
            if not 0 < getattr(self, name) < float("inf"):
                raise BadInput(f"{name} is {getattr(self, name)}; a timing simulation needs a finite number above 0")
        if not 1 <= self.over_selection < float("inf"):
            raise BadInput(f"over_selection is {self.over_selection}; it is a finite factor of 1 or more")
        if min(self.buffer_size, self.concurrency, self.participations, self.minimum_share) < 0:
            raise BadInput("buffer_size, concurrency, participations and minimum_share are 0 or more")
        if self.separation < 1:
            raise BadInput(f"separation is {self.separation}; it is 1 or more rounds")
        if self.policy == "buffered" and self.sampling != "fixed":
            raise BadInput(f"buffered rounds draw no {self.sampling} cohorts; choose policy sync or sampling fixed")
        if self.policy == "buffered" and self.at_work < self.buffer:
            raise BadInput(f"concurrency {self.at_work} never fills a buffer of {self.buffer}; raise it")

    @property
    def asked(self) -> int:
        """Devices asked in a synchronous round."""
        return round(self.cohort * self.over_selection)

    @property
    def minimum(self) -> int:
        """Replies below which a synchronous round counts for nothing."""
        return 0 if self.sampling != "fixed" else max(1, ceil(self.minimum_share * self.cohort))

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
    # server steps between a device's start and its reply's use; None where rounds close
    staleness: float | None = None  # mean
    staleness_max: int | None = None

    def row(self) -> dict[str, Any]:
        return asdict(self)


Unasked = dict[str, int]  # members of a cohort whom nobody asked, by reason


class TimingSimulation:
    """Rounds of ``plan`` over an emulated fleet, in virtual time; same seed, same rounds."""

    def __init__(self, emulator: Emulator, plan: TimingPlan, seed: int, clock: VirtualClock | None = None) -> None:
        if plan.cohort > emulator.devices:
            raise BadInput(
                f"a cohort of {plan.cohort} needs as many devices but the fleet has {emulator.devices}; "
                "choose a smaller cohort or a larger fleet"
            )
        self.emulator, self.plan, self.seed = emulator, plan, seed
        self._noise = SeededNoise.of_server(seed)
        self.clock = clock or VirtualClock(emulator.config.start)
        self._selector = Selector(emulator.devices)
        self._cap = plan.participations or np.iinfo(np.uint32).max
        self._participations = np.zeros(emulator.devices, dtype=np.uint32)
        self._last = np.zeros(
            emulator.devices, dtype=np.int32
        )  # the newest round that a device was asked or counted in
        self._outstanding = np.zeros(emulator.devices, dtype=np.bool_)  # of a buffer: asked, and not known to be done
        self._late = np.empty(0)  # virtual times at which replies will come that nobody waits for

    def rounds(self) -> Iterator[RoundTiming]:
        """The rounds, one by one, as they are simulated."""
        return self._buffered() if self.plan.policy == "buffered" else self._synchronous()

    def run(self) -> list[RoundTiming]:
        return list(self.rounds())

    def _synchronous(self) -> Iterator[RoundTiming]:
        plan, clock = self.plan, self.clock
        for number in range(1, plan.rounds + 1):
            asked, wanted, unasked = self._fixed(number) if plan.sampling == "fixed" else self._secret(number)
            self._last[asked] = number
            begin = clock.now()
            tasks = self.emulator.dispatch(asked, begin, begin + plan.deadline_seconds)
            accepted, end = close(tasks, wanted, begin, begin + plan.deadline_seconds)
            if plan.sampling != "fixed":
                end = begin + plan.deadline_seconds  # whoever is in it: the end would tell who was there
            outcome = np.where(tasks.completes & ~accepted, np.uint8(Outcome.DISPLACED), tasks.outcome)
            if np.count_nonzero(accepted) >= plan.minimum:
                self._participations[asked[accepted]] += 1
            clock.advance_to(end)
            self._late = np.append(self._late[self._late > end], tasks.finish[outcome == Outcome.DISPLACED])
            yield self._record(number, begin, tasks, outcome, unasked=unasked)

    def _fixed(self, number: int) -> tuple[Devices, int, Unasked]:
        """Draw until enough can be asked, letting time pass in between. Raises BadInput after two days of that."""
        until = self.clock.now() + PATIENCE_S
        for attempt in count():
            found = self.draw(self.plan.asked, number, attempt)
            if len(found) >= self.plan.minimum:
                return found, self.plan.cohort, {}
            if self.clock.now() >= until:
                break
            for at in self._late.tolist():
                self.clock.schedule_event(at)  # replies that nobody waits for wake the coordinator all the same
            self._late = np.empty(0)
            self.clock.wait(self.clock.now() + RETRY_S)
        raise FleetExhausted(
            f"round {number}: for two days fewer than {self.plan.minimum} of {self.emulator.devices} devices could be "
            "asked; enlarge the fleet, raise participations, lower separation, relax fleet.require_* or choose a "
            "smaller model"
        )

    def _secret(self, number: int) -> tuple[Devices, int, Unasked]:
        """A cohort of the whole population; those that cannot be asked stay in it and contribute nothing."""
        plan = self.plan
        tossed = secret_cohort(self._noise, plan.sampling, self.emulator.devices, plan.cohort, plan.cohort_cap, number)
        fresh = tossed[self._participations[tossed] < self._cap]
        free = fresh[rested(self._last, number, self.plan.separation)(fresh)]
        asked = free[self.emulator.eligible(free, self.clock.now())]
        unasked = {"exhausted": len(tossed) - len(fresh), "resting": len(fresh) - len(free)}
        unasked["unavailable"] = len(free) - len(asked)
        return asked, len(asked), {reason: lost for reason, lost in unasked.items() if lost}

    def draw(self, wanted: int, number: int, attempt: int) -> Devices:
        """Uniform over devices that can be asked now and may take part in round ``number``; all where fewer exist."""
        now, free = self.clock.now(), rested(self._last, number, self.plan.separation)

        def allowed(devices: Devices) -> Bools:
            fresh = np.asarray(self._participations[devices] < self._cap) & ~self._outstanding[devices]
            fresh &= free(devices)
            fresh[fresh] = self.emulator.eligible(devices[fresh], now)
            return fresh

        return self._selector.draw(stream(self.seed, "cohort", number, attempt), wanted, allowed)

    def _buffered(self) -> Iterator[RoundTiming]:
        flight = _Flight()
        for number in range(1, self.plan.rounds + 1):
            begin = self.clock.now()
            end = self._fill(flight, number)
            settled, ages = flight.settle(end, number)
            self._outstanding[settled.device] = False
            counted = settled.device[settled.completes]
            self._participations[counted] += 1
            self._last[counted] = number
            self.clock.advance_to(end)
            yield self._record(number, begin, settled, settled.outcome, ages=ages)

    def _fill(self, flight: "_Flight", number: int) -> float:
        """Keep devices at work until the buffer's last reply is on its way; the virtual time of that reply."""
        until = self.clock.now() + PATIENCE_S
        for attempt in count():
            now = self.clock.now()
            missing = self.plan.at_work - flight.open(now)
            if missing > 0:
                asked = self.draw(missing, number, attempt)
                self._outstanding[asked], self._last[asked] = True, number
                deadline = now + self.plan.deadline_seconds
                flight.add(self.emulator.dispatch(asked, now, deadline), deadline, number)
            due, again = flight.due(self.plan.buffer), min(flight.opens_after(now), now + RETRY_S)
            if due <= again:
                return due
            self.clock.advance_to(again)
            if again >= until:
                break
        raise FleetExhausted(
            f"round {number}: a buffer of {self.plan.buffer} replies did not fill within two days; enlarge the fleet, "
            "raise participations, lower separation, relax fleet.require_* or make the buffer smaller"
        )

    def _record(
        self,
        number: int,
        begin: float,
        tasks: Schedule,
        outcome: NDArray[np.uint8],
        ages: NDArray[np.int64] | None = None,
        unasked: Unasked | None = None,
    ) -> RoundTiming:
        figures: dict[str, Any] = turnout(outcome, self.emulator.population.tiers(tasks.device)) | costs(tasks)
        for reason, devices in (unasked or {}).items():
            figures["sampled"] += devices
            figures["dropped"][reason] = figures["dropped"].get(reason, 0) + devices
        if ages is not None:
            figures |= {"staleness": float(ages.mean()), "staleness_max": int(ages.max())}
        return RoundTiming(number, begin, self.clock.now() - begin, **figures)


def close(tasks: Schedule, wanted: int, begin: float, deadline: float) -> tuple[Bools, float]:
    """Which replies a synchronous round takes, and when it ends: by count, when all are in, or at its deadline.

    The first ``wanted`` replies in order of arrival are taken (ties in order of asking); the rest is displaced.
    """
    completes = np.flatnonzero(tasks.completes)
    if len(completes) == len(tasks) <= wanted:
        return tasks.completes, float(tasks.finish.max(initial=begin))
    if len(completes) < wanted:
        return tasks.completes, deadline
    order = completes[np.argsort(tasks.finish[completes], kind="stable")[:wanted]]
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

    def settle(self, now: float, version: int) -> tuple[Schedule, NDArray[np.int64]]:
        """Take out everything the server knows about at ``now``, and the staleness of its replies."""
        known = self.settles <= now
        settled = self.tasks[0].take(known)
        ages = version - self.version[known][settled.completes]
        self.tasks = [self.tasks[0].take(~known)]
        self.settles, self.version = self.settles[~known], self.version[~known]
        return settled, ages


def _join(parts: list[Schedule]) -> Schedule:
    names = Schedule.__dataclass_fields__
    return Schedule(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
