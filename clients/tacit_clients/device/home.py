"""A device's directory: settings, the pinned authority, the sealed journal, the adapters in use."""

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tacit_clients.device.settings import DeviceSettings
from tacit_privacy.errors import BadInput
from tacit_privacy.files import OWNER_ALONE, held, is_held, write_whole
from tacit_privacy.settings_files import toml_text

if TYPE_CHECKING:
    from tacit_clients.device.journal import Journal


@dataclass(frozen=True)
class DeviceHome:
    """Where everything of one device lies."""

    path: Path

    @classmethod
    def make(cls, path: Path, settings: dict[str, Any], authority: str) -> "DeviceHome":
        """The directory with its settings and what it trusts; one that is there is kept. Raises BadInput."""
        DeviceSettings.of(settings, "the device's settings")
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"cannot make {path}: {error.strerror}; choose another --dir") from error
        made = cls(path)
        if not made.config.exists():
            write_whole(made.config, toml_text(settings, DeviceSettings), mode=OWNER_ALONE)
        if not made.authority.exists():
            made.pin(authority)
        return made

    @classmethod
    def open(cls, path: Path) -> "DeviceHome":
        """An existing one. Raises BadInput where it is none, or where others may read it."""
        found = cls(path.absolute())
        if not found.config.is_file() or not found.authority.is_file():
            raise BadInput(f"{path} holds no device; tacit device enroll makes one, --dir names another")
        if found.path.stat().st_mode & 0o077:
            raise BadInput(f"others may read {path}, which holds keys; type chmod 700 {path}")
        return found

    @cached_property
    def settings(self) -> DeviceSettings:
        return DeviceSettings.read(self.config)

    def journal(self, key: str = "", *, create: bool = False) -> "Journal":
        from tacit_clients.device.journal import Journal  # which loads Flower; a gateway has no use for it

        if not create and not self.is_enrolled:
            raise BadInput(
                f"the device in {self.path} has no keys, as after it left its fleet; type tacit device enroll"
            )
        return Journal.open(self.store, self.outbox, key, create=create)

    def pin(self, authority: str) -> None:
        """Trust this authority, PEM, and no other."""
        write_whole(self.authority, authority)

    @property
    def config(self) -> Path:
        return self.path / "device.toml"

    @property
    def authority(self) -> Path:
        return self.path / "authority.pem"

    @property
    def store(self) -> Path:
        return self.path / "store.vault"

    @property
    def outbox(self) -> Path:
        """What is owed to the server, sealed."""
        return self.path / "outbox"

    @property
    def adapters(self) -> Path:
        """A folder for every adapter that was in use lately."""
        return self.path / "adapters"

    @property
    def current(self) -> Path:
        """A link to the adapter in use: it changes from one to the next at once."""
        return self.path / "current"

    @property
    def status(self) -> Path:
        return self.path / "status.json"

    def tell(self, told: dict[str, Any]) -> None:
        """Leave word for ``tacit device status``. It says nothing of the device's data."""
        write_whole(self.status, json.dumps(told, indent=2) + "\n", mode=OWNER_ALONE, synced=False)

    def told(self) -> dict[str, Any]:
        """What was left last; empty before."""
        try:
            return dict(json.loads(self.status.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}

    def held(self) -> AbstractContextManager[None]:
        """So that a device runs once. Raises BadInput."""
        return held(self._lock, f"another tacit device run has {self.path}; end it first")

    @property
    def is_enrolled(self) -> bool:
        """Whether it has keys; it may still wait to be admitted."""
        return self.store.is_file()

    @property
    def is_held(self) -> bool:
        """Whether it runs now."""
        return is_held(self._lock)

    def turning(self) -> AbstractContextManager[None]:
        """While the adapter in use changes: a device that runs and an owner who goes back take turns."""
        return held(self.path / "adapters.lock")

    @property
    def _lock(self) -> Path:
        return self.path / "device.lock"
