"""The device catalogue: what a kind of device can do, with the source of every figure."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, Field, model_validator

from tacit_privacy.errors import BadInput

Tier = Literal["gateway", "sbc", "phone-low", "phone-mid", "phone-high", "laptop", "workstation"]
Habit = Literal["stationary", "phone", "tablet", "laptop"]

TIERS: tuple[Tier, ...] = ("gateway", "sbc", "phone-low", "phone-mid", "phone-high", "laptop", "workstation")
HABITS: tuple[Habit, ...] = ("stationary", "phone", "tablet", "laptop")
REFERENCE_MODEL = "Llama 3.2 3B at 4 bits"  # what tokens_per_s is about


class Profile(BaseModel, frozen=True, extra="forbid"):
    """One kind of device. ``source`` says where the figures come from, ``estimated`` which of them nobody measured."""

    name: str = Field(description="stable name, used in a fleet's mix")
    tier: Tier = Field(description="class that ranks, reports and fairness go by")
    habit: Habit = Field(description="how its owner treats it: where it is, when it is plugged in and in use")
    gflops: float = Field(gt=0, description="effective training speed, 10^9 floating-point operations a second")
    memory_mb: float = Field(gt=0, description="memory a background training job may use, 10^6 bytes")
    tokens_per_s: float = Field(ge=0, description=f"generation speed of {REFERENCE_MODEL}; 0: does not fit")
    idle_w: float = Field(ge=0, description="watts when idle, without screen")
    active_w: float = Field(gt=0, description="watts while training")
    battery_wh: float = Field(ge=0, description="battery, watt-hours; 0: mains")
    source: str = Field(min_length=10, description="where the figures come from")
    estimated: tuple[str, ...] = Field(default=(), description="fields derived instead of published")

    @model_validator(mode="after")
    def _consistent(self) -> "Profile":
        if self.active_w < self.idle_w:
            raise ValueError(f"{self.name}: active_w {self.active_w} is below idle_w {self.idle_w}")
        if (self.habit == "stationary") != (self.battery_wh == 0):
            raise ValueError(f"{self.name}: habit {self.habit} does not go with battery_wh {self.battery_wh}")
        unknown = set(self.estimated) - set(type(self).model_fields)
        if unknown:
            raise ValueError(f"{self.name}: estimated names unknown fields {sorted(unknown)}")
        return self

    @property
    def memory_bytes(self) -> float:
        return self.memory_mb * 1e6


# Shares of devices by profile; weights need not sum to 1.
MIXES: Mapping[str, Mapping[str, float]] = {
    # one assistant per household: mostly hubs on mains, some phones, tablets and laptops that do the job
    "household": {
        "router-a53": 2,
        "smart-speaker": 16,
        "pi-4-2gb": 12,
        "pi-4-4gb": 14,
        "pi-5-8gb": 14,
        "rk3566-board": 6,
        "rk3588-board": 6,
        "mini-pc-n150": 9,
        "mac-mini-m4": 2,
        "desktop-5600x": 2,
        "tablet-mid": 4,
        "phone-sd665": 3,
        "phone-sd730": 3,
        "phone-sd855": 2,
        "laptop-mainstream": 5,
    },
    "phones": {
        "phone-sd425": 10,
        "phone-helio-p35": 14,
        "phone-sd632": 12,
        "phone-sd665": 16,
        "phone-sd730": 14,
        "phone-helio-g90t": 10,
        "phone-sd845": 8,
        "phone-sd855": 9,
        "phone-flagship": 5,
        "tablet-mid": 1.5,
        "tablet-high": 0.5,
    },
    "edge": {
        "esp32-s3-hub": 15,
        "router-a53": 8,
        "pi-zero-2w": 8,
        "visionfive-2": 4,
        "rk3566-board": 10,
        "pi-4-2gb": 12,
        "pi-4-4gb": 15,
        "pi-5-8gb": 15,
        "rk3588-board": 7,
        "jetson-orin-nano": 4,
        "mini-pc-n150": 2,
    },
    "mixed": {
        "esp32-s3-hub": 2,
        "smart-speaker": 8,
        "pi-4-4gb": 6,
        "pi-5-8gb": 6,
        "phone-helio-p35": 12,
        "phone-sd665": 12,
        "phone-sd730": 12,
        "phone-sd855": 10,
        "phone-flagship": 6,
        "tablet-mid": 6,
        "laptop-n100": 5,
        "laptop-mainstream": 7,
        "macbook-air-m2": 3,
        "mini-pc-n150": 2,
        "desktop-5600x": 2,
        "workstation-rtx4090": 1,
    },
}


@cache
def catalogue() -> tuple[Profile, ...]:
    """All profiles that ship, in the order of the file. Their position is the profile index of a population."""
    text = (files("tacit_simulations.fleet") / "catalogue.toml").read_text(encoding="utf-8")
    return tuple(Profile.model_validate(row) for row in tomllib.loads(text)["profile"])


def profile(name: str) -> Profile:
    """The profile of that name. Raises BadInput."""
    for entry in catalogue():
        if entry.name == name:
            return entry
    raise BadInput(f"no device profile {name}; choose from {', '.join(entry.name for entry in catalogue())}")


def weights_of(mix: str | Mapping[str, float]) -> dict[str, float]:
    """A named mix or a table of profile to weight, as shares that sum to 1. Raises BadInput."""
    if isinstance(mix, str):
        if mix not in MIXES:
            raise BadInput(f"no fleet mix {mix}; choose one of {', '.join(MIXES)} or give a table of profile = weight")
        mix = MIXES[mix]
    for name, weight in mix.items():
        profile(name)
        if not 0 <= weight < float("inf"):
            raise BadInput(f"fleet.mix gives {name} the weight {weight}; weights are finite and not negative")
    total = sum(mix.values())
    if total <= 0:
        raise BadInput("fleet.mix has no device with a weight above 0; give at least one profile a positive weight")
    return {name: weight / total for name, weight in mix.items() if weight > 0}
