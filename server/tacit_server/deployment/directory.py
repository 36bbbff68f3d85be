"""A server's directory: its configuration, keys, certificates and databases, readable by its owner alone."""

import os
import secrets
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tacit_privacy.errors import BadInput
from tacit_privacy.files import OWNER_ALONE, held, is_held, write_whole
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.settings_files import toml_text
from tacit_server.deployment import certificates
from tacit_server.deployment.settings import DATABASE, DeploymentSettings

_SECRET_BYTES = 32


@dataclass(frozen=True)
class ServerDirectory:
    """Where everything of one server lies. Copy it whole, and the server can be put up elsewhere."""

    path: Path

    @classmethod
    def create(cls, path: Path, settings: dict[str, Any]) -> "ServerDirectory":
        """Make the directory with all that a server needs; it appears whole or not at all. Raises BadInput."""
        checked = DeploymentSettings.of(settings, "the server's settings")
        if path.exists() and any(path.iterdir() if path.is_dir() else [path]):
            raise BadInput(f"{path} is there and not empty; choose another directory")
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        shutil.rmtree(beside, ignore_errors=True)
        try:
            beside.mkdir(mode=0o700, parents=True)
            made = cls(beside)
            made._write_keys(checked)
            write_whole(made.config, toml_text(settings, DeploymentSettings), mode=OWNER_ALONE)
            if path.is_dir():
                path.rmdir()
            beside.replace(path)
        except OSError as error:
            shutil.rmtree(beside, ignore_errors=True)
            raise BadInput(f"cannot make {path}: {error.strerror}; choose another directory") from error
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "ServerDirectory":
        """An existing one. Raises BadInput where it is none, or where others may read it."""
        found = cls(path.absolute())
        if not found.config.is_file():
            raise BadInput(f"{path} holds no server; tacit server init makes one, --dir names another")
        if found.path.stat().st_mode & 0o077:
            raise BadInput(f"others may read {path}, which holds keys; type chmod 700 {path}")
        return found

    def _write_keys(self, settings: DeploymentSettings) -> None:
        self.keys.mkdir(mode=0o700)
        SigningKey.generate().save(self.signing_key)
        authority = certificates.authority(settings.listen.names[0])
        write_whole(self.authority_key, authority[1], mode=OWNER_ALONE)
        self.authority.write_bytes(authority[0])
        self.certify(settings)
        write_whole(self.link_secret, secrets.token_bytes(_SECRET_BYTES), mode=OWNER_ALONE)

    def certify(self, settings: DeploymentSettings) -> None:
        """Give the server a new certificate, by the authority that devices have pinned."""
        by = self.authority.read_bytes(), self.authority_key.read_bytes()
        certificate, key = certificates.server_certificate(by, settings.listen.names)
        write_whole(self.certificate_key, key, mode=OWNER_ALONE)
        write_whole(self.certificate, certificate + by[0])

    @cached_property
    def settings(self) -> DeploymentSettings:
        return DeploymentSettings.read(self.config)

    @property
    def database_url(self) -> str:
        return os.environ.get(DATABASE) or self.settings.database or f"sqlite:///{self.path / 'server.db'}"

    @property
    def fingerprint(self) -> str:
        """Of the authority: what devices pin."""
        return certificates.fingerprint(self.authority.read_bytes())

    @property
    def config(self) -> Path:
        return self.path / "server.toml"

    @property
    def keys(self) -> Path:
        return self.path / "keys"

    @property
    def signing_key(self) -> Path:
        """Signs the ledger, the terms of rounds and the list of adapters."""
        return self.keys / "signing.key"

    @property
    def authority(self) -> Path:
        return self.path / "authority.pem"

    @property
    def authority_key(self) -> Path:
        return self.keys / "authority.key"

    @property
    def certificate(self) -> Path:
        return self.path / "server.pem"

    @property
    def certificate_key(self) -> Path:
        return self.keys / "server.key"

    @property
    def link_secret(self) -> Path:
        """What the server's own processes prove themselves to SuperLink with."""
        return self.keys / "link.secret"

    @property
    def superlink_database(self) -> Path:
        """Flower's own state: messages on their way. It can be lost; it is made anew from the server's database."""
        return self.path / "superlink.db"

    @property
    def restored(self) -> Path:
        """Where it is written down that the server came out of a backup."""
        return self.path / "restored.json"

    @property
    def next_signing_key(self) -> Path:
        """The key that takes over, until the ledger says so."""
        return self.keys / "signing.next.key"

    @property
    def loopback(self) -> str:
        """Where the server's own processes reach it, host and port."""
        listen = self.settings.listen
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(listen.host, listen.host)
        return f"{host}:{listen.port}"

    @property
    def flower_home(self) -> Path:
        return self.path / "flower"

    def held(self) -> AbstractContextManager[None]:
        """Hold the directory, so that one ``tacit server up`` runs on it. Raises BadInput where one does."""
        return held(self._lock, f"another tacit server up runs on {self.path}; end it first")

    @property
    def is_held(self) -> bool:
        """Whether a ``tacit server up`` runs on it."""
        return is_held(self._lock)

    @property
    def _lock(self) -> Path:
        return self.path / "up.lock"
