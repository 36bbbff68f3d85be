"""Who pays for a round: a budget, or, in a comparison without privacy, nobody."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from tacit_privacy.accounting.budget import Reservation
from tacit_privacy.accounting.events import GaussianEvent
from tacit_privacy.ledger.chain import GENESIS
from tacit_privacy.ledger.receipts import SignedReceipt


class Charging(Protocol):
    """Reserve before a release, commit or abandon after: see ``tacit_privacy.accounting.budget.Budget``."""

    def open(self, session: Session, public_key: str) -> None: ...

    def reserve(
        self, session: Session, round_number: int, devices: NDArray[np.integer[Any]], event: GaussianEvent
    ) -> Reservation: ...

    def commit(
        self,
        session: Session,
        reservation: Reservation,
        accepted: Sequence[int],
        release: str,
        receipts: Sequence[SignedReceipt],
    ) -> None: ...

    def abandon(self, session: Session, reservation: Reservation, why: str) -> None: ...

    def close(self, session: Session) -> None: ...

    def over(self, session: Session) -> bool: ...

    def name(self, session: Session) -> str: ...

    def head(self, session: Session, settled: bool = False) -> tuple[str, int]: ...

    def participations(self, session: Session) -> dict[int, int]: ...

    def last_rounds(self, session: Session) -> dict[int, int]: ...

    def beyond_limit(self, session: Session, event: GaussianEvent) -> list[int]: ...


class NoBudget:
    """For runs without privacy, which say so wherever a figure stands: nothing promised, nothing charged."""

    def open(self, session: Session, public_key: str) -> None: ...

    def reserve(
        self, session: Session, round_number: int, devices: NDArray[np.integer[Any]], event: GaussianEvent
    ) -> Reservation:
        return Reservation(f"{round_number}", round_number, float("inf"), f"release {round_number}")

    def commit(
        self,
        session: Session,
        reservation: Reservation,
        accepted: Sequence[int],
        release: str,
        receipts: Sequence[SignedReceipt],
    ) -> None: ...

    def abandon(self, session: Session, reservation: Reservation, why: str) -> None: ...

    def close(self, session: Session) -> None: ...

    def over(self, session: Session) -> bool:
        return False

    def name(self, session: Session) -> str:
        return ""

    def head(self, session: Session, settled: bool = False) -> tuple[str, int]:
        return GENESIS, 0

    def participations(self, session: Session) -> dict[int, int]:
        return {}

    def last_rounds(self, session: Session) -> dict[int, int]:
        return {}

    def beyond_limit(self, session: Session, event: GaussianEvent) -> list[int]:
        return []
