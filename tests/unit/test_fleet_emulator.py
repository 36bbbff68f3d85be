"""The emulated fleet: populations, batteries, who is at work, snapshots, figures."""

from typing import Any

import numpy as np
import pytest

from tacit_privacy.errors import BadInput
from tacit_simulations.fleet.battery import BatteryLedger
from tacit_simulations.fleet.catalogue import TIERS, catalogue, weights_of
from tacit_simulations.fleet.config import FleetConfig, OutageConfig
from tacit_simulations.fleet.dispatch import Work
from tacit_simulations.fleet.emulator import Emulator
from tacit_simulations.fleet.figures import availability_by_hour, fleet_facts, turnout
from tacit_simulations.fleet.habits import Today
from tacit_simulations.fleet.outcomes import Outcome
from tacit_simulations.fleet.population import DAY, HOUR, Population
from tacit_simulations.fleet.roster import FleetRoster

FREE: dict[str, Any] = {"require_charging": False, "require_unmetered": False, "require_idle": False}


def emulator_of(devices: int = 2000, mix: str = "mixed", seed: int = 3, **settings: Any) -> Emulator:
    config = FleetConfig.model_validate({"devices": devices, "mix": mix, **settings})
    return Emulator.of(seed, config, Work.of_model(1.5e6, 8192, 32, 48, config))


def everybody(emulator: Emulator) -> np.ndarray:
    return np.arange(emulator.devices)


def test_a_population_is_a_function_of_its_seed() -> None:
    one, same, other = (Population.draw(seed, 500, "mixed") for seed in (1, 1, 2))
    assert np.array_equal(one.gflops, same.gflops) and np.array_equal(one.leaves, same.leaves)
    assert not np.array_equal(one.profile, other.profile)


def test_the_mix_decides_who_has_which_device() -> None:
    size = 50_000
    drawn = np.bincount(Population.draw(1, size, "mixed").profile, minlength=len(catalogue()))
    weights = weights_of("mixed")
    share = np.array([weights.get(entry.name, 0.0) for entry in catalogue()])
    assert np.all(np.abs(drawn - size * share) <= 5 * np.sqrt(size * share * (1 - share)))


def test_a_million_devices_fit_in_a_hundred_megabytes() -> None:
    assert Population.draw(1, 10_000, "mixed").nbytes / 10_000 < 100


def test_what_cannot_hold_the_model_is_never_asked() -> None:
    emulator = emulator_of()
    esp = np.flatnonzero(emulator.population.profile == 0)
    assert catalogue()[0].name == "esp32-s3-hub"
    for hour in range(0, 168, 7):
        assert np.all(emulator.reasons(esp, hour * HOUR) == Outcome.MEMORY)


def test_a_device_at_work_is_not_asked_again_until_it_ends() -> None:
    emulator, now = emulator_of(), 20 * HOUR
    tasks = emulator.dispatch(emulator.reachable(now)[:50], now, now + 600.0)
    first = tasks.take(tasks.completes)
    again = emulator.reasons(first.device, now + 1.0)
    assert np.all(again == Outcome.IN_FLIGHT)
    assert not np.any(emulator.reasons(first.device, float(first.finish.max())) == Outcome.IN_FLIGHT)
    refused = emulator.dispatch(first.device, now + 1.0, now + 600.0)
    assert np.all(refused.outcome == Outcome.IN_FLIGHT)
    assert refused.energy_j.sum() == refused.bytes_down.sum() == refused.money.sum() == 0.0


def test_a_restored_fleet_goes_on_like_one_that_never_stopped() -> None:
    settings = FREE | {"price_per_gb": {"cellular-4g": 5.0}}
    one, other = (emulator_of(mix="phones", **settings) for _ in range(2))
    now = 30 * HOUR
    for step in range(3):
        one.dispatch(everybody(one)[step::7], now + 400 * step, now + 400 * step + 600)
    other.restore(one.snapshot())
    later = now + 1300.0
    ours, theirs = (fleet.dispatch(everybody(fleet), later, later + 600) for fleet in (one, other))
    for name in ("finish", "outcome", "energy_j", "bytes_up", "money"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name))


def test_training_on_battery_empties_it_and_a_night_on_the_charger_fills_it() -> None:
    emulator = emulator_of(mix="phones", **FREE)
    population, phones = emulator.population, everybody(emulator)
    ledger = BatteryLedger.full(population.size)
    now = 35 * HOUR
    phones = phones[Today.at(population, phones, now).charging_until() <= 0]
    before = ledger.charge_wh(population, Today.at(population, phones, now), now)
    ledger.withdraw(population, Today.at(population, phones, now), now, np.full(len(phones), 0.5))
    after = ledger.charge_wh(population, Today.at(population, phones, now), now)
    assert np.allclose(before - after, np.minimum(0.5, before), atol=1e-5)
    later = now + 3 * DAY
    rested = ledger.charge_wh(population, Today.at(population, phones, later), later)
    untouched = BatteryLedger.full(population.size).charge_wh(population, Today.at(population, phones, later), later)
    assert np.array_equal(rested, untouched)


def test_work_that_needs_more_than_the_battery_ends_with_it() -> None:
    config = FleetConfig(devices=500, mix="phones", monthly_churn=0, join_share=0, crash_rate=0, **FREE)
    hours = Work(1e4, 1e4, 1e12, np.full(500, 1_000), 0.0, 1.0)  # 10^15 operations: half a day of a fast phone
    emulator = Emulator.of(1, config, hours)
    now = 12 * HOUR
    tasks = emulator.dispatch(emulator.reachable(now), now, now + 5 * DAY)
    died = tasks.take(tasks.outcome == Outcome.BATTERY)
    assert len(died) > 20
    capacity = emulator.population.battery_wh[died.device] * 3600.0
    assert np.all(died.energy_j <= capacity)
    assert np.all(died.train > 0) and np.all(died.bytes_up == 0)


def test_an_outage_takes_part_of_a_region_and_nobody_else() -> None:
    always = OutageConfig(regions=8, per_region_day=12, mean_minutes=60, reach=0.5)
    emulator = emulator_of(devices=20_000, outages=always.model_dump())
    outages, now = emulator.availability.outages, 40 * HOUR
    cut = outages.active(everybody(emulator), now)
    share = np.array([cut[emulator.population.region == region].mean() for region in range(8)])
    assert np.any(share == 0) and np.any(share > 0.4)
    none = emulator_of(devices=20_000, outages=always.model_copy(update={"per_region_day": 0}).model_dump())
    assert not none.availability.outages.active(everybody(none), now).any()


def test_availability_follows_the_night_of_a_time_zone() -> None:
    emulator = emulator_of(devices=5000, mix="phones", time_zones={0.0: 1.0})
    by_hour = availability_by_hour(emulator.availability)
    assert len(by_hour) == 24
    assert min(by_hour[1:5]) > 2 * max(by_hour[10:16])


def test_moving_the_fleet_east_moves_its_day() -> None:
    here, there = (emulator_of(mix="phones", time_zones={zone: 1.0}, join_share=0.0) for zone in (0.0, 6.0))
    local = [
        fleet.availability.available(everybody(fleet), 60 * HOUR - zone)
        for fleet, zone in ((here, 0.0), (there, 6 * HOUR))
    ]
    agree = (local[0] == local[1]).mean()
    assert agree > 0.9  # all but the random spells, which belong to virtual time


def test_figures_add_up() -> None:
    emulator, now = emulator_of(), 20 * HOUR
    tasks = emulator.dispatch(everybody(emulator), now, now + 600.0)
    counted = turnout(tasks.outcome, emulator.population.tiers(tasks.device))
    assert counted["sampled"] == counted["completed"] + sum(counted["dropped"].values()) == emulator.devices
    for key in ("sampled", "completed"):
        assert counted[key] == sum(row[key] for row in counted["tiers"].values())
    assert counted["tiers"]["gateway"]["dropped"]["memory"] > 0
    lost = sum(sum(row["dropped"].values()) for row in counted["tiers"].values())
    assert lost == sum(counted["dropped"].values())
    facts = fleet_facts(emulator.availability)
    assert sum(facts["tiers"].values()) == facts["devices"] == emulator.devices
    assert sum(facts["too_small"].values()) == counted["dropped"]["memory"]


def test_by_default_a_round_takes_minutes_and_loses_some() -> None:
    for mix in ("household", "phones", "mixed"):
        emulator = emulator_of(devices=10_000, mix=mix)
        now = emulator.config.start
        tasks = emulator.dispatch(emulator.reachable(now), now, now + 600.0)
        lost = 1 - tasks.completes.mean()
        assert 0.04 < lost < 0.20
        assert 60 < np.percentile(tasks.finish - now, 90) < 600


def test_slower_devices_of_the_catalogue_take_longer() -> None:
    work = Work(1e4, 1e4, 1e9, np.full(400, 100), 0.0, 0.0)
    seconds = []
    for name in ("smart-speaker", "pi-4-4gb", "pi-5-8gb", "rk3588-board", "desktop-5600x"):
        emulator = Emulator.of(1, FleetConfig(devices=400, mix={name: 1.0}), work)
        tasks = emulator.dispatch(emulator.reachable(0.0), 0.0, 10 * HOUR)
        seconds.append(np.median(tasks.train[tasks.completes]))
    assert seconds == sorted(seconds, reverse=True)


def test_metered_bytes_cost_money_and_others_do_not() -> None:
    emulator = emulator_of(mix="phones", **FREE)
    now = 12 * HOUR
    tasks = emulator.dispatch(everybody(emulator), now, now + 600.0)
    assert 0 < tasks.money.sum() <= 2.5e-9 * (tasks.bytes_up.sum() + tasks.bytes_down.sum())
    unmetered = emulator_of(mix="phones", require_charging=False)
    tasks = unmetered.dispatch(everybody(unmetered), now, now + 600.0)
    assert tasks.money.sum() == 0 and tasks.completes.any()


def test_the_roster_speaks_of_stable_nodes_tiers_and_ranks() -> None:
    emulator = emulator_of()
    roster = FleetRoster(emulator, rank=8, tier_ranks={"phone-low": 2})
    assert roster.population == emulator.devices
    for device in range(0, 2000, 97):
        assert roster.node_id(device) == device + 1
        assert roster.tier(device) in TIERS
        assert roster.rank(device) == (2 if roster.tier(device) == "phone-low" else 8)
    now = 20 * HOUR
    assert np.array_equal(np.flatnonzero(roster.eligible(everybody(emulator), now)), emulator.reachable(now))
    with pytest.raises(BadInput, match="toaster"):
        FleetRoster(emulator, rank=8, tier_ranks={"toaster": 1})
