"""Commitments to who took part: what is published tells nothing, and can be opened later by whoever keeps the salt."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from sqlalchemy.orm import Session

from tacit_privacy.contract import digest
from tacit_privacy.ledger.chain import SealRow


@dataclass(frozen=True, slots=True)
class Opening:
    """What a commitment is over. Shown with the receipts themselves it proves who took part, and that nobody else did.

    The salt hides the number of receipts, too: without it the commitment to an empty cohort would be known to all.
    """

    salt: bytes  # 32 bytes
    leaves: tuple[str, ...]  # SHA-256 of every receipt, sorted: the order of arrival is nobody's business

    @classmethod
    def of(cls, receipts: Sequence[bytes], salt: bytes) -> Self:
        return cls(salt, tuple(sorted(digest(receipt) for receipt in receipts)))

    @property
    def commitment(self) -> str:
        """SHA-256 over the salt and the leaves; all of fixed length, so no two openings share their bytes."""
        return digest(self.salt + b"".join(bytes.fromhex(leaf) for leaf in self.leaves))

    def keep(self, session: Session, reservation: str) -> None:
        """Store it inside the caller's transaction: a commitment that is published can be opened."""
        session.add(SealRow(reservation=reservation, salt=self.salt, leaves=json.dumps(self.leaves)))

    @classmethod
    def kept(cls, session: Session, reservation: str) -> Self | None:
        """The opening of what was committed for ``reservation``, None where nothing was sealed."""
        row = session.get(SealRow, reservation)
        return None if row is None else cls(row.salt, tuple(json.loads(row.leaves)))
