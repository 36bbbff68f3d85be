"""What a scenario may say about its data."""

from typing import Literal

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt, model_validator

from tacit_clients.training.examples import Task

Kind = Literal["home", "banking77", "clinc150", "sms", "shakespeare", "file", "hub"]
Partition = Literal["natural", "iid", "dirichlet"]


class DataConfig(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Where examples come from and how they are spread over devices."""

    kind: Kind = Field(default="home", description="generated homes, a named public set, a local file, or a hub id")
    path: str = Field(
        default="",
        description="file: JSONL or CSV; hub: dataset id; named sets: their folder (default under TACIT_DATA)",
    )
    task: Task | None = Field(default=None, description="file and hub: instruct, classify or language")
    text: str = Field(default="text", description="file and hub: column of the text")
    target: str = Field(default="target", description="file and hub: column of the answer, for instruct")
    label: str = Field(default="label", description="file and hub: column of the class, for classify")
    user: str = Field(default="user", description="file and hub: column that tells whose example it is, for natural")
    partition: Partition = Field(default="dirichlet", description="how examples are spread over devices")
    alpha: PositiveFloat = Field(default=1.0, description="dirichlet: label skew; smaller is more skewed")
    quantity_sigma: float = Field(default=0.3, ge=0, le=3, description="log-normal sigma of sizes, but for natural")
    minimum: PositiveInt = Field(default=12, description="natural: examples below which a user is left out")
    maximum: PositiveInt = Field(default=200, description="natural: examples of a user that are used at most")
    test_fraction: float = Field(default=0.2, gt=0, lt=1, description="share of a device's examples kept for testing")
    held_out: PositiveInt = Field(
        default=1000, description="examples kept from every device, where a set has no own test"
    )
    train_per_device: PositiveInt = Field(default=24, description="home: training examples of a typical household")
    test_per_device: PositiveInt = Field(default=12, description="home: test examples of a household")

    @model_validator(mode="after")
    def _complete(self) -> "DataConfig":
        if self.kind in ("file", "hub") and (not self.path or self.task is None):
            raise ValueError(f"data.kind {self.kind} needs data.path and data.task; set both")
        return self
