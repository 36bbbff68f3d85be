"""Budgets and their ledgers, in memory or in a database, with devices that sign their receipts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session

from tacit_privacy.accounting.budget import Budget, Reservation
from tacit_privacy.accounting.events import Adjacency, Arithmetic, GaussianEvent, Sampling
from tacit_privacy.accounting.policy import BudgetPolicy
from tacit_privacy.contract import Receipt
from tacit_privacy.ledger.bodies import Begun
from tacit_privacy.ledger.chain import Ledger
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.ledger.receipts import SignedReceipt, Tree
from tacit_privacy.ledger.tables import PrivacyTables
from tacit_privacy.mechanisms.noise import NoiseSource, SeededNoise

KEY = SigningKey.simulated(7)
FIXED = Sampling(kind="fixed", cohort=200, population=2000)
EXACT = Arithmetic(levels=2**26, dimension=1)  # as good as continuous


def policy(**changes: Any) -> BudgetPolicy:
    told = {"epsilon": 8.0, "delta": 2.3e-4, "participations": 1, "adjacency": Adjacency.ZERO_OUT}
    return BudgetPolicy.model_validate(told | {"roster_sealed": False, "population": 2000} | changes)


def begun(run: str = "run", noise: NoiseSource | None = None, config: str = "0" * 64) -> Begun:
    source = (noise or SeededNoise(1)).name
    return Begun(run=run, config=config, code="a test", clip_norm=1.0, arithmetic=EXACT, noise_source=source)


class Books:
    """One run's budget. Others may keep theirs on the same ``database``."""

    def __init__(
        self,
        allowed: BudgetPolicy,
        event: GaussianEvent,
        replay: bool = True,
        noise: NoiseSource | None = None,
        run: str = "run",
        database: Engine | None = None,
        key: SigningKey = KEY,
        closes: bool = True,
    ) -> None:
        if database is None:
            database = create_engine("sqlite://")
            PrivacyTables.metadata.create_all(database)
        self.database, self.event, self.key, self.run, self.time = database, event, key, run, 5.0
        self.session = Session(database)
        self.ledger = Ledger(lambda payload: self.key.sign(payload), lambda: self.time)
        self.budget = Budget(allowed, self.ledger, begun(run, noise), noise or SeededNoise(1), replay, closes)
        self._took_part: dict[int, int] = {}
        self.open()

    def open(self) -> None:
        self.budget.open(self.session, self.key.public)

    def reserve(self, number: int, devices: Sequence[int], event: GaussianEvent | None = None) -> Reservation:
        asked = np.array(devices, dtype=np.intp)
        return self.budget.reserve(self.session, number, asked, event or self.event)

    def commit(self, reservation: Reservation, devices: Sequence[int], release: str = "1" * 64) -> None:
        shown = self.budget.head(self.session)
        receipts = [self.receipt(reservation.round, device, shown) for device in devices]
        self.budget.commit(self.session, reservation, devices, release, receipts)

    def round(self, number: int, devices: Sequence[int]) -> str:
        """One release to ``devices``; the name of its reservation."""
        reservation = self.reserve(number, devices)
        self.commit(reservation, devices)
        return reservation.id

    def receipt(self, number: int, device: int, shown: tuple[str, int]) -> SignedReceipt:
        own = SigningKey.simulated(7, device)
        self._took_part[device] = self._took_part.get(device, 0) + 1
        payload = Receipt(
            run=self.run,
            round=number,
            device=f"device-{device}",
            public_key=own.public,
            terms="3" * 64,
            update="4" * 64,
            participation=self._took_part[device],
            ledger_head=shown[0],
            ledger_length=shown[1],
        ).to_bytes()
        return SignedReceipt(payload, own.sign(payload))

    def hand_over(self, new: SigningKey) -> None:
        self.budget.rotate(self.session, new)
        self.key = new

    def close(self) -> None:
        self.budget.close(self.session)

    def lines(self) -> list[str]:
        return [entry.line() for entry in self.ledger.entries(self.session)]

    def bodies(self) -> list[dict[str, Any]]:
        return [entry.body for entry in self.ledger.entries(self.session)]

    def told(self, field: str) -> list[Any]:
        """What every entry that has ``field`` says there."""
        return [body[field] for body in self.bodies() if field in body]

    def receipt_lines(self) -> list[str]:
        found: list[str] = []
        for entry in self.ledger.entries(self.session):
            if entry.kind == "commit":
                tree = Tree.kept(self.session, entry.body["reservation"])
                found += tree.lines(entry.body["reservation"]) if tree else []
        return found
