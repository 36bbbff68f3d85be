"""The receipts of a round as a Merkle tree: its root is published and tells nothing, its leaves can be opened later."""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from tacit_privacy.accounting.events import Sampling
from tacit_privacy.contract import canonical
from tacit_privacy.ledger import merkle
from tacit_privacy.ledger.tables import LeafRow

_DEVIATIONS = 12  # a Poisson cohort beyond its mean by so many standard deviations has a probability below 1e-30
_LEAST_WIDTH = 8


@dataclass(frozen=True, slots=True)
class SignedReceipt:
    """A device's receipt (``contract.Receipt``) as canonical bytes, and its signature; empty where it has no key."""

    payload: bytes
    signature: bytes = b""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One place of the tree: a receipt, or padding, which has an empty payload."""

    salt: bytes  # 32 bytes
    receipt: SignedReceipt

    @property
    def hash(self) -> bytes:
        return merkle.leaf_hash(self.salt, self.receipt.signature, self.receipt.payload)


def width_for(sampling: Sampling) -> int:
    """Leaves of a round's tree: a power of two that follows from what was planned, never from who came."""
    most = sampling.cohort
    if sampling.kind == "poisson":
        likely = sampling.cohort + _DEVIATIONS * math.sqrt(sampling.cohort) + _DEVIATIONS**2
        most = sampling.cap or min(sampling.population, math.ceil(likely))
    return _power(max(most, _LEAST_WIDTH))


def _power(least: int) -> int:
    return 1 << (least - 1).bit_length()


@dataclass(frozen=True, slots=True)
class Tree:
    """A round's leaves in the order of their hashes, so that a place tells nothing."""

    leaves: tuple[Leaf, ...]

    @classmethod
    def of(cls, receipts: Sequence[SignedReceipt], width: int, salt: bytes) -> Self:
        """``receipts`` and padding up to ``width`` leaves; every leaf has a salt of its own that follows from ``salt``.

        Shown with its siblings, one leaf proves that it is in the tree; the others stay hidden behind their salts.
        """
        told = sorted(receipts, key=lambda receipt: receipt.payload)
        told += [SignedReceipt(b"")] * (max(width, _power(max(1, len(told)))) - len(told))
        salts = (hashlib.sha256(salt + place.to_bytes(8)).digest() for place in range(len(told)))
        leaves = (Leaf(own, receipt) for own, receipt in zip(salts, told, strict=True))
        return cls(tuple(sorted(leaves, key=lambda leaf: leaf.hash)))

    @property
    def root(self) -> str:
        return merkle.root([leaf.hash for leaf in self.leaves]).hex()

    @property
    def receipts(self) -> list[SignedReceipt]:
        return [leaf.receipt for leaf in self.leaves if leaf.receipt.payload]

    def proof(self, position: int) -> list[bytes]:
        """What shows, with the leaf at ``position``, that it is in the tree: see ``merkle.climb``."""
        return merkle.path([leaf.hash for leaf in self.leaves], position)

    def keep(self, session: Session, reservation: str) -> None:
        """Store it inside the caller's transaction: a root that is published can be opened."""
        rows = [
            {
                "reservation": reservation,
                "position": place,
                "salt": leaf.salt,
                "payload": leaf.receipt.payload,
                "signature": leaf.receipt.signature,
            }
            for place, leaf in enumerate(self.leaves)
        ]
        session.execute(insert(LeafRow.metadata.tables[LeafRow.__tablename__]), rows)

    @classmethod
    def kept(cls, session: Session, reservation: str) -> Self | None:
        """The leaves of what was committed for ``reservation``, None where nothing was."""
        rows = session.scalars(select(LeafRow).where(LeafRow.reservation == reservation).order_by(LeafRow.position))
        leaves = tuple(Leaf(row.salt, SignedReceipt(row.payload, row.signature)) for row in rows)
        return cls(leaves) if leaves else None

    def lines(self, reservation: str) -> Iterator[str]:
        """A line of JSON for every leaf, as ``tacit audit verify --receipts`` reads them."""
        for leaf in self.leaves:
            told: dict[str, Any] = {"reservation": reservation, "salt": leaf.salt.hex()}
            if leaf.receipt.payload:
                told["receipt"] = leaf.receipt.payload.decode()
                told["signature"] = leaf.receipt.signature.hex()
            yield canonical(told).decode()


def read_leaves(lines: Iterable[str]) -> Iterator[tuple[str, Leaf]]:
    """The inverse of ``Tree.lines``: reservation and leaf, line by line. Raises ValueError on a line that is none."""
    for number, line in enumerate(lines, 1):
        try:
            told = json.loads(line)
            if not isinstance(told, dict) or not {"reservation", "salt"} <= told.keys() <= _FIELDS:
                raise ValueError("a leaf has a reservation, a salt and at most a receipt and its signature")
            receipt = SignedReceipt(str(told.get("receipt", "")).encode(), bytes.fromhex(told.get("signature", "")))
            salt = bytes.fromhex(told["salt"])
            if len(salt) != _SALT or len(receipt.signature) not in (0, _SIGNATURE):
                raise ValueError("a salt has 32 bytes, a signature 64")  # of other lengths one hash has many readings
            if not receipt.payload and receipt.signature:
                raise ValueError("padding is not signed")
            yield str(told["reservation"]), Leaf(salt, receipt)
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"line {number}: {error}") from error


_FIELDS = {"reservation", "salt", "receipt", "signature"}
_SALT, _SIGNATURE = 32, 64  # bytes
