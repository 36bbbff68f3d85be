"""A server's directory: its configuration, keys, certificates and databases, readable by its owner alone."""

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tacit_privacy.errors import BadInput
from tacit_privacy.files import OWNER_ALONE, write_whole
from tacit_privacy.ledger.keys import SigningKey
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
            write_whole(made.config, toml(settings), mode=OWNER_ALONE)
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
        _secret(self.authority_key, authority[1])
        self.authority.write_bytes(authority[0])
        self.certify(settings)
        _secret(self.link_secret, secrets.token_bytes(_SECRET_BYTES))

    def certify(self, settings: DeploymentSettings) -> None:
        """Give the server a new certificate, by the authority that devices have pinned."""
        by = self.authority.read_bytes(), self.authority_key.read_bytes()
        certificate, key = certificates.server_certificate(by, settings.listen.names)
        _secret(self.certificate_key, key)
        write_whole(self.certificate, (certificate + by[0]).decode())

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

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the directory, so that one ``tacit server up`` runs on it. Raises BadInput where one does."""
        descriptor = os.open(self.path / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ALONE)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise BadInput(f"another tacit server up runs on {self.path}; end it first") from error
            yield
        finally:
            os.close(descriptor)

    @property
    def is_held(self) -> bool:
        """Whether a ``tacit server up`` runs on it."""
        try:
            with self.held():
                return False
        except BadInput:
            return True


def _secret(path: Path, data: bytes) -> None:
    """Write bytes that their owner alone may read; what was there is replaced as a whole."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ALONE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def toml(settings: dict[str, Any], model: type[BaseModel] = DeploymentSettings) -> str:
    """Settings as TOML, each below what it means. JSON's way of writing words, numbers and lists is TOML's too."""
    simple = {name: value for name, value in settings.items() if not isinstance(value, dict)}
    lines = [line for name, value in simple.items() for line in _lines(model, name, value)]
    for name, table in settings.items():
        if isinstance(table, dict):
            inner = model.model_fields[name].annotation
            if not isinstance(inner, type) or not issubclass(inner, BaseModel):
                raise BadInput(f"{name} is no table of settings")
            lines += ["", f"[{name}]", *(line for key, value in table.items() for line in _lines(inner, key, value))]
    return "\n".join(lines).lstrip("\n") + "\n"


def _lines(model: type[BaseModel], name: str, value: Any) -> list[str]:
    told = model.model_fields[name].description
    return ([f"# {told}"] if told else []) + [f"{name} = {json.dumps(value, ensure_ascii=False)}"]
