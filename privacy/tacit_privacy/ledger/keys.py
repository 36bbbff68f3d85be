"""Ed25519 keys for ledger entries and round terms."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tacit_privacy.errors import BadInput


@dataclass(frozen=True)
class SigningKey:
    """A private key that never prints itself."""

    _key: Ed25519PrivateKey

    @classmethod
    def generate(cls) -> "SigningKey":
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def simulated(cls, seed: int) -> "SigningKey":
        """A key derived from a seed, for simulations: it proves that a file is whole, not who wrote it."""
        return cls(
            Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"simulated signing key {seed}".encode()).digest())
        )

    @classmethod
    def load(cls, path: Path) -> "SigningKey":
        try:
            return cls(Ed25519PrivateKey.from_private_bytes(path.read_bytes()))
        except (OSError, ValueError) as error:
            raise BadInput(f"cannot read a signing key from {path}: {error}; name a file of 32 raw bytes") from error

    def save(self, path: Path) -> None:
        """Write the raw key, readable by its owner alone; refuses to overwrite."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(self._key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))

    def sign(self, payload: bytes) -> bytes:
        return self._key.sign(payload)

    @property
    def public(self) -> str:
        """The public key, 64 hexadecimal digits."""
        return self._key.public_key().public_bytes_raw().hex()

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public})"


def verifies(public: str, payload: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is by the key ``public`` (hexadecimal) over ``payload``."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, payload)
    except (InvalidSignature, ValueError):
        return False
    return True
