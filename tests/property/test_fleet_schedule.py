"""Laws of schedules and availability: purity, conservation, and that windows and moments tell the same story."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit_simulations.fleet import availability as av
from tacit_simulations.fleet.config import FleetConfig
from tacit_simulations.fleet.dispatch import Schedule, Work, schedule
from tacit_simulations.fleet.emulator import Emulator
from tacit_simulations.fleet.habits import Spells, Today
from tacit_simulations.fleet.outcomes import Outcome
from tacit_simulations.fleet.population import DAY, STATIONARY, Population

SIZE = 1200
times = st.floats(0, 60 * DAY)
laws = settings(max_examples=25, deadline=None)


def fleet(mix: str, **settings: object) -> Emulator:
    config = FleetConfig.model_validate({"devices": SIZE, "mix": mix, **settings})
    # enough work that interruptions of every kind happen
    return Emulator.of(11, config, Work.of_model(1.5e6, 8192, 32, 2000, config))


STRICT = fleet("mixed")
LOOSE = fleet("phones", require_charging=False, require_unmetered=False, require_idle=False)
fleets = st.sampled_from([STRICT, LOOSE])
EVERYBODY = np.arange(SIZE)
ARRAYS = tuple(Schedule.__dataclass_fields__)


def ask(emulator: Emulator, devices: np.ndarray, now: float, patience: float) -> Schedule:
    return schedule(emulator.world, devices, now, emulator.work, now + patience)


@laws
@given(fleets, times, st.floats(1, 7200), st.integers(0, 2**32))
def test_a_device_fares_the_same_whoever_is_asked_with_it(
    emulator: Emulator, now: float, patience: float, seed: int
) -> None:
    whole = ask(emulator, EVERYBODY, now, patience)
    some = np.random.default_rng(seed).permutation(SIZE)[:40]
    part = ask(emulator, some, now, patience)
    for name in ARRAYS:
        assert np.array_equal(getattr(part, name), getattr(whole, name)[some])


@laws
@given(fleets, times, st.floats(1, 7200))
def test_what_is_counted_is_what_happened(emulator: Emulator, now: float, patience: float) -> None:
    tasks = ask(emulator, EVERYBODY, now, patience)
    done = tasks.completes
    phases = tasks.waiting + tasks.download + tasks.train + tasks.upload
    assert np.allclose(phases, tasks.finish - now, atol=1e-6)
    assert np.all(tasks.finish >= now) and np.all(tasks.finish <= now + patience)
    for name in ("waiting", "download", "train", "upload", "energy_j", "bytes_up", "bytes_down", "money"):
        assert np.all(getattr(tasks, name) >= 0)
    for moved, size in ((tasks.bytes_down, emulator.work.bytes_down), (tasks.bytes_up, emulator.work.bytes_up)):
        assert np.all(moved <= size) and np.all(moved[done] == size)
    assert np.all(tasks.finish[tasks.outcome == Outcome.LATE] == now + patience)


@laws
@given(fleets, times, st.floats(1, 3600), st.floats(1, 3600))
def test_more_patience_loses_nobody_and_changes_nobody_who_was_in_time(
    emulator: Emulator, now: float, patience: float, more: float
) -> None:
    short, long = ask(emulator, EVERYBODY, now, patience), ask(emulator, EVERYBODY, now, patience + more)
    settled = short.outcome != Outcome.LATE
    for name in ARRAYS:
        assert np.array_equal(getattr(short, name)[settled], getattr(long, name)[settled])


@laws
@given(fleets, times, st.lists(times, max_size=4))
def test_asking_about_other_times_changes_no_answer(emulator: Emulator, now: float, others: list[float]) -> None:
    before = emulator.reasons(EVERYBODY, now)
    for other in others:
        emulator.reasons(EVERYBODY, other)
        ask(emulator, EVERYBODY, other, 600.0)
    assert np.array_equal(emulator.reasons(EVERYBODY, now), before)


@laws
@given(times, st.floats(0.02, 0.98))
def test_whoever_completes_was_fit_for_it_all_the_while(now: float, moment: float) -> None:
    population = STRICT.population
    tasks = ask(STRICT, EVERYBODY, now, 7200.0)
    done = tasks.take(tasks.completes)
    for device, finish in zip(done.device[:60], done.finish[:60], strict=True):
        one, at = np.array([device]), now + moment * (float(finish) - now)
        chance = av.offline_probability(population, one)
        assert not av.offline_spells(population).active(one, at, chance)[0]
        assert not STRICT.availability.outages.active(one, at)[0]
        if population.habit[device] != STATIONARY:
            assert Today.at(population, one, at).charging_until()[0] > 0


@laws
@given(st.integers(0, 2**32), times, st.floats(0.01, 1.0), st.floats(60, 3600), st.floats(1, 20_000))
def test_the_next_spell_is_the_first_moment_at_which_one_begins(
    key: int, now: float, chance: float, mean: float, ahead: float
) -> None:
    spells, entities = Spells(np.uint64(key), 3600.0, mean), np.arange(20)
    horizon = np.full(20, now + ahead)
    found = spells.next_start(entities, now, horizon, chance)
    brute = np.full(20, np.inf)
    for block in range(int(now // 3600), int((now + ahead) // 3600) + 1):
        begin, _ = spells.bounds(entities, block, chance)
        brute = np.where((begin > now) & (begin < horizon), np.minimum(brute, begin), brute)
    assert np.array_equal(found, brute)
    struck = np.flatnonzero(np.isfinite(found))
    for row in struck[:5]:
        assert spells.active(entities[row : row + 1], float(np.nextafter(found[row], np.inf)), chance)[0]


@laws
@given(times, st.floats(0.01, 0.99))
def test_a_window_holds_until_its_end(now: float, moment: float) -> None:
    population: Population = LOOSE.population
    today = Today.at(population, EVERYBODY, now)
    for name in ("charging_until", "home_until"):
        left = getattr(today, name)()
        inside = np.flatnonzero(left > 5)
        for row in inside[:40]:
            then = Today.at(population, EVERYBODY[row : row + 1], now + moment * float(left[row]))
            assert getattr(then, name)()[0] > 0


@laws
@given(times)
def test_charge_stays_between_empty_and_full(now: float) -> None:
    population = LOOSE.population
    charge = LOOSE.batteries.charge_wh(population, Today.at(population, EVERYBODY, now), now)
    assert np.all(charge >= 0) and np.all(charge <= population.battery_wh * (1 + 1e-6))
