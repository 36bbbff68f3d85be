"""``server.toml``: all that an operator sets. A run is planned with these and what is said when it is scheduled."""

import json
import re
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt, ValidationError, field_validator, model_validator

from tacit_privacy.contract import LocalTraining, canonical
from tacit_privacy.errors import BadInput
from tacit_privacy.settings_files import read_toml, validated
from tacit_privacy.wording import sentence
from tacit_server.config import AdapterConfig, FederationConfig, JoiningConfig, PrivacyConfig, check_together

DATABASE = "TACIT_DATABASE"  # environment: the database's URL, where it holds a password
_ROOM = 1.001  # for what integer arithmetic adds to a bound, which depends on the adapter's size
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*|[0-9A-Fa-f:.]+")


class ListenSettings(BaseModel, frozen=True, extra="forbid"):
    """Where the server is reached."""

    names: tuple[str, ...] = Field(
        default=("localhost",), min_length=1, description="names and addresses of the server; devices use the first"
    )
    host: str = Field(default="127.0.0.1", description="address to listen on; 0.0.0.0: all of them")
    port: int = Field(default=8443, ge=1, le=65535, description="the one port: enrolment, fleet, console")
    max_body_bytes: PositiveInt = Field(default=8 * 2**20, description="longest request; Flower sends parts of 5 MB")

    @field_validator("names")
    @classmethod
    def _can_be_certified(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if len(name) > 253 or not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no host name and no address; leave https:// and the port out")
        return names


class FleetSettings(BaseModel, frozen=True, extra="forbid"):
    """Who may take part, and what its devices run."""

    devices: PositiveInt = Field(default=100, description="devices that are planned for: delta follows from it")
    model: str = Field(default="tacit-nano", description="the model that devices adapt: a name, or a Hugging Face id")


class ConsoleSettings(BaseModel, frozen=True, extra="forbid"):
    """Log-ins of people."""

    idle_minutes: PositiveFloat = Field(default=30.0, description="a log-in ends when it was not used for so long")
    longest_hours: PositiveFloat = Field(default=12.0, description="a log-in ends after so long, used or not")


class DeploymentSettings(BaseModel, frozen=True, extra="forbid"):
    """Everything; unknown keys are refused."""

    listen: ListenSettings = ListenSettings()
    fleet: FleetSettings = FleetSettings()
    console: ConsoleSettings = ConsoleSettings()
    database: str = Field(default="", description="postgresql://user@host/name; empty: SQLite in the directory")
    adapter: AdapterConfig = AdapterConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    federation: FederationConfig = FederationConfig()
    training: LocalTraining = LocalTraining()
    joining: JoiningConfig = JoiningConfig()

    @model_validator(mode="after")
    def _can_be_deployed(self) -> Self:
        if not self.privacy.enabled:
            raise ValueError("privacy.enabled = false belongs to comparisons in tacit simulate; leave it out")
        if self.privacy.canaries:
            raise ValueError("privacy.canaries belong to tacit simulate: a deployed device sends what it learnt")
        if self.privacy.sampling != "fixed":
            raise ValueError('a deployment serves whoever is there: leave privacy.sampling at "fixed"')
        if re.match(r"[\w+]+://[^/@]*:[^/@]+@", self.database):
            raise ValueError(f"the database's URL holds a password; put the whole URL into {DATABASE}")
        return self

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises BadInput, one sentence."""
        table = read_toml(path, remedy="tacit server init makes a server")
        return cls.of(table, str(path))

    @classmethod
    def of(cls, table: dict[str, Any], where: str) -> Self:
        """From a table of settings. Raises BadInput, beginning with ``where``."""
        return validated(cls, table, where)


class RunSettings(BaseModel, frozen=True, extra="forbid"):
    """What one run is to learn, and what of the server's budget it may take."""

    fleet: FleetSettings
    adapter: AdapterConfig
    privacy: PrivacyConfig
    federation: FederationConfig
    training: LocalTraining

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_together(self.federation, self.privacy)
        return self

    @classmethod
    def planned(cls, server: DeploymentSettings, changes: dict[str, Any]) -> Self:
        """As the server says, but for ``changes`` by dotted names (``federation.rounds``). Raises BadInput.

        A run may promise more than the server does, never less: its epsilon is a part of the server's. Where the run
        says neither epsilon nor noise, the noise is such that all participations that the server allows a device, in
        whatever runs, come to the server's epsilon.
        """
        tables = server.model_dump(include=set(cls.model_fields), exclude_unset=True)
        for name, value in changes.items():
            section, _, key = name.partition(".")
            if section not in cls.model_fields or not key:
                raise BadInput(f"a run has no setting {name}; it has those of {', '.join(sorted(cls.model_fields))}")
            tables.setdefault(section, {})[key] = value
        try:
            found = cls.model_validate({name: tables.get(name, {}) for name in cls.model_fields})
        except ValidationError as error:
            raise BadInput(sentence(error, cls)) from error
        found._keeps_promise(server)
        said = {"privacy.epsilon", "privacy.noise_multiplier"} & changes.keys()
        return found if said or found.privacy.noise == "correlated" else found._with_usual_noise(server)

    def _keeps_promise(self, server: DeploymentSettings) -> None:
        fixed = ("participations", "separation", "period_s", "adjacency", "roster", "delta", "sampling")
        for name in fixed:
            if getattr(self.privacy, name) != getattr(server.privacy, name):
                raise BadInput(f"privacy.{name} is the server's promise and the same for every run; leave it out")
        if self.privacy.epsilon > server.privacy.epsilon:
            raise BadInput(
                f"a run of epsilon {self.privacy.epsilon:g} passes the server's {server.privacy.epsilon:g}; lower it"
            )

    def _with_usual_noise(self, server: DeploymentSettings) -> Self:
        from tacit_server.planning import noise_for  # it loads what computes bounds

        allowed = server.privacy.participations * server.privacy.separation
        rounds = self.federation.model_copy(update={"rounds": allowed})
        noise = server.privacy.noise_multiplier
        if noise is None:
            noise = _ROOM * noise_for(_with_delta(server.privacy, server), rounds, server.fleet.devices)
        return self.model_copy(update={"privacy": self.privacy.model_copy(update={"noise_multiplier": noise})})

    def check_affordable(self, server: DeploymentSettings) -> None:
        """Raise BadInput where no noise keeps the planned rounds within the run's epsilon, before anything is begun."""
        from tacit_server.planning import noise_for  # it loads what computes bounds

        noise_for(_with_delta(self.privacy, server), self.federation, server.fleet.devices)

    def text(self) -> str:
        return canonical(self.model_dump(mode="json")).decode()

    @classmethod
    def of_text(cls, text: str) -> Self:
        return cls.model_validate(json.loads(text))


def _with_delta(privacy: PrivacyConfig, server: DeploymentSettings) -> PrivacyConfig:
    return privacy.model_copy(update={"delta": privacy.delta_for(server.fleet.devices)})
