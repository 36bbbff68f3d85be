"""A population: what is true of every device for good, as small arrays. Nothing here changes while time passes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.randomness import stream
from tacit_simulations.fleet.catalogue import HABITS, TIERS, Profile, catalogue, weights_of
from tacit_simulations.fleet.config import FleetConfig
from tacit_simulations.fleet.hashing import key_of
from tacit_simulations.fleet.links import AWAY_LINKS, HOME_LINKS, LINK_INDEX, LINKS

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

DAY = 86_400.0
HOUR = 3_600.0
MONTH = 30 * DAY
STATIONARY = HABITS.index("stationary")

# Habits of owners, in hours after local noon (a habit day runs from noon to noon, so that no night is cut in two):
# mean and standard deviation over devices. Shapes follow the day and night pattern of charging, Wi-Fi and idleness of
# phones in Yang et al. 2018 (Gboard, arXiv 1812.02903) and Bonawitz et al. 2019 (arXiv 1902.01046); values estimated.
_PLUG_FROM = {"stationary": (0.0, 0.0), "phone": (10.3, 1.3), "tablet": (8.0, 2.5), "laptop": (6.5, 2.0)}
_PLUG_HOURS = {"stationary": (24.0, 0.0), "phone": (8.0, 1.2), "tablet": (13.0, 2.5), "laptop": (14.0, 3.0)}
_HOME_FROM = {"stationary": (0.0, 0.0), "phone": (5.8, 1.4), "tablet": (0.5, 1.0), "laptop": (5.5, 1.5)}
_HOME_HOURS = {"stationary": (24.0, 0.0), "phone": (14.2, 1.5), "tablet": (22.5, 1.5), "laptop": (14.5, 2.0)}
_QUIET_FROM = {"stationary": (0.0, 0.0), "phone": (11.0, 1.0), "tablet": (9.5, 1.5), "laptop": (9.0, 1.5)}
_QUIET_HOURS = {"stationary": (24.0, 0.0), "phone": (7.6, 0.8), "tablet": (18.0, 2.0), "laptop": (12.0, 2.0)}
_TOP_UP = {
    "stationary": 0.0,
    "phone": 0.45,
    "tablet": 0.3,
    "laptop": 0.7,
}  # probability of charging by day, too
_DRAIN = {"stationary": 0.0, "phone": 0.045, "tablet": 0.015, "laptop": 0.03}  # share of the battery an hour


@dataclass(frozen=True, eq=False)
class Population:
    """``size`` devices; every array has shape ``(size,)``. 77 bytes a device.

    Times of habits are seconds after local noon. Everything that changes with time (plugged in? at home? in use?) is a
    pure function of these arrays, the keys that follow from ``seed``, and the virtual time asked about.
    """

    seed: int
    profile: U8  # index into the catalogue
    habit: U8  # index into HABITS
    region: U8  # index into zone_seconds; regions fail together
    home_link: U8  # index into LINKS
    away_link: U8
    gflops: F32  # the profile's, spread
    memory: F32  # bytes available to training
    battery_wh: F32  # 0: mains
    drain: F32  # share of the battery that ordinary use takes in an hour
    home_down: F32  # Mbit/s
    home_up: F32
    away_down: F32
    away_up: F32
    data_factor: F32  # how many examples, relative to the median device
    plug_from: F32  # nightly charging: seconds after local noon, and how long
    plug_for: F32
    home_from: F32
    home_for: F32
    quiet_from: F32  # nobody touches the device
    quiet_for: F32
    top_up: F32  # probability of charging by day
    joins: F32  # virtual seconds; -inf: always there
    leaves: F32  # virtual seconds; +inf: stays
    zone_seconds: F32  # (regions,), seconds east of UTC

    @classmethod
    def draw(cls, seed: int, size: int, mix: str | Mapping[str, float] = "household", **settings: Any) -> Self:
        """``size`` devices of a mix, from ``seed`` alone; ``settings`` are other keys of FleetConfig."""
        return cls.of(seed, FleetConfig.model_validate({"devices": size, "mix": mix, **settings}))

    @classmethod
    def of(cls, seed: int, config: FleetConfig) -> Self:
        """The population that ``config`` describes, a function of ``seed`` and ``config`` alone.

        Each attribute has a stream of its own, so that asking for other habits does not change who has which device.
        """
        size = config.devices
        weights = weights_of(config.mix)
        names = [entry.name for entry in catalogue()]
        shares = np.array([weights.get(name, 0.0) for name in names])
        profile = _choice(stream(seed, "fleet", "profile"), size, shares)
        habit = _table([HABITS.index(entry.habit) for entry in catalogue()], np.uint8)[profile]
        zones = _zones(stream(seed, "fleet", "zones"), config)
        region = stream(seed, "fleet", "region").integers(0, len(zones), size, dtype=np.uint8)
        return cls(
            seed=seed,
            profile=profile,
            habit=habit,
            region=region,
            zone_seconds=zones,
            **_hardware(seed, profile, config),
            **_network(seed, habit),
            **_habits(seed, habit),
            **_membership(seed, size, config),
        )

    @property
    def size(self) -> int:
        return len(self.profile)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        arrays = (getattr(self, field.name) for field in fields(self) if field.name != "seed")
        return sum(array.nbytes for array in arrays)

    @cached_property
    def keys(self) -> "Keys":
        return Keys(**{name: key_of(self.seed, name) for name in Keys.__annotations__})

    @cached_property
    def tier_of_profile(self) -> U8:
        """Index into TIERS by profile."""
        return _table([TIERS.index(entry.tier) for entry in catalogue()], np.uint8)

    @cached_property
    def training_watts(self) -> F32:
        """Watts that training adds to an idle device, by profile."""
        return _table([entry.active_w - entry.idle_w for entry in catalogue()], np.float32)

    def tiers(self, devices: NDArray[np.intp] | None = None) -> U8:
        """Index into TIERS of the given devices, or of all."""
        return self.tier_of_profile[self.profile if devices is None else self.profile[devices]]

    def tier(self, device: int) -> str:
        """Name of the device's tier."""
        return TIERS[int(self.tier_of_profile[self.profile[device]])]

    def profile_of(self, device: int) -> Profile:
        return catalogue()[int(self.profile[device])]


@dataclass(frozen=True, slots=True)
class Keys:
    """Hash keys, one a purpose, so that being at home says nothing about being struck by an outage."""

    habits: np.uint64
    top_up: np.uint64
    offline: np.uint64
    use: np.uint64
    outage: np.uint64
    reach: np.uint64
    task: np.uint64
    loss: np.uint64
    trace: np.uint64


def _choice(rng: np.random.Generator, size: int, shares: NDArray[np.float64]) -> U8:
    """Indices drawn by weight; one uniform each, found in the cumulative weights."""
    bounds = np.cumsum(shares)
    drawn = np.searchsorted(bounds, rng.random(size, dtype=np.float32) * bounds[-1], side="right")
    return np.asarray(np.minimum(drawn, np.flatnonzero(shares)[-1]), dtype=np.uint8)


def _table(values: Sequence[float], dtype: type[np.generic]) -> NDArray[Any]:
    return np.array(values, dtype=dtype)


def _zones(rng: np.random.Generator, config: FleetConfig) -> F32:
    """Time zone of every region, the zones' shares met as closely as whole regions allow."""
    hours = np.array(list(config.time_zones))
    bounds = np.cumsum(list(config.time_zones.values()))
    regions = config.outages.regions
    position = (np.arange(regions) + rng.random()) / regions * bounds[-1]
    zone = np.minimum(np.searchsorted(bounds, position, side="right"), len(hours) - 1)
    return np.asarray(hours[zone] * HOUR, dtype=np.float32)


def _lognormal(rng: np.random.Generator, size: int, sigma: F32 | float) -> F32:
    """Median 1."""
    return np.asarray(np.exp(rng.standard_normal(size, dtype=np.float32) * sigma), dtype=np.float32)


def _hardware(seed: int, profile: U8, config: FleetConfig) -> dict[str, Any]:
    entries, size = catalogue(), len(profile)
    speed = _lognormal(stream(seed, "fleet", "speed"), size, config.speed_spread)
    free = stream(seed, "fleet", "memory").random(size, dtype=np.float32)
    wear = stream(seed, "fleet", "battery").random(size, dtype=np.float32)
    return {
        "gflops": _table([entry.gflops for entry in entries], np.float32)[profile] * speed,
        # what else runs on the device takes up to a quarter of the memory
        "memory": _table([entry.memory_bytes for entry in entries], np.float32)[profile] * (1 - free / 4),
        # a battery loses up to a quarter of its capacity before its device is replaced
        "battery_wh": _table([entry.battery_wh for entry in entries], np.float32)[profile] * (1 - wear / 4),
        "data_factor": _lognormal(stream(seed, "fleet", "data"), size, config.data_spread),
    }


def _network(seed: int, habit: U8) -> dict[str, Any]:
    drawn: dict[str, Any] = {}
    median = {way: _table([getattr(link, f"{way}_mbit") for link in LINKS], np.float32) for way in ("down", "up")}
    sigma = _table([link.sigma for link in LINKS], np.float32)
    for place, shares in (("home", HOME_LINKS), ("away", AWAY_LINKS)):
        kind = np.zeros(len(habit), dtype=np.uint8)
        rng = stream(seed, "fleet", place, "link")
        for index, name in enumerate(HABITS):
            rows = np.flatnonzero(habit == index)
            weights = np.zeros(len(LINKS))
            weights[[LINK_INDEX[link] for link in shares[name]]] = list(shares[name].values())
            kind[rows] = _choice(rng, len(rows), weights)
        # one quality for both directions: who is far from the mast is so both ways
        quality = _lognormal(stream(seed, "fleet", place, "quality"), len(habit), sigma[kind])
        drawn[f"{place}_link"] = kind
        drawn[f"{place}_down"] = median["down"][kind] * quality
        drawn[f"{place}_up"] = median["up"][kind] * quality
    return drawn


def _habits(seed: int, habit: U8) -> dict[str, Any]:
    tables = {
        "plug_from": _PLUG_FROM,
        "plug_for": _PLUG_HOURS,
        "home_from": _HOME_FROM,
        "home_for": _HOME_HOURS,
        "quiet_from": _QUIET_FROM,
        "quiet_for": _QUIET_HOURS,
    }
    drawn: dict[str, Any] = {}
    for name, table in tables.items():
        mean = _table([table[kind][0] * HOUR for kind in HABITS], np.float32)[habit]
        spread = _table([table[kind][1] * HOUR for kind in HABITS], np.float32)[habit]
        value = mean + spread * stream(seed, "fleet", name).standard_normal(len(habit), dtype=np.float32)
        drawn[name] = np.clip(value, 0, np.float32(DAY), out=value)
    use = _lognormal(stream(seed, "fleet", "use"), len(habit), 0.35)
    drawn["drain"] = _table([_DRAIN[kind] for kind in HABITS], np.float32)[habit] * use
    drawn["top_up"] = _table([_TOP_UP[kind] for kind in HABITS], np.float32)[habit]
    return drawn


def _membership(seed: int, size: int, config: FleetConfig) -> dict[str, Any]:
    """When devices join and leave: a share joins within a month of the start, others leave at a constant rate."""
    rng = stream(seed, "fleet", "membership")
    late, when = rng.random(size, dtype=np.float32), rng.random(size, dtype=np.float32)
    start = np.float32(config.start)
    joins = np.where(late < config.join_share, start + when * np.float32(MONTH), np.float32(-np.inf))
    leaves = np.full(size, np.inf, dtype=np.float32)
    if config.monthly_churn > 0:
        stay = rng.standard_exponential(size, dtype=np.float32) / np.float32(-np.log1p(-config.monthly_churn))
        leaves = np.maximum(joins, start) + stay * np.float32(MONTH)
    return {"joins": joins.astype(np.float32), "leaves": leaves.astype(np.float32)}
