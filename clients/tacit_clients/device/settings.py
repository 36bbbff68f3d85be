"""``device.toml``: everything that the device's owner sets."""

import re
from datetime import time as TimeOfDay
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator
from pydantic import model_validator as validator

from tacit_privacy.settings_files import read_toml, validated

_ADDRESS = re.compile(r"https://(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):(\d{1,5})/?")


class ServerSettings(BaseModel, frozen=True, extra="forbid"):
    """The server that the device belongs to."""

    url: str = Field(description="address of the server, https://host:port")

    @field_validator("url")
    @classmethod
    def _with_tls(cls, url: str) -> str:
        match = _ADDRESS.fullmatch(url)
        if not match or not 0 < int(match[2]) < 65536:
            raise ValueError(f"{url} is no address of a server; write https://host:port")
        return url.rstrip("/")

    @property
    def address(self) -> str:
        """Host and port."""
        return self.url.removeprefix("https://")


class DataSettings(BaseModel, frozen=True, extra="forbid"):
    """What the device learns from."""

    path: Path | None = Field(default=None, description='JSON lines {"prompt", "target"}; read anew for every round')
    vault: Path | None = Field(default=None, description="the gateway's vault: answers that its owner accepted")
    vault_key: str = Field(default="auto", description="where the key of that vault is")
    task: Literal["instruct", "language"] = Field(default="instruct", description="how an example is learnt")
    held_out: int = Field(default=10, ge=2, description="one example in so many scores adapters and trains none")
    most: PositiveInt = Field(default=10_000, description="examples of a round at most, the newest")


class PolicySettings(BaseModel, frozen=True, extra="forbid"):
    """When the device may train. While it may not, its server does not ask it."""

    charging: bool = Field(default=False, description="only on mains power; a machine without a battery always is")
    unmetered: bool = Field(default=False, description="only on a network that is known not to be metered")
    idle: bool = Field(default=False, description="only while others leave most of the processor alone")
    hours: str = Field(default="", description='only at these hours of local time, such as "22:00-06:00"')

    @field_validator("hours")
    @classmethod
    def _span(cls, hours: str) -> str:
        if hours:
            span_of(hours)
        return hours


class LimitSettings(BaseModel, frozen=True, extra="forbid"):
    """What training may take of the machine."""

    threads: PositiveInt = Field(default=1, description="processor threads")
    nice: int = Field(default=10, ge=0, le=19, description="how far training steps back behind other work")
    memory_mb: PositiveInt | None = Field(default=None, description="most memory of the process; default: no limit")


class OwnerSettings(BaseModel, frozen=True, extra="forbid"):
    """What the owner insists on, whatever a server promises."""

    least_noise: NonNegativeFloat = Field(default=1e-3, description="noise multiplier of a round, at least")
    largest_clip: PositiveFloat | None = Field(default=None, description="clip norm, at most")
    most_participations: PositiveInt | None = Field(default=None, description="rounds to take part in, ever")
    personal_rank: int = Field(default=0, ge=0, description="rank of an adapter that never leaves; 0: none")


class AdapterSettings(BaseModel, frozen=True, extra="forbid"):
    """How the device takes a new shared adapter into use."""

    install: bool = Field(default=True, description="take new adapters into use; false: only take part in rounds")
    worse_by: NonNegativeFloat = Field(
        default=0.0, description="how much worse its loss on the device's held-out examples may be, in nats"
    )


class DeviceSettings(BaseModel, frozen=True, extra="forbid"):
    """Everything; unknown keys are refused."""

    server: ServerSettings
    data: DataSettings = DataSettings()
    policy: PolicySettings = PolicySettings()
    limits: LimitSettings = LimitSettings()
    owner: OwnerSettings = OwnerSettings()
    adapter: AdapterSettings = AdapterSettings()
    name: str = Field(
        default="", max_length=100, pattern=r"^[^\x00]*$", description="what the device is called at its server"
    )

    @validator(mode="after")
    def _one_source(self) -> Self:
        if self.data.path is not None and self.data.vault is not None:
            raise ValueError("data.path and data.vault are two sources; name one")
        return self

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises BadInput, one sentence. Paths are taken from where the file is."""
        table = read_toml(path, remedy="tacit device enroll makes a device")
        found = cls.of(table, str(path))
        data = found.data.model_copy(
            update={
                name: path.parent / place
                for name in ("path", "vault")
                if (place := getattr(found.data, name)) is not None
            }
        )
        return found.model_copy(update={"data": data})

    @classmethod
    def of(cls, table: dict[str, Any], where: str) -> Self:
        """Raises BadInput, beginning with ``where``."""
        return validated(cls, table, where)


def span_of(hours: str) -> tuple[TimeOfDay, TimeOfDay]:
    """From when to when, of ``"22:00-06:00"``. Raises ValueError."""
    begins, dash, ends = hours.partition("-")
    try:
        if not dash:
            raise ValueError
        return TimeOfDay.fromisoformat(begins.strip()), TimeOfDay.fromisoformat(ends.strip())
    except ValueError as error:
        raise ValueError(f'{hours!r} is no span of hours; write "22:00-06:00"') from error
