"""The budget of a run: refuses before anything is spent, charges before anything is released."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from tacit_privacy.accounting.account import Account
from tacit_privacy.accounting.account import Reservation as Reservation
from tacit_privacy.accounting.bounds import Adjacency, Bound, bounds, smallest
from tacit_privacy.accounting.events import Exposure, GaussianEvent, Sampling
from tacit_privacy.contract import Fact
from tacit_privacy.errors import BudgetExhausted, LedgerBroken
from tacit_privacy.ledger.chain import Entry, Ledger, ParticipationRow, ReservedRow
from tacit_privacy.ledger.sealing import Opening
from tacit_privacy.mechanisms.gaussian import GaussianSum
from tacit_privacy.mechanisms.noise import NoiseSource

_AT_ONCE = 5_000  # devices that one query names: SQLite allows 32,766 parameters


class BudgetPolicy(Fact):
    """What a fleet may spend. It is the first entry of the ledger and never changes within a run."""

    epsilon: PositiveFloat
    delta: float = Field(gt=0, lt=1)
    participations: PositiveInt
    adjacency: Adjacency
    roster_sealed: bool
    population: PositiveInt
    unit: str = "device"


class Budget:
    """Charges releases of one mechanism against one policy, in the ledger.

    Only rounds that were reserved may be released. A reservation that a crash left open is replayed by a simulation
    (``replay=True``: same cohort, same noise, charged once); a deployment keeps it charged, as if it had been released,
    with a participation to everybody in it, and reserves anew.

    Receipts stand behind a salted commitment: they name the exact update of a device, which no noise covers. Where the
    roster is sealed, nothing at all that is written or charged depends on who took part: every release is charged as if
    some device had used up its participations.
    """

    def __init__(
        self, policy: BudgetPolicy, ledger: Ledger, mechanism: GaussianSum, noise: NoiseSource, replay: bool
    ) -> None:
        self._policy, self._ledger, self._mechanism = policy, ledger, mechanism
        self._noise, self._replay = noise, replay
        self._account = Account()

    @property
    def policy(self) -> BudgetPolicy:
        return self._policy

    def open(self, session: Session, config_digest: str, public_key: str) -> None:
        """Write the first entry; after a crash, check that the ledger belongs to this policy and configuration, and
        settle what a deployment left open. Raises LedgerBroken when it does not.
        """
        body = {
            "policy": self._policy.model_dump(mode="json"),
            "clip_norm": self._mechanism.clip_norm,
            "levels": self._mechanism.levels,
            "noise_source": self._noise.name,
            "config": config_digest,
            "public_key": public_key,
        }
        first = self._current(session).first
        if first is None:
            self._ledger.append(session, "open", body)
        elif first.body != json.loads(json.dumps(body)):
            raise LedgerBroken("the ledger was opened under another policy or configuration; start in an empty folder")
        elif not self._replay:
            self._lose(session)

    def reserve(
        self, session: Session, round_number: int, devices: NDArray[np.integer[Any]], sampling: Sampling
    ) -> Reservation:
        """Charge a release in which at most ``devices`` take part. Raises BudgetExhausted, with nothing written, and
        LedgerBroken where the ledger is closed or an earlier reservation was left open.
        """
        account = self._current(session)
        if account.waiting is not None and self._replay:
            return account.waiting
        if account.waiting is not None:
            raise LedgerBroken(
                f"reservation {account.waiting.id} is open; commit it, give it back or open the budget anew"
            )
        event = self._mechanism.event(sampling)
        worst = self._worst(session, devices)
        bound = self._smallest([*self.events(session), event], worst)
        if bound.epsilon > self._policy.epsilon:
            raise BudgetExhausted(bound.epsilon, self._policy.epsilon)
        if account.closed:
            raise LedgerBroken("the ledger is closed: its run is over; start in an empty folder")
        name = f"{round_number}.{self._ledger.length(session)}"
        reservation = Reservation(name, round_number, bound.epsilon, f"release {name}")
        body = {
            "reservation": reservation.id,
            "round": round_number,
            "event": event.model_dump(mode="json"),
            "participations": worst,
            "epsilon": bound.epsilon,
        }
        self._ledger.append(session, "reserve", body)
        session.add(ReservedRow(reservation=name, devices=devices.astype(np.int64).tobytes()))
        return reservation

    def commit(
        self,
        session: Session,
        reservation: Reservation,
        accepted: Sequence[int],
        release: str,
        receipts: Sequence[bytes],
    ) -> None:
        """Record what was released: its digest, a commitment to the receipts, and one participation per device.

        ``Opening.kept`` gives what the commitment is over.
        """
        opening = Opening.of(receipts, self._noise.salt(reservation.label))
        opening.keep(session, reservation.id)
        body: dict[str, Any] = {"reservation": reservation.id, "release": release, "receipts": opening.commitment}
        entry = self._ledger.append(session, "commit", body)
        self._count(session, accepted, entry)
        self._settle(session, reservation.id)

    def abandon(self, session: Session, reservation: Reservation, why: str) -> None:
        """Give a reservation back: nothing was released. ``why`` (too few devices, never their data) is public, but
        behind a sealed roster, where it would tell how many there were.
        """
        said = "too few devices" if self._policy.roster_sealed else why
        self._ledger.append(session, "abandon", {"reservation": reservation.id, "why": said})
        self._settle(session, reservation.id)

    def close(self, session: Session) -> None:
        """End the ledger, once: a finished ledger can then be told from a truncated one. What is open is lost."""
        if not self._current(session).closed:
            self._lose(session)
            account = self._current(session)
            body = {"releases": account.releases, "epsilon": self.spent(session).epsilon}
            self._ledger.append(session, "close", body)

    def events(self, session: Session) -> list[GaussianEvent]:
        """Every release that is charged: reserved and not given back."""
        return [charge.event for charge in self._current(session).charged.values()]

    def listed(self, session: Session) -> tuple[Bound, ...]:
        """Every bound that holds for what is charged so far."""
        charged = self._current(session).charged.values()
        most = max((charge.participations for charge in charged), default=0)
        return self._bounds(self.events(session), most)

    def spent(self, session: Session) -> Bound:
        """The smallest bound under the policy's adjacency."""
        return smallest(self.listed(session), self._policy.adjacency)

    def participations(self, session: Session) -> dict[int, int]:
        """Releases that each device contributed to, or may have; devices that never did are absent."""
        return {row.device: row.count for row in session.scalars(select(ParticipationRow))}

    def head(self, session: Session, settled: bool = False) -> tuple[str, int]:
        """Newest hash and number of entries: what devices are shown, so that rollback and fork are caught.

        ``settled``: as they were before a reservation that is still open.
        """
        account = self._current(session)
        if settled and account.waiting is not None:
            return account.previous, account.read - 1
        return account.head, account.read

    def _current(self, session: Session) -> Account:
        """The account up to the newest entry, whoever wrote it; read anew where a transaction was taken back."""
        if self._account.read and self._ledger.hash_at(session, self._account.read - 1) != self._account.head:
            self._account = Account()
        for entry in self._ledger.entries(session, since=self._account.read):
            self._account.take(entry)
        return self._account

    def _smallest(self, events: Sequence[GaussianEvent], participations: int) -> Bound:
        return smallest(self._bounds(events, participations), self._policy.adjacency)

    def _bounds(self, events: Sequence[GaussianEvent], participations: int) -> tuple[Bound, ...]:
        exposure = Exposure(participations, sealed=self._policy.roster_sealed)
        return bounds(Counter(events), exposure, self._policy.delta)

    def _worst(self, session: Session, devices: NDArray[np.integer[Any]]) -> int:
        """The most releases that a device contributed to, if ``devices`` contribute to one more.

        Behind a sealed roster it is what the policy allows and not what came to pass: the realised maximum would tell
        who was there.
        """
        if self._policy.roster_sealed:
            return self._policy.participations
        so_far = session.scalar(select(func.max(ParticipationRow.count))) or 0
        again = max((row.count for row in self._rows(session, devices.tolist())), default=0) + 1
        return max(so_far, again if len(devices) else 0)

    def _lose(self, session: Session) -> None:
        """Settle a reservation that a crash left open: whoever was in it may have been released."""
        opened = self._current(session).waiting
        if opened is None:
            return
        entry = self._ledger.append(session, "lost", {"reservation": opened.id})
        reserved = session.get(ReservedRow, opened.id)
        if reserved is not None:
            self._count(session, np.frombuffer(reserved.devices, dtype=np.int64).tolist(), entry)
        self._settle(session, opened.id)

    def _settle(self, session: Session, reservation: str) -> None:
        session.execute(delete(ReservedRow).where(ReservedRow.reservation == reservation))

    def _count(self, session: Session, devices: Sequence[int], entry: Entry) -> None:
        """One more participation of each of ``devices``, in ``entry``."""
        known = {row.device: row for row in self._rows(session, devices)}
        for device in devices:
            row = known.setdefault(device, ParticipationRow(device=device, count=0))
            row.count, row.newest = row.count + 1, entry.index
            session.add(row)

    def _rows(self, session: Session, devices: Sequence[int]) -> Iterator[ParticipationRow]:
        """The rows of those of ``devices`` that ever contributed."""
        parts: Iterable[Sequence[int]] = (devices[i : i + _AT_ONCE] for i in range(0, len(devices), _AT_ONCE))
        for part in parts:
            yield from session.scalars(select(ParticipationRow).where(ParticipationRow.device.in_(part)))
