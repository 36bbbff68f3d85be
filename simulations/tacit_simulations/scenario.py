"""A scenario: one documented TOML file that says which fleet learns what, from which data, under which guarantee."""

import tomllib
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, PositiveInt, ValidationError, model_validator

from tacit_privacy.contract import LocalTraining, canonical, digest
from tacit_privacy.errors import BadInput
from tacit_privacy.wording import sentence
from tacit_server.config import AdapterConfig, FederationConfig, PrivacyConfig, check_together
from tacit_simulations.data.config import DataConfig
from tacit_simulations.engines.config import RuntimeConfig
from tacit_simulations.fleet.config import FleetConfig

Arm = Literal["untrained", "centralised", "local_only", "federated", "personalised"]


class ModelConfig(BaseModel, frozen=True, extra="forbid"):
    """The small language model that every device holds."""

    name: str = Field(default="tacit-nano", description="tacit-nano, a Hugging Face model id or a local folder")
    parameters: int = Field(
        default=0, ge=0, description="timing: size of the model that devices would train; 0: tacit-nano's"
    )


class EvaluationConfig(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """What the simulator measures beside the run. A deployment has none of these figures."""

    devices: int = Field(default=48, ge=0, description="panel: devices on whose own test examples everything is scored")
    held_out: int = Field(
        default=0, ge=0, description="examples of no device that the shared models are scored on, too"
    )
    every: PositiveInt = Field(default=1, description="rounds between two points of a learning curve")
    curve_examples: PositiveInt = Field(default=256, description="panel test examples behind a point of a curve")
    compare: tuple[Arm, ...] = Field(
        default=("untrained", "centralised", "local_only", "federated", "personalised"),
        description="what to set beside the private run",
    )
    centralised_epochs: PositiveInt = Field(
        default=1, description="passes over the pooled data of the centralised model"
    )
    centralised_batch: PositiveInt = Field(default=32, description="batch size of the centralised model, examples")
    centralised_learning_rate: float = Field(
        default=0.01, gt=0, description="learning rate of the centralised model, falling by a cosine"
    )
    personal: LocalTraining = Field(
        default=LocalTraining(epochs=6), description="how a panel device trains alone, and its personal adapter"
    )
    personal_rank: PositiveInt = Field(default=4, description="rank of the personal adapter")


class Scenario(BaseModel, frozen=True, extra="forbid"):
    """Everything a run depends on. ``runtime`` alone may change speed without changing the result."""

    name: str = Field(default="custom", description="name shown in results and reports")
    description: str = Field(default="", description="one sentence for people")
    mode: Literal["train", "timing"] = Field(
        default="train", description="train: real adapters on a real model; timing: devices' time and energy only"
    )
    seed: int = Field(default=1, ge=0, description="names every random stream of the run")
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    fleet: FleetConfig = FleetConfig()
    federation: FederationConfig = FederationConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    adapter: AdapterConfig = AdapterConfig()
    training: LocalTraining = LocalTraining()
    evaluation: EvaluationConfig = EvaluationConfig()
    runtime: RuntimeConfig = RuntimeConfig()

    @model_validator(mode="after")
    def _fits(self) -> "Scenario":
        if self.federation.cohort > self.fleet.devices:
            raise ValueError(
                f"federation.cohort is {self.federation.cohort} but fleet.devices is {self.fleet.devices}; "
                "choose a cohort no larger than the fleet"
            )
        check_together(self.federation, self.privacy)
        if self.mode == "timing" and self.privacy.period_s is not None:
            raise ValueError("mode timing keeps no budget that could be renewed; leave privacy.period_s out")
        if self.privacy.canaries > self.fleet.devices:
            raise ValueError(
                f"privacy.canaries is {self.privacy.canaries} but fleet.devices is {self.fleet.devices}; ask for fewer"
            )
        if self.mode == "timing" and self.privacy.canaries:
            raise ValueError("mode timing releases nothing that canaries could be found in; set privacy.canaries = 0")
        if self.mode == "timing" and self.model.name != ModelConfig().name and not self.model.parameters:
            raise ValueError(f"mode timing loads no model; say how large {self.model.name} is in model.parameters")
        return self

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that can change the result: all but ``runtime``."""
        return digest(canonical(self.model_dump(mode="json", exclude={"runtime"})))


def named_scenarios() -> dict[str, str]:
    """The scenarios that ship: name to text of the file."""
    folder = files("tacit_simulations") / "scenarios"
    found = [item for item in folder.iterdir() if item.name.endswith(".toml")]
    return {item.name.removesuffix(".toml"): item.read_text() for item in sorted(found, key=lambda item: item.name)}


def load_scenario(name_or_path: str, overrides: Sequence[str] = ()) -> Scenario:
    """A shipped scenario by name, or one's own by path, with ``key.sub=value`` overrides on top.

    Raises BadInput with one sentence on a missing file, broken TOML, unknown keys or values out of range.
    """
    table = _read(name_or_path)
    for override in overrides:
        _override(table, override)
    try:
        return Scenario.model_validate(table)
    except ValidationError as error:
        raise BadInput(f"{name_or_path}: {sentence(error, Scenario)}") from error


def _read(name_or_path: str, extending: tuple[str, ...] = ()) -> dict[str, Any]:
    """The table of a scenario with everything it extends; ``extending`` are those that led here."""
    shipped = named_scenarios()
    path = Path(name_or_path)
    if name_or_path in shipped:
        text, where = shipped[name_or_path], name_or_path
    elif path.is_file():
        text, where = _text(path), str(path.resolve())
    else:
        raise BadInput(f"no scenario {name_or_path}: name a TOML file or one of {', '.join(shipped)}")
    if where in extending:
        raise BadInput(f"{name_or_path} extends itself: {' extends '.join([*extending, where])}; break the circle")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{name_or_path} is not valid TOML: {error}") from error
    table.setdefault("name", path.stem)
    base = table.pop("extends", None)
    if base is None:
        return table
    merged = _read(_beside(str(base), name_or_path, shipped), (*extending, where))
    merged.pop("description", None)
    _merge(merged, table)
    return merged


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text; a scenario is a TOML file") from error


def _beside(base: str, extending: str, shipped: Mapping[str, str]) -> str:
    """What ``extends`` means: a shipped scenario's name, else a path from the folder of the file that says it."""
    return base if base in shipped else str(Path(extending).parent / base)


def _merge(into: dict[str, Any], table: Mapping[str, Any]) -> None:
    for key, value in table.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _override(table: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise BadInput(f"--set {override!r} is not of the form key.sub=value")
    *path, last = key.strip().split(".")
    for part in path:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise BadInput(f"--set {key}: {part} is a value, not a table")
    table[last] = _value(text.strip())


def _value(text: str) -> Any:
    """A TOML value; anything that is not one is taken as a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
