"""Several byte strings in one: a message and its parts, as they travel in one request."""

from collections.abc import Iterable

from tacit_privacy.errors import BadInput

_LENGTH = 8  # bytes, lowest first


def joined(parts: Iterable[bytes]) -> bytes:
    """Each part after its length."""
    return b"".join(piece for part in parts for piece in (len(part).to_bytes(_LENGTH, "little"), part))


def parted(data: bytes) -> list[bytes]:
    """The inverse of ``joined``. Raises BadInput where that is not what made the bytes."""
    found: list[bytes] = []
    start = 0
    while start < len(data):
        end = start + _LENGTH + int.from_bytes(data[start : start + _LENGTH], "little")
        if end > len(data):
            raise BadInput("what came ends in the middle of a part")
        found.append(data[start + _LENGTH : end])
        start = end
    return found
