"""Where a vault's master key comes from: keyring, passphrase, systemd credential, key file.

A source makes the key of a new vault and finds it again by what the vault's header says, in clear: the source's name
and its parameters. No source ever falls back to another one, or to a place that others can read.
"""

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from tacit_privacy.errors import BadInput, VaultLocked
from tacit_privacy.pii.vault.sealing import KEY_BYTES

PASSPHRASE = "TACIT_VAULT_PASSPHRASE"  # environment
CREDENTIAL = "tacit-vault-key"  # of systemd: LoadCredentialEncrypted=tacit-vault-key
SERVICE = "tacit-vault"  # in the keyring
_COST, _MOST_COST = 2**17, 2**20  # scrypt's N; 2^17 with r 8 takes 128 MiB

Parameters = Mapping[str, Any]


class VaultKey(Protocol):
    """A source of master keys: 32 bytes each."""

    @property
    def kind(self) -> str:
        """The source's name in the header."""
        ...

    def create(self, entry: str) -> tuple[bytes, dict[str, Any]]:
        """The key of a new vault, and what must be known to find it again. ``entry``: the vault's name, in hex.

        Raises VaultLocked where no key can be kept safely.
        """
        ...

    def unlock(self, parameters: Parameters) -> bytes:
        """The key again. Raises VaultLocked."""
        ...


@dataclass(frozen=True)
class RawKey:
    """A key that the caller keeps."""

    key: bytes = field(repr=False)
    kind: str = "raw"

    @classmethod
    def generate(cls) -> "RawKey":
        return cls(secrets.token_bytes(KEY_BYTES))

    def create(self, entry: str) -> tuple[bytes, dict[str, Any]]:
        return self.key, {}

    def unlock(self, parameters: Parameters) -> bytes:
        return self.key


@dataclass(frozen=True)
class KeyFile:
    """64 hexadecimal digits, or 32 bytes, in a file that its owner alone may read."""

    path: Path
    on_create: Callable[[Path], None] | None = None  # told when a new file was made
    noted: str | None = None  # what the vault's header says of the path; None: it is beside the vault
    kind: str = "file"

    def create(self, entry: str) -> tuple[bytes, dict[str, Any]]:
        """The key in the file; where there is none, a new file with a new key, whole or not at all."""
        if not self.path.exists() and self._made() and self.on_create:
            self.on_create(self.path)
        return self.unlock({}), {} if self.noted is None else {"path": self.noted}

    def unlock(self, parameters: Parameters) -> bytes:
        absent = "put the key back there, or say where it is, by --key file:PATH or TACIT_VAULT_KEY"
        return read_key(self.path, 0o077, f"type chmod 600 {self.path}", absent)

    def _made(self) -> bool:
        """Write beside, flush, link: of several processes one makes it, and nobody reads half of it."""
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            if self.noted is None and not self.path.parent.exists():  # the vault's own folder, and no other
                self.path.parent.mkdir(mode=0o700, parents=True)
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(KEY_BYTES) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(beside, self.path)
        except FileExistsError:
            return False
        except OSError as error:
            why = (error.strerror or "it cannot be written").lower()
            raise BadInput(f"cannot make a key in {self.path}: {why}; name a folder that you can write in") from error
        finally:
            with contextlib.suppress(FileNotFoundError):
                beside.unlink()
        return True


@dataclass(frozen=True)
class Credential:
    """What systemd hands to a service in ``$CREDENTIALS_DIRECTORY``: same form as a key file."""

    kind: str = "credential"

    def create(self, entry: str) -> tuple[bytes, dict[str, Any]]:
        return self.unlock({}), {}

    def unlock(self, parameters: Parameters) -> bytes:
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise VaultLocked(
                f"there is no systemd credential; add LoadCredentialEncrypted={CREDENTIAL} to the unit, or start it so"
            )
        # systemd may show a group's bits, which are the mask of an access control list
        return read_key(Path(folder) / CREDENTIAL, 0o007, "let systemd make it")

    @staticmethod
    def present() -> bool:
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        return bool(folder) and (Path(folder or "") / CREDENTIAL).exists()


@dataclass(frozen=True)
class Passphrase:
    """scrypt (RFC 7914) over words that only the owner knows; salt and costs stand in the vault's header."""

    ask: Callable[[], str] = field(repr=False)
    cost: int = _COST
    kind: str = "passphrase"

    @classmethod
    def from_environment(cls, prompt: Callable[[], str] | None = None) -> "Passphrase":
        """``TACIT_VAULT_PASSPHRASE``, or else what ``prompt`` returns."""

        def ask() -> str:
            found = os.environ.get(PASSPHRASE, "")
            if found or prompt is None:
                return found
            return prompt()

        return cls(ask)

    def create(self, entry: str) -> tuple[bytes, dict[str, Any]]:
        parameters = {"salt": secrets.token_hex(16), "n": self.cost, "r": 8, "p": 1}
        return self.unlock(parameters), parameters

    def unlock(self, parameters: Parameters) -> bytes:
        try:
            salt = bytes.fromhex(parameters["salt"])
            n, r, p = (int(parameters[name]) for name in "nrp")
        except (KeyError, ValueError, TypeError):
            raise BadInput("the vault's header is damaged; restore the vault from a copy") from None
        if not (2 <= n <= _MOST_COST and not n & (n - 1) and 1 <= r <= 16 and 1 <= p <= 4):
            raise BadInput("the vault's header asks for absurd work; restore the vault from a copy")
        words = self.ask()
        if not words:
            raise VaultLocked(f"the vault is locked by a passphrase; set {PASSPHRASE} or type it when asked")
        return Scrypt(salt=salt, length=KEY_BYTES, n=n, r=r, p=p).derive(words.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True)
class Keyring:
    """The operating system's keyring (Secret Service, KWallet), by the keyring library; one entry per vault."""

    kind: str = "keyring"

    def create(self, entry: str) -> tuple[bytes, dict[str, Any]]:
        key = secrets.token_bytes(KEY_BYTES)
        _secure_keyring()
        _in_keyring("set_password", SERVICE, entry, key.hex())
        if _in_keyring("get_password", SERVICE, entry) != key.hex():
            raise VaultLocked("the keyring did not keep the vault's key; unlock it or use a passphrase")
        return key, {"entry": entry}

    def unlock(self, parameters: Parameters) -> bytes:
        _secure_keyring()
        found = _in_keyring("get_password", SERVICE, str(parameters.get("entry", "")))
        if found is None:
            raise VaultLocked(
                "the keyring has no key for this vault; unlock the keyring of the user who made the vault"
            )
        return _decoded(str(found).encode(), "the keyring's entry")


def read_key(path: Path, forbidden: int, remedy: str, absent: str = "put the key back there") -> bytes:
    """The key in a file none of whose ``forbidden`` mode bits is set. Raises VaultLocked."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would wait
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(file.fileno())  # of what was opened, not of what the path means by now
            data = file.read(256) if stat.S_ISREG(found.st_mode) else b""
    except OSError as error:
        why = (error.strerror or "it cannot be opened").lower()
        raise VaultLocked(f"cannot read the vault's key {path}: {why}; {absent}") from error
    except ValueError:  # a header that was tampered with can name anything
        raise VaultLocked(f"the vault's header names a key file that cannot be one; {absent}") from None
    if found.st_mode & forbidden:
        raise VaultLocked(f"others may read the vault's key {path}; {remedy}")
    if found.st_uid not in (os.geteuid(), 0):
        raise VaultLocked(f"the vault's key {path} belongs to another user; take it over or name another one")
    return _decoded(data, str(path))


def _decoded(data: bytes, where: str) -> bytes:
    text = data.strip()
    if re.fullmatch(rb"[0-9a-fA-F]{64}", text):
        return bytes.fromhex(text.decode())
    if len(data) == KEY_BYTES:
        return data
    raise VaultLocked(f"{where} holds no key of 64 hexadecimal digits; openssl rand -hex 32 makes one")


def _secure_keyring() -> None:
    """Raises VaultLocked unless every backend that the keyring library would use keeps secrets secret."""
    import keyring
    from keyring.backends.chainer import ChainerBackend

    chosen = keyring.get_keyring()
    backends = list(chosen.backends) if isinstance(chosen, ChainerBackend) else [chosen]
    for backend in backends:
        name = f"{type(backend).__module__}.{type(backend).__name__}"
        # keyring itself recommends a backend from priority 1 on; those that write in clear are below
        plain = name.startswith(("keyring.backends.fail.", "keyring.backends.null.")) or "plaintext" in name.lower()
        if plain or backend.priority < 1:
            raise VaultLocked(
                f"the keyring here ({name}) keeps nothing secret; start a keyring service, or use a passphrase "
                f"({PASSPHRASE}) or a key file"
            )
    if not backends:
        raise VaultLocked(f"there is no keyring here; use a passphrase ({PASSPHRASE}) or a key file")


def _in_keyring(method: str, *arguments: str) -> Any:
    """A call to the keyring. Its errors may quote what was to be kept, so only their kind is told."""
    import keyring

    try:
        return getattr(keyring.get_keyring(), method)(*arguments)
    except Exception as error:  # backends raise whatever their service raises
        raise VaultLocked(
            f"the keyring refused ({type(error).__name__}); unlock it, or use a passphrase or a key file"
        ) from None
