"""AES-256-GCM over rows, keys wrapped by keys, keyed digests in place of names."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
_NONCE = 12
_CONTEXT = b"tacit vault 1"

Part = bytes | str | int


class SealBroken(ValueError):
    """Bytes were sealed by another key, for another place, or changed since. Says nothing of what they hold."""


def bind(*parts: Part) -> bytes:
    """Unambiguous bytes for a place: no two lists of parts give the same."""
    bound = bytearray(_CONTEXT)
    for part in parts:
        raw = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogatepass")
        bound += type(part).__name__[:1].encode() + len(raw).to_bytes(8, "big") + raw
    return bytes(bound)


def derive(key: bytes, purpose: str, salt: bytes = b"") -> bytes:
    """A key for one purpose (HKDF-SHA256, RFC 5869). Shape: any length to 32 bytes."""
    return HKDF(SHA256(), KEY_BYTES, salt or None, bind(purpose)).derive(key)


@dataclass(frozen=True)
class Sealer:
    """Seals and opens bytes under one key. A nonce is random: fewer than 2^32 seals under one key."""

    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(self.key)}")

    def seal(self, plain: bytes, *place: Part) -> bytes:
        nonce = secrets.token_bytes(_NONCE)
        return nonce + AESGCM(self.key).encrypt(nonce, plain, bind(*place))

    def open(self, sealed: bytes, *place: Part) -> bytes:
        """Raises SealBroken."""
        try:
            return AESGCM(self.key).decrypt(sealed[:_NONCE], sealed[_NONCE:], bind(*place))
        except (InvalidTag, ValueError, TypeError):  # TypeError: a damaged file gives other things than bytes
            raise SealBroken("a seal does not fit its place") from None


def digest(key: bytes, *parts: Part) -> bytes:
    """HMAC-SHA256: finds what equals, tells nothing of it without the key."""
    return hmac.new(key, bind(*parts), hashlib.sha256).digest()
