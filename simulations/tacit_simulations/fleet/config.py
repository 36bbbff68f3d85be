"""What a scenario may say about its fleet."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, Field, PositiveFloat, field_validator

from tacit_privacy.errors import BadInput
from tacit_simulations.fleet.catalogue import weights_of
from tacit_simulations.fleet.links import LINKS

# Time zones by share of people online, coarse (hours east of UTC: weight).
WORLD: dict[float, float] = {-8: 5, -6: 7, -5: 8, -3: 8, 0: 7, 1: 13, 2: 8, 3: 8, 5.5: 15, 7: 8, 8: 10, 9: 3}


class StragglerConfig(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Slowdowns: a mild one for everybody, a heavy-tailed one (Pareto) for some."""

    spread: float = Field(default=0.15, ge=0, le=2, description="log-normal sigma of every task's duration")
    share: float = Field(default=0.08, ge=0, le=1, description="share of tasks that are slowed by something else")
    shape: PositiveFloat = Field(default=1.5, description="Pareto shape of their slowdown; smaller is heavier")
    longest: float = Field(default=30.0, ge=1, description="largest slowdown, a factor")


class OutageConfig(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Correlated outages: a region's power, exchange or cell network fails for a while."""

    regions: int = Field(default=96, ge=1, le=255, description="regions that fail independently")
    per_region_day: float = Field(default=0.2, ge=0, le=12, description="expected outages of a region in a day")
    mean_minutes: PositiveFloat = Field(default=30.0, description="mean length of an outage, minutes; at most an hour")
    reach: float = Field(default=0.6, ge=0, le=1, description="share of the region's devices that an outage cuts off")


class FleetConfig(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """The emulated fleet: who is in it, when they can be reached, and what goes wrong."""

    devices: int = Field(default=1000, gt=0, le=1_000_000_000, description="population size")
    mix: str | dict[str, float] = Field(
        default="household",
        description="household, phones, edge, mixed, or a table of profile = weight from the device catalogue",
    )
    time_zones: dict[float, float] = Field(
        default=WORLD, description="hours east of UTC = weight; where the owners live", min_length=1
    )
    start_hour: float = Field(
        default=20.0, ge=0, lt=168, description="when the run starts, hours after Monday 00:00 UTC"
    )
    require_charging: bool = Field(default=True, description="train only while plugged in")
    require_unmetered: bool = Field(default=True, description="transfer only over connections without a price")
    require_idle: bool = Field(default=True, description="train only while the owner does not use the device")
    min_battery: float = Field(default=0.3, ge=0, lt=1, description="charge below which a device on battery declines")
    poll_seconds: float = Field(
        default=120.0,
        ge=0,
        le=86_400,
        description="devices ask for work this often, so they start within that time",
    )
    fixed_seconds: float = Field(
        default=20.0,
        ge=0,
        description="time to start the job and load the model on the reference board (Pi 5)",
    )
    crash_rate: float = Field(default=0.03, ge=0, le=1, description="share of tasks that die for no modelled reason")
    speed_spread: float = Field(default=0.25, ge=0, le=2, description="log-normal sigma of speed within a profile")
    data_spread: float = Field(
        default=0.5,
        ge=0,
        le=3,
        description="log-normal sigma of the examples a device has, where data does not say",
    )
    monthly_churn: float = Field(default=0.05, ge=0, lt=1, description="share of devices that leave for good a month")
    join_share: float = Field(default=0.03, ge=0, lt=1, description="share that joins in the month after the start")
    stragglers: StragglerConfig = StragglerConfig()
    outages: OutageConfig = OutageConfig()
    traces: Path | None = Field(
        default=None,
        description='folder of throughput traces (lines "time_s mbit_s") replayed on mobile connections',
    )
    traces_rescale: bool = Field(
        default=True,
        description="keep each device's mean bandwidth and replay the shape; false: replay as recorded",
    )
    price_per_gb: dict[str, float] = Field(
        default={"cellular-3g": 2.5, "cellular-4g": 2.5, "cellular-5g": 2.5},
        description="price of 10^9 bytes by kind of connection; kinds left out cost nothing",
    )
    currency: str = Field(default="USD", max_length=8, description="unit of the prices")

    @field_validator("mix")
    @classmethod
    def _known_mix(cls, mix: str | Mapping[str, float]) -> str | Mapping[str, float]:
        try:
            weights_of(mix)
        except BadInput as error:
            raise ValueError(str(error)) from error
        return mix

    @field_validator("time_zones")
    @classmethod
    def _on_earth(cls, zones: dict[float, float]) -> dict[float, float]:
        for hours, weight in zones.items():
            if not -12 <= hours <= 14 or not 0 <= weight < float("inf"):
                raise ValueError(f"time zone {hours:+g} h with weight {weight}; zones lie between -12 and +14 h")
        if sum(zones.values()) <= 0:
            raise ValueError("no time zone has a weight above 0; give at least one a positive weight")
        return zones

    @field_validator("price_per_gb")
    @classmethod
    def _known_links(cls, prices: dict[str, float]) -> dict[str, float]:
        known = {link.name for link in LINKS}
        for name, price in prices.items():
            if name not in known or not 0 <= price < float("inf"):
                raise ValueError(f"{name} = {price}; name one of {', '.join(sorted(known))} and a price of 0 or more")
        return prices

    @property
    def start(self) -> float:
        """Virtual seconds at which the run starts."""
        return self.start_hour * 3600.0
