"""Who pays for a round: a budget, or, in a comparison without privacy, nobody."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from tacit_privacy.accounting.budget import Reservation
from tacit_privacy.accounting.events import Sampling
from tacit_privacy.ledger.chain import GENESIS


class Charging(Protocol):
    """Reserve before a release, commit or abandon after: see ``tacit_privacy.accounting.budget.Budget``."""

    def open(self, session: Session, config_digest: str, public_key: str) -> None: ...

    def reserve(
        self, session: Session, round_number: int, devices: NDArray[np.integer[Any]], sampling: Sampling
    ) -> Reservation: ...

    def commit(
        self,
        session: Session,
        reservation: Reservation,
        accepted: Sequence[int],
        release: str,
        receipts: Sequence[bytes],
    ) -> None: ...

    def abandon(self, session: Session, reservation: Reservation, why: str) -> None: ...

    def close(self, session: Session) -> None: ...

    def head(self, session: Session, settled: bool = False) -> tuple[str, int]: ...

    def participations(self, session: Session) -> dict[int, int]: ...


class NoBudget:
    """For runs without privacy, which say so wherever a figure stands: nothing promised, nothing charged."""

    def open(self, session: Session, config_digest: str, public_key: str) -> None: ...

    def reserve(
        self, session: Session, round_number: int, devices: NDArray[np.integer[Any]], sampling: Sampling
    ) -> Reservation:
        return Reservation(f"{round_number}", round_number, float("inf"), f"release {round_number}")

    def commit(
        self,
        session: Session,
        reservation: Reservation,
        accepted: Sequence[int],
        release: str,
        receipts: Sequence[bytes],
    ) -> None: ...

    def abandon(self, session: Session, reservation: Reservation, why: str) -> None: ...

    def close(self, session: Session) -> None: ...

    def head(self, session: Session, settled: bool = False) -> tuple[str, int]:
        return GENESIS, 0

    def participations(self, session: Session) -> dict[int, int]:
        return {}
