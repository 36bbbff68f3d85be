"""Ed25519 keys for ledger entries, round terms and receipts: made, kept and checked."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tacit_privacy.errors import BadInput

PASSPHRASE = "TACIT_KEY_PASSPHRASE"  # environment: unlocks a protected key file
_RAW = 32


@dataclass(frozen=True)
class SigningKey:
    """A private key that never prints itself."""

    _key: Ed25519PrivateKey

    @classmethod
    def generate(cls) -> "SigningKey":
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def simulated(cls, seed: int, *path: str | int) -> "SigningKey":
        """A key derived from a seed, for simulations: it proves that a file is whole, not who wrote it."""
        name = " ".join(["simulated signing key", *map(str, (seed, *path))])
        return cls(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()))

    @classmethod
    def of_bytes(cls, data: bytes) -> "SigningKey":
        """The inverse of ``to_bytes``."""
        return cls(Ed25519PrivateKey.from_private_bytes(data))

    def to_bytes(self) -> bytes:
        """32 bytes, not encrypted: for a sealed store alone."""
        return self._key.private_bytes_raw()

    @classmethod
    def load(cls, path: Path, passphrase: bytes | None = None) -> "SigningKey":
        """From a file of 32 raw bytes or of PEM (PKCS #8). ``passphrase`` None: as the environment says.

        Raises BadInput where it cannot be read or unlocked.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BadInput(f"cannot read a signing key from {path}: {error.strerror}") from error
        if len(data) == _RAW:
            return cls(Ed25519PrivateKey.from_private_bytes(data))
        secret = passphrase if passphrase is not None else os.environ.get(PASSPHRASE, "").encode() or None
        try:
            key = load_pem_private_key(data, secret if b"ENCRYPTED" in data else None)
        except TypeError as error:
            raise BadInput(f"{path} is protected; set {PASSPHRASE} to its passphrase") from error
        except ValueError as error:
            raise BadInput(f"{path} holds no key that this passphrase unlocks; check both") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise BadInput(f"{path} holds a key of another kind; make one with tacit audit keygen")
        return cls(key)

    def save(self, path: Path, passphrase: bytes | None = None) -> None:
        """Write the key as PEM, readable by its owner alone, encrypted where there is a ``passphrase``; refuses to
        overwrite. Raises BadInput.
        """
        locked = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        data = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise BadInput(f"{path} exists; a key is never overwritten: name another file") from error
        except OSError as error:
            raise BadInput(f"cannot write {path}: {error.strerror}") from error
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def sign(self, payload: bytes) -> bytes:
        return self._key.sign(payload)

    @property
    def public(self) -> str:
        """The public key, 64 hexadecimal digits."""
        return self._key.public_key().public_bytes_raw().hex()

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public})"


class PublicKeys:
    """Checks signatures by keys that come again and again: each is read once."""

    def __init__(self) -> None:
        self._read: dict[str, Ed25519PublicKey] = {}

    def verifies(self, public: str, payload: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is by the key ``public`` (hexadecimal) over ``payload``."""
        try:
            key = self._read.get(public)
            if key is None:
                key = self._read[public] = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
            key.verify(signature, payload)
        except (InvalidSignature, ValueError):
            return False
        return True


def verifies(public: str, payload: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is by the key ``public`` (hexadecimal) over ``payload``."""
    return PublicKeys().verifies(public, payload, signature)
