"""The gateway's whole configuration: a TOML file, under what the command line and the environment say."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, NonNegativeInt, PositiveFloat, PositiveInt, SecretStr, ValidationError
from pydantic import model_validator as validator

from tacit_clients.egress.settings import UpstreamSettings, is_loopback
from tacit_clients.modes.auto import AutoSettings
from tacit_clients.modes.catalogue import ModesSettings
from tacit_privacy.errors import BadInput
from tacit_privacy.settings_files import read_toml
from tacit_privacy.wording import sentence

_SECRET = {"upstream.key": "TACIT_UPSTREAM_KEY or --key-file", "server.token": "TACIT_TOKEN"}


class ServerSettings(BaseModel, frozen=True, extra="forbid"):
    """Where the gateway listens and what it takes."""

    host: str = "127.0.0.1"
    port: int = Field(default=8484, ge=0, le=65535)  # 0: any free one
    token: SecretStr | None = Field(default=None, exclude=True)
    allow_hosts: tuple[str, ...] = ()  # further names by which clients reach it
    max_body_bytes: PositiveInt = 8 * 2**20
    body_s: PositiveFloat = 20.0
    header_s: PositiveFloat = 10.0  # from a connection, or its last answer, to a whole request head
    keep_alive_s: PositiveFloat = 30.0
    connections: PositiveInt = 256
    shutdown_s: PositiveFloat = 10.0

    @validator(mode="after")
    def _others_need_a_token(self) -> Self:
        if not is_loopback(self.host) and self.token is None:
            raise ValueError(
                f"host {self.host} lets other machines in; set TACIT_TOKEN to a secret they must know, or listen on "
                "127.0.0.1"
            )
        return self


class LocalSettings(BaseModel, frozen=True, extra="forbid"):
    """The model that answers on the device."""

    enabled: bool = True
    model: str = "tacit-nano"
    adapter: Path | None = None
    personal: Path | None = None
    device: Path | None = None  # a device of a fleet: its adapters, and the next ones while the gateway runs
    device_key: str = "auto"  # where the key of its store is
    form: Literal["auto", "chat", "plain"] = "auto"  # see ``spoken``
    max_concurrent: PositiveInt = 2
    queue: NonNegativeInt = 16
    max_tokens: PositiveInt = 512

    @validator(mode="after")
    def _one_source(self) -> Self:
        if self.device is not None and (self.adapter is not None or self.personal is not None):
            raise ValueError("a device brings its own adapters; leave out --adapter and personal, or --device")
        if self.device is None and "device_key" in self.model_fields_set:
            raise ValueError("the key of a device's store is named but no device; add --device DIR, or leave it out")
        return self

    @property
    def spoken(self) -> Literal["auto", "chat", "plain"]:
        """The form of prompts. A fleet's adapters are trained in the plain one, also over a chat model."""
        return "plain" if self.device is not None and self.form == "auto" else self.form


class KeepingSettings(BaseModel, frozen=True, extra="forbid"):
    """What the device remembers, sealed, and for how long. ``vault`` None: in memory, forgotten at the end."""

    vault: Path | None = None
    key: str = "auto"
    outbound_days: PositiveFloat = 30.0
    outbound_records: PositiveInt = 10_000
    response_days: PositiveFloat = 30.0

    @validator(mode="after")
    def _a_key_opens_something(self) -> Self:
        if self.vault is None and "key" in self.model_fields_set:
            raise ValueError("a vault's key is named but no vault; add --vault FILE, or leave --vault-key out")
        return self


class GatewaySettings(BaseModel, frozen=True, extra="forbid"):
    """Everything; unknown keys are refused."""

    upstream: UpstreamSettings
    server: ServerSettings = ServerSettings()
    local: LocalSettings = LocalSettings()
    keeping: KeepingSettings = KeepingSettings()
    auto: AutoSettings = AutoSettings()
    modes: ModesSettings = ModesSettings()
    policy: Path | None = None
    gate_threads: PositiveInt = 2

    @classmethod
    def read(cls, path: Path | None, changes: dict[str, Any]) -> Self:
        """The file's settings under ``changes``, by dotted names such as ``server.port``; None changes nothing.

        Raises BadInput.
        """
        table: dict[str, Any] = {}
        if path is not None:
            table = read_toml(path, "the settings")
            _no_secrets(table, path)
        for name, value in changes.items():
            if value is not None:
                _set(table, name, SecretStr(value) if name in _SECRET else value, path)
        if not isinstance(table.get("upstream"), dict) or not {"url", "model"} <= table["upstream"].keys():
            raise BadInput("an upstream is needed: give --upstream URL and --model ID, or [upstream] url and model")
        try:
            return cls.model_validate(table)
        except ValidationError as error:
            said = sentence(error, cls)
            where = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"])
        typed = any(value is not None and _touches(name, where) for name, value in changes.items())
        raise BadInput(said if path is None or typed else f"{path}: {said}")


def _touches(name: str, where: str) -> bool:
    """Whether setting ``name`` is, or lies in, what pydantic complains of at ``where``."""
    return name == where or name.startswith(f"{where}.")


def _no_secrets(table: dict[str, Any], path: Path) -> None:
    for dotted, remedy in _SECRET.items():
        section, _, name = dotted.partition(".")
        if isinstance(table.get(section), dict) and name in table[section]:
            raise BadInput(f"the settings {path} hold {dotted}; secrets come from {remedy}")


def _set(table: dict[str, Any], dotted: str, value: Any, file: Path | None) -> None:
    *sections, name = dotted.split(".")
    inner: Any = table
    for depth, section in enumerate(sections, 1):
        inner = inner.setdefault(section, {})
        if not isinstance(inner, dict):
            written = ".".join(sections[:depth])
            raise BadInput(f"{file}: {written} must be a table of settings, written [{written}]")
    inner[name] = value
