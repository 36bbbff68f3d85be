"""The budget of a run: refuses before anything is spent, charges before anything is released."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tacit_privacy.accounting.account import Account
from tacit_privacy.accounting.account import Reservation as Reservation
from tacit_privacy.accounting.bounds import Adjacency, Bound, bounds, smallest
from tacit_privacy.accounting.events import GaussianEvent, Sampling
from tacit_privacy.contract import Fact, digest
from tacit_privacy.errors import BudgetExhausted, LedgerBroken
from tacit_privacy.ledger.chain import Ledger, ParticipationRow
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
    (``replay=True``: same cohort, same noise, charged once); a deployment keeps it charged, as if it had been released
    to everybody in it, and reserves anew.

    Where the roster is sealed, nothing that is written or charged depends on who took part: every release is charged
    as if some device had used up its participations, and receipts stand behind a salted commitment.
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
        """Write the first entry; after a crash, check that the ledger belongs to this policy and configuration.

        Raises LedgerBroken when it does not.
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

    def reserve(
        self, session: Session, round_number: int, devices: NDArray[np.integer[Any]], sampling: Sampling
    ) -> Reservation:
        """Charge a release in which at most ``devices`` take part. Raises BudgetExhausted, with nothing written."""
        opened = self._current(session).waiting
        if opened is not None and self._replay:
            return opened
        if opened is not None:
            self._ledger.append(session, "lost", {"reservation": opened.id})
        event = self._mechanism.event(sampling)
        worst = self._worst(session, devices)
        bound = self._smallest([*self.events(session), event], worst)
        if bound.epsilon > self._policy.epsilon:
            raise BudgetExhausted(bound.epsilon, self._policy.epsilon)
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
        return reservation

    def commit(
        self,
        session: Session,
        reservation: Reservation,
        accepted: Sequence[int],
        release: str,
        receipts: Sequence[bytes],
    ) -> None:
        """Record what was released: its digest, a digest of the receipts, and one participation per device.

        Behind a sealed roster the receipts' digest is salted, and ``Opening.kept`` gives what it is over.
        """
        if self._policy.roster_sealed:
            opening = Opening.of(receipts, self._noise.salt(reservation.label))
            opening.keep(session, reservation.id)
            named = opening.commitment
        else:
            named = digest(b"".join(sorted(receipts)))
        body: dict[str, Any] = {"reservation": reservation.id, "release": release, "receipts": named}
        entry = self._ledger.append(session, "commit", body)
        known = {row.device: row for row in self._rows(session, accepted)}
        for device in accepted:
            row = known.setdefault(device, ParticipationRow(device=device, count=0))
            row.count, row.newest = row.count + 1, entry.index
            session.add(row)

    def abandon(self, session: Session, reservation: Reservation, why: str) -> None:
        """Give a reservation back: nothing was released. ``why`` (too few devices, never their data) is public, but
        behind a sealed roster, where it would tell how many there were.
        """
        said = "too few devices" if self._policy.roster_sealed else why
        self._ledger.append(session, "abandon", {"reservation": reservation.id, "why": said})

    def close(self, session: Session) -> None:
        """End the ledger, once: a finished ledger can then be told from a truncated one."""
        account = self._current(session)
        if not account.closed:
            body = {"releases": account.releases, "epsilon": self.spent(session).epsilon}
            self._ledger.append(session, "close", body)

    def events(self, session: Session) -> list[GaussianEvent]:
        """Every release that is charged: reserved and not given back."""
        return [charge.event for charge in self._current(session).charged.values()]

    def listed(self, session: Session) -> tuple[Bound, ...]:
        """Every bound that holds for what is charged so far."""
        charged = self._current(session).charged.values()
        most = max((charge.participations for charge in charged), default=0)
        return bounds(self.events(session), most, self._policy.delta, self._policy.roster_sealed)

    def spent(self, session: Session) -> Bound:
        """The smallest bound under the policy's adjacency."""
        return smallest(self.listed(session), self._policy.adjacency)

    def participations(self, session: Session) -> dict[int, int]:
        """Releases that each device contributed to; devices that never did are absent."""
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
        listed = bounds(events, participations, self._policy.delta, self._policy.roster_sealed)
        return smallest(listed, self._policy.adjacency)

    def _worst(self, session: Session, devices: NDArray[np.integer[Any]]) -> int:
        """The most releases that a device contributed to, if ``devices`` contribute to one more.

        Reservations that a crash cut off may have been released to any device, so each counts for all. Behind a sealed
        roster it is what the policy allows and not what came to pass: the realised maximum would tell who was there.
        """
        lost = self._current(session).lost
        if self._policy.roster_sealed:
            return self._policy.participations + lost
        so_far = session.scalar(select(func.max(ParticipationRow.count))) or 0
        again = max((row.count for row in self._rows(session, devices.tolist())), default=0) + 1
        return max(so_far, again if len(devices) else 0) + lost

    def _rows(self, session: Session, devices: Sequence[int]) -> Iterator[ParticipationRow]:
        """The rows of those of ``devices`` that ever contributed."""
        parts: Iterable[Sequence[int]] = (devices[i : i + _AT_ONCE] for i in range(0, len(devices), _AT_ONCE))
        for part in parts:
            yield from session.scalars(select(ParticipationRow).where(ParticipationRow.device.in_(part)))
