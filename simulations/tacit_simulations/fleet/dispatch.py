"""What becomes of a task that is sent to devices at a virtual time: who finishes when, and why the others do not.

One pure function, ``schedule``, that the Flower grid of a training run and the timing-only simulation both call.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from tacit_simulations.fleet import availability as av
from tacit_simulations.fleet.availability import Availability
from tacit_simulations.fleet.battery import EMPTY
from tacit_simulations.fleet.config import FleetConfig, StragglerConfig
from tacit_simulations.fleet.habits import F64, Bools, Devices, Today
from tacit_simulations.fleet.hashing import hash64, part, wide
from tacit_simulations.fleet.links import LINKS, NO_LINK
from tacit_simulations.fleet.network import Network
from tacit_simulations.fleet.outcomes import Outcome
from tacit_simulations.fleet.per_device import PerDevice, of
from tacit_simulations.fleet.population import DAY, HOUR, STATIONARY, Population

_WATTS = np.array([link.watts for link in LINKS])
_FAILURE = np.array([link.failure for link in LINKS])
_METERED = np.array([link.metered for link in LINKS])
_REFERENCE_GFLOPS = 15.1  # Raspberry Pi 5: what fixed_seconds is stated for
_TRAIN_FLOPS_PER_PARAMETER = 6.0  # multiply-adds of forward and backward pass; Kaplan et al. 2020, arXiv 2001.08361
_LONGEST = 14 * DAY  # no task lasts longer: bounds the search for what may interrupt it


@dataclass(frozen=True, slots=True)
class Work:
    """What one task costs a device. Numbers hold for every device, arrays are indexed by device."""

    bytes_down: PerDevice
    bytes_up: PerDevice
    flops_per_example: float
    examples: PerDevice  # a number is the median, spread by the population's data_factor; an array is taken as it is
    memory_bytes: PerDevice
    fixed_seconds: float = 20.0  # to start the job and load the model, on the reference board

    @classmethod
    def of_model(
        cls,
        parameters: float,
        adapter_floats: PerDevice,
        tokens: float,
        examples: PerDevice,
        config: FleetConfig,
        update_bits: int = 32,
    ) -> "Work":
        """Adapter training of a model of ``parameters`` weights on examples of ``tokens`` tokens.

        Bytes: 4 a float of the adapter and 2 KB of terms on the way down, ``update_bits`` / 8 a float and 2 KB of
        receipt on the way up. Memory: weights in single precision, twice that for activations and gradients, and 350 MB
        for the runtime that holds them.
        """
        down, up = 4.0 * adapter_floats + 2_048.0, update_bits / 8 * adapter_floats + 2_048.0
        flops = _TRAIN_FLOPS_PER_PARAMETER * parameters * tokens
        return cls(down, up, flops, examples, 12.0 * parameters + 350e6, config.fixed_seconds)

    def down(self, devices: Devices) -> F64:
        return of(self.bytes_down, devices)

    def up(self, devices: Devices) -> F64:
        return of(self.bytes_up, devices)

    def examples_of(self, population: Population, devices: Devices) -> F64:
        if isinstance(self.examples, np.ndarray):
            return of(self.examples, devices)
        return np.maximum(1.0, np.rint(self.examples * population.data_factor[devices].astype(np.float64)))


@dataclass(frozen=True, slots=True)
class Schedule:
    """What will have become of each task; all arrays ``(n,)``, times in virtual seconds, energy in joules.

    ``finish`` is when the reply is there, or when a lost device stopped. Seconds, energy, bytes and money count what
    really happened until then. Energy is what the task added to an idle device, radio included.
    """

    device: Devices
    finish: F64
    outcome: NDArray[np.uint8]
    waiting: F64  # until the device asked for work
    download: F64
    train: F64
    upload: F64
    energy_j: F64
    bytes_down: F64
    bytes_up: F64
    money: F64

    @property
    def completes(self) -> Bools:
        return np.asarray(self.outcome == Outcome.COMPLETED)

    def __len__(self) -> int:
        return len(self.device)

    def take(self, rows: NDArray[np.intp] | Bools) -> "Schedule":
        return Schedule(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


@dataclass(frozen=True, slots=True)
class World:
    """Everything that decides a schedule and does not change during a run, but for the batteries."""

    availability: Availability
    network: Network
    config: FleetConfig

    @property
    def population(self) -> Population:
        return self.availability.population


def schedule(world: World, devices: Devices, now: float, work: Work, deadline: F64 | float) -> Schedule:
    """Send ``work`` to ``devices`` (n,) at ``now``; replies after ``deadline`` (n,) or scalar are of no use to anybody.

    A pure function of its arguments: the random part of a task is hashed from (seed, device, now), so it does not
    matter with whom a device is asked, or by which engine. Devices that cannot start are given back with their reason.
    """
    reasons = world.availability.reasons(devices, now)
    able = np.flatnonzero(reasons == Outcome.COMPLETED)
    until = np.broadcast_to(np.asarray(deadline, dtype=np.float64), (len(devices),))
    ran = _run(world, devices[able], now, work, until[able])
    if len(able) == len(devices):
        return ran
    zeros = {f.name: np.zeros(len(devices)) for f in fields(Schedule)} | {"finish": np.full(len(devices), now)}
    for field in fields(Schedule):
        zeros[field.name][able] = getattr(ran, field.name)
    outcome = reasons.copy()
    outcome[able] = ran.outcome
    return Schedule(**zeros | {"device": devices, "outcome": outcome})


@dataclass(frozen=True, slots=True)
class _Plan:
    """Phases of tasks as they would go undisturbed: virtual seconds at which each phase ends, shapes ``(n,)``."""

    devices: Devices
    today: Today
    task: NDArray[np.uint64]  # random bits of the task
    home_for: F64  # seconds at home from now on
    down_link: NDArray[np.uint8]
    up_link: NDArray[np.uint8]
    asked: F64
    downloaded: F64
    trained: F64
    uploaded: F64


def _run(world: World, devices: Devices, now: float, work: Work, deadline: F64) -> Schedule:
    plan = _undisturbed(world, devices, now, work)
    end = np.minimum(plan.uploaded, deadline)
    outcome = np.where(plan.uploaded > deadline, Outcome.LATE, Outcome.COMPLETED).astype(np.uint8)
    horizon = np.minimum(end, now + _LONGEST)
    for reason, rows, at in _interruptions(world, plan, now, horizon):
        sooner = at < end[rows]
        end[rows[sooner]] = at[sooner]
        outcome[rows[sooner]] = reason
    return _account(world, plan, now, work, np.maximum(end, now), outcome)


def _undisturbed(world: World, devices: Devices, now: float, work: Work) -> _Plan:
    population, config = world.population, world.config
    today = Today.at(population, devices, now)
    home_for = np.full(len(devices), np.inf)
    moved = np.flatnonzero(population.habit[devices] != STATIONARY)
    home_for[moved] = today.take(moved).home_until()
    # the moment belongs to the hash in milliseconds: nobody is asked twice within one
    task = hash64(population.keys.task, devices, round(now * 1000.0))
    asked = now + part(task, 0).astype(np.float64) * config.poll_seconds
    down_link, down_mbit = _link(population, devices, asked < now + home_for, "down")
    downloaded = asked + world.network.seconds(devices, asked, work.down(devices), down_mbit, down_link)
    trained = downloaded + _training_seconds(population, devices, task, work, config.stragglers)
    up_link, up_mbit = _link(population, devices, trained < now + home_for, "up")
    uploaded = trained + world.network.seconds(devices, trained, work.up(devices), up_mbit, up_link)
    return _Plan(devices, today, task, home_for, down_link, up_link, asked, downloaded, trained, uploaded)


def _link(population: Population, devices: Devices, at_home: Bools, way: str) -> tuple[NDArray[np.uint8], F64]:
    kind = np.where(at_home, population.home_link[devices], population.away_link[devices])
    home, away = getattr(population, f"home_{way}"), getattr(population, f"away_{way}")
    return kind, np.where(at_home, home[devices], away[devices]).astype(np.float64)


def _training_seconds(
    population: Population,
    devices: Devices,
    task: NDArray[np.uint64],
    work: Work,
    stragglers: StragglerConfig,
) -> F64:
    gflops = population.gflops[devices].astype(np.float64)
    steady = work.examples_of(population, devices) * work.flops_per_example / (gflops * 1e9)
    # starting a job is as much input and output as arithmetic, so it gains from speed by the square root
    steady += work.fixed_seconds * np.sqrt(_REFERENCE_GFLOPS / gflops)
    # a logistic variable scaled to unit variance stands in for the normal: one logarithm, and the same for everybody
    u = part(task, 1)
    mild = np.exp(stragglers.spread * np.log(u / (1 - u)) * np.float32(np.sqrt(3) / np.pi))
    slowed = np.flatnonzero(part(task, 2) < stragglers.share)
    tail = wide(hash64(population.keys.loss, devices[slowed], (task[slowed] >> np.uint64(1)).astype(np.int64)), 0)
    factor = mild.astype(np.float64)
    factor[slowed] *= np.minimum(tail ** (-1.0 / stragglers.shape), stragglers.longest)
    return np.asarray(steady * factor)


def _interruptions(
    world: World, plan: _Plan, now: float, horizon: F64
) -> Iterator[tuple[Outcome, NDArray[np.intp], F64]]:
    """``(reason, rows, virtual seconds)`` of everything that may end tasks before they end themselves."""
    population, rules = world.population, world.availability.requirements
    devices, everybody = plan.devices, np.arange(len(plan.devices))
    yield Outcome.CHURN, everybody, population.leaves[devices].astype(np.float64)
    yield Outcome.OUTAGE, everybody, world.availability.outages.next_start(devices, now, horizon)
    chance = av.offline_probability(population, devices)
    yield Outcome.OFFLINE, everybody, av.offline_spells(population).next_start(devices, now, horizon, chance)
    yield Outcome.CRASHED, *_crashes(world, plan, now)
    yield Outcome.NETWORK, *_broken_transfers(population, plan)
    moved = np.flatnonzero(population.habit[devices] != STATIONARY)
    if not len(moved):
        return
    leaves_home = now + plan.home_for[moved]
    away = population.away_link[devices[moved]]
    if rules.unmetered:
        yield Outcome.NOT_ON_WIFI, moved, np.where(_METERED[away], leaves_home, np.inf)
    yield Outcome.OFFLINE, moved, np.where(away == NO_LINK, leaves_home, np.inf)
    plugged_for = plan.today.take(moved).charging_until()
    if rules.charging:
        yield Outcome.NOT_CHARGING, moved, now + plugged_for
    else:
        yield Outcome.BATTERY, *_empty_batteries(world, plan, moved[plugged_for <= 0], now)
    if rules.idle:
        yield Outcome.BUSY, moved, _taken_into_use(population, plan, moved, now, horizon[moved])


def _crashes(world: World, plan: _Plan, now: float) -> tuple[NDArray[np.intp], F64]:
    rows = np.flatnonzero(part(plan.task, 3) < world.config.crash_rate)
    moment = part(plan.task[rows], 4).astype(np.float64)
    return rows, plan.asked[rows] + moment * (plan.uploaded[rows] - plan.asked[rows])


def _broken_transfers(population: Population, plan: _Plan) -> tuple[NDArray[np.intp], F64]:
    """Transfers that break half-way and find no connection again in time; down or up."""
    h = hash64(population.keys.loss, plan.devices, (plan.task >> np.uint64(1)).astype(np.int64))
    down = part(h, 3) < _FAILURE[plan.down_link]
    up = part(h, 4) < _FAILURE[plan.up_link]
    rows = np.flatnonzero(down | up)
    at_down = (plan.asked[rows] + plan.downloaded[rows]) / 2
    return rows, np.where(down[rows], at_down, (plan.trained[rows] + plan.uploaded[rows]) / 2)


def _empty_batteries(world: World, plan: _Plan, rows: NDArray[np.intp], now: float) -> tuple[NDArray[np.intp], F64]:
    """When devices that run on battery switch off: training and ordinary use together drain what is left."""
    population, today = world.population, plan.today.take(rows)
    capacity = population.battery_wh[plan.devices[rows]].astype(np.float64)
    left = world.availability.batteries.charge_wh(population, today, now) - EMPTY * capacity
    watts = population.training_watts[population.profile[plan.devices[rows]]].astype(np.float64)
    use = population.drain[plan.devices[rows]] * capacity  # watt-hours an hour
    training = np.maximum(left, 0.0) / (watts + use) * HOUR
    at = plan.downloaded[rows] + training
    return rows, np.where(at < plan.trained[rows], at, np.inf)


def _taken_into_use(population: Population, plan: _Plan, rows: NDArray[np.intp], now: float, horizon: F64) -> F64:
    """When owners pick their devices up; quiet hours are slept through."""
    devices, today = plan.devices[rows], plan.today.take(rows)
    begin, end = today.quiet()
    quiet = (today.offset >= begin) & (today.offset < end)
    wakes = np.where(quiet, now + end - today.offset, now)
    sleeps = np.where(today.offset < begin, now + begin - today.offset, np.inf)
    awake = np.flatnonzero(wakes < horizon)
    at = np.full(len(rows), np.inf)
    chance = av.use_probability(population, devices[awake])
    at[awake] = av.use_spells(population).next_start(devices[awake], wakes[awake], horizon[awake], chance)
    return np.where(at < sleeps, at, np.inf)


def _account(world: World, plan: _Plan, now: float, work: Work, end: F64, outcome: NDArray[np.uint8]) -> Schedule:
    """Count what happened until ``end``, phase by phase."""
    population, devices = world.population, plan.devices
    download = np.minimum(end, plan.downloaded) - np.minimum(end, plan.asked)
    train = np.minimum(end, plan.trained) - np.minimum(end, plan.downloaded)
    upload = end - np.minimum(end, plan.trained)
    watts = population.training_watts[population.profile[devices]]
    radio = _WATTS[plan.down_link] * download + _WATTS[plan.up_link] * upload
    bytes_down = work.down(devices) * _share(download, plan.downloaded - plan.asked)
    bytes_up = work.up(devices) * _share(upload, plan.uploaded - plan.trained)
    prices = np.array([world.config.price_per_gb.get(link.name, 0.0) for link in LINKS]) / 1e9
    return Schedule(
        device=devices,
        finish=end,
        outcome=outcome,
        waiting=np.minimum(end, plan.asked) - now,
        download=download,
        train=train,
        upload=upload,
        energy_j=radio + watts * train,
        bytes_down=bytes_down,
        bytes_up=bytes_up,
        money=bytes_down * prices[plan.down_link] + bytes_up * prices[plan.up_link],
    )


def _share(done: F64, whole: F64) -> F64:
    """``done / whole``, 1 where there was nothing to do. Never above 1."""
    return np.minimum(np.divide(done, whole, out=np.ones_like(done), where=whole > 0), 1.0)
