"""Settings that may change speed, never a result."""

import os
from typing import Literal

from pydantic import BaseModel, Field, PositiveFloat


class RuntimeConfig(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """How the devices' code is run."""

    engine: Literal["inline", "pool", "ray"] = Field(
        default="pool", description="inline: this process; pool: worker processes; ray: Ray actors, many machines"
    )
    workers: int = Field(default=0, ge=0, description="worker processes or actors; 0: one per processor core")
    device_timeout_s: PositiveFloat = Field(
        default=120.0, description="real seconds after which a device's code is taken to hang and is ended"
    )
    ray_address: str = Field(default="", description="address of a running Ray cluster; empty: start one here")

    @property
    def worker_count(self) -> int:
        return self.workers or os.cpu_count() or 1
