"""Merkle trees over salted leaves, as in RFC 6962: a leaf can be shown to be in a tree without showing any other."""

import hashlib
from collections.abc import Sequence

_LEAF, _NODE = b"\x00", b"\x01"  # different prefixes: no inner node can pass for a leaf


def leaf_hash(salt: bytes, signature: bytes, payload: bytes) -> bytes:
    """32 bytes over a leaf. ``salt`` (32 bytes) hides what is short enough to be guessed."""
    return hashlib.sha256(_LEAF + salt + bytes([len(signature)]) + signature + payload).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over hashed ``leaves``, whose number is a power of two. Raises ValueError where it is not."""
    return _levels(leaves)[-1][0]


def path(leaves: Sequence[bytes], position: int) -> list[bytes]:
    """The siblings from the leaf at ``position`` up to below the root."""
    return [level[(position >> height) ^ 1] for height, level in enumerate(_levels(leaves)[:-1])]


def climb(leaf: bytes, position: int, siblings: Sequence[bytes]) -> bytes:
    """The root that a hashed leaf at ``position`` leads to by way of ``siblings``."""
    for height, sibling in enumerate(siblings):
        right = position >> height & 1
        leaf = _node(sibling, leaf) if right else _node(leaf, sibling)
    return leaf


def _levels(leaves: Sequence[bytes]) -> list[Sequence[bytes]]:
    if not leaves or len(leaves) & (len(leaves) - 1):
        raise ValueError(f"a tree has a power of two of leaves, not {len(leaves)}")
    levels: list[Sequence[bytes]] = [leaves]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([_node(below[i], below[i + 1]) for i in range(0, len(below), 2)])
    return levels


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()
