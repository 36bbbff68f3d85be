"""The budget of a run: refuses before anything is spent, charges before anything is released."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from tacit_privacy.accounting.bounds import Bound
from tacit_privacy.accounting.events import Adjacency, GaussianEvent
from tacit_privacy.accounting.policy import BudgetPolicy
from tacit_privacy.accounting.worst import mu_squared
from tacit_privacy.errors import BudgetExhausted, LedgerBroken
from tacit_privacy.ledger import participation
from tacit_privacy.ledger.account import Account, Charge
from tacit_privacy.ledger.bodies import (
    Abandoned,
    Begun,
    Closed,
    Committed,
    Ended,
    Lifetime,
    Lost,
    Opened,
    Reserved,
    Restored,
    parse,
    releases_within,
)
from tacit_privacy.ledger.chain import GENESIS, Entry, Ledger
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.ledger.participation import DeviceLimit
from tacit_privacy.ledger.receipts import SignedReceipt, Tree, width_for
from tacit_privacy.mechanisms.noise import NoiseSource

ADAPTER = "adapter"  # the stream of releases that every run has


@dataclass(frozen=True, slots=True)
class Reservation:
    """Paid for, not yet released. ``label`` names the noise draw: a new reservation never draws the same noise."""

    id: str
    round: int
    epsilon: float  # after this release, if every reserved device contributes
    label: str

    @classmethod
    def of(cls, charge: Charge) -> "Reservation":
        return cls(charge.name, charge.round, charge.epsilon, f"release {charge.name}")


class Budget:
    """Charges the releases of one run against one policy, in a ledger that other runs may charge, too.

    Only rounds that were reserved may be released. A reservation that a crash left open is replayed by a simulation
    (``replay=True``: same cohort, same noise, charged once); a deployment keeps it charged, as if it had been released,
    with a participation to everybody in it, and reserves anew.

    Whatever a device releases is charged here, by ``stream``: adapters, statistics beside them, anything else.
    Receipts stand behind a salted Merkle root: they name the exact update of a device, which no noise covers. Where the
    roster is sealed, nothing at all that is written or charged depends on who took part: every release is charged as if
    some device had used up its participations.
    """

    def __init__(
        self,
        policy: BudgetPolicy,
        ledger: Ledger,
        run: Begun,
        noise: NoiseSource,
        replay: bool,
        closes: bool = True,
    ) -> None:
        """``noise`` salts receipts. ``closes``: the ledger ends with this run, if no other is under way."""
        self._policy, self._ledger, self._run = policy, ledger, run
        self._noise, self._replay, self._closes = noise, replay, closes
        self._forget()

    @property
    def policy(self) -> BudgetPolicy:
        return self._policy

    def open(self, session: Session, public_key: str) -> None:
        """Write the first entries; after a crash, check that the ledger belongs to this policy and run, and settle what
        a deployment left open. Raises LedgerBroken when it does not.
        """
        account = self._current(session)
        if account.opened is None:
            self._append(session, Opened(policy=self._policy, public_key=public_key))
        elif account.opened.policy != self._policy:
            raise LedgerBroken("the ledger was opened under another policy; start in an empty folder")
        elif account.key != public_key:
            raise LedgerBroken("the ledger goes on with another key than this one; sign with the newest, or rotate it")
        begun = account.runs.get(self._run.run)
        if begun is None:
            self._refuse_closed(account)
            self._append(session, self._run)
        elif begun != self._run:
            raise LedgerBroken("the run was begun under another configuration; start in an empty folder")
        elif not self._replay:
            self._lose(session)

    def reserve(
        self,
        session: Session,
        round_number: int,
        devices: NDArray[np.integer[Any]],
        event: GaussianEvent,
        stream: str = ADAPTER,
    ) -> Reservation:
        """Charge a release in which at most ``devices`` take part. Raises BudgetExhausted, with nothing written, and
        LedgerBroken where the ledger is closed, an earlier reservation of this run was left open, a device is in its
        pause or correlated noise was not planned for so many rounds.
        """
        account = self._current(session)
        own = self._own(account)
        if own is not None and self._replay:
            self._refuse_other(session, own, round_number, devices, event)
            return Reservation.of(own)
        if own is not None:
            raise LedgerBroken(f"reservation {own.name} is open; commit it, give it back or open the budget anew")
        self._refuse_closed(account)
        self._refuse_early(session, round_number, devices, event)
        time = self._ledger.now(session)
        period = account.period(time)
        worst, ever = self._worst(session, devices, period)
        bound = account.spent(period, event, worst, self._run.run)
        if bound.epsilon > self._policy.epsilon or worst > self._policy.participations:
            raise BudgetExhausted(bound.epsilon, self._policy.epsilon, worst, self._policy.participations)
        name = f"{round_number}.{self._read}"
        lifetime = None
        if self._policy.period_s is not None:
            lifetime = Lifetime(participations=ever, epsilon=account.spent_ever(event, ever, self._run.run).epsilon)
        body = Reserved(
            reservation=name,
            run=self._run.run,
            round=round_number,
            stream=stream,
            event=event,
            participations=worst,
            epsilon=bound.epsilon,
            lifetime=lifetime,
        )
        self._append(session, body, time)
        participation.reserve(session, name, devices.astype(np.int64))
        return Reservation(name, round_number, bound.epsilon, f"release {name}")

    def commit(
        self,
        session: Session,
        reservation: Reservation,
        accepted: Sequence[int],
        release: str,
        receipts: Sequence[SignedReceipt],
        realised: float | None = None,
    ) -> None:
        """Record what was released: its digest, the root over the receipts, and one participation per device.

        ``realised`` is the noise multiplier that came about, where devices' shares made it larger than what was paid
        for; behind a sealed roster, where it would tell how many there were, it is not recorded. ``Tree.kept`` gives
        the leaves below the root. Raises LedgerBroken where nothing was reserved, or not for all who were accepted.
        """
        charge = self._waiting(session, reservation)
        reserved = Counter(participation.reserved(session, charge.name).tolist())
        if not Counter(accepted) <= reserved:
            raise LedgerBroken(f"reservation {charge.name} was not for every device of the release; release nothing")
        tree = Tree.of(receipts, width_for(charge.event.sampling), self._noise.salt(reservation.label))
        tree.keep(session, reservation.id)
        body = Committed(
            reservation=reservation.id,
            release=release,
            receipts=tree.root,
            completed=None if self._policy.roster_sealed else len(accepted),
            realised=None if self._policy.roster_sealed else realised,
        )
        self._settle(session, charge, accepted, self._append(session, body))

    def abandon(self, session: Session, reservation: Reservation, why: str) -> None:
        """Give a reservation back: nothing was released. ``why`` (too few devices, never their data) is public, but
        behind a sealed roster, where it would tell how many there were.
        """
        charge = self._waiting(session, reservation)
        said = "too few devices" if self._policy.roster_sealed else why
        self._settle(session, charge, (), self._append(session, Abandoned(reservation=reservation.id, why=said)))

    def rotate(self, session: Session, new: SigningKey) -> None:
        """Let another key sign from the next entry on; the present one signs that it does. Whoever holds ``Ledger``
        has to sign with ``new`` from then on.
        """
        self._current(session)
        self._take(self._ledger.rotate(session, new))

    def own_up(self, session: Session, length: int, head: str, devices: Sequence[int], event: GaussianEvent) -> int:
        """After the ledger was put back to an older copy: charge what may have been released meanwhile, all ``devices``
        in every release; returns how many releases that were. ``length`` and ``head`` are what somebody saw of it.

        Where the budget does not allow for all of them it is used up, for what was lost was within it, and the ledger
        is closed. Raises LedgerBroken where nothing is missing.
        """
        account = self._current(session)
        self._refuse_closed(account)
        missing = length - self._read
        if missing < 1:
            raise LedgerBroken(f"the ledger has {self._read} entries and {length} were seen: nothing is missing")
        releases, asked = releases_within(missing), np.array(devices, dtype=np.int64)
        newest = max(participation.last_rounds(session, self._run.run).values(), default=0)
        apart = self._policy.separation  # the lost rounds kept their pauses, and so do those that stand for them
        self._append(session, Restored(length=length, head=head, releases=releases))
        for number in range(1, releases + 1):
            try:
                self.reserve(session, newest + number * apart, asked, event)
            except BudgetExhausted:
                self._closes = True
                self._append(session, Closed(releases=self._account.releases, epsilon=self._account.dearest().epsilon))
                break
            self._lose(session)
        return releases

    def name(self, session: Session) -> str:
        """What the ledger is known by: the hash of its first entry. Empty before there is one."""
        return self._ledger.hash_at(session, 0) or ""

    def close(self, session: Session) -> None:
        """End the run, and the ledger with it where it is the last: a finished ledger can then be told from a truncated
        one. What is open of the run is lost. Once only.
        """
        if self.over(session):
            return
        self._lose(session)
        account = self._current(session)
        if self._closes and account.runs.keys() <= account.ended | {self._run.run} and not account.waiting:
            self._append(session, Closed(releases=account.releases, epsilon=account.dearest().epsilon))
        else:
            self._append(session, Ended(run=self._run.run))

    def over(self, session: Session) -> bool:
        """Whether nothing more can be charged by this run: it has ended, or the ledger has."""
        account = self._current(session)
        return account.closed or self._run.run in account.ended

    def events(self, session: Session) -> list[GaussianEvent]:
        """Every release that is charged: reserved and not given back."""
        return [charge.event for charge in self._current(session).charged.values()]

    def listed(self, session: Session) -> tuple[Bound, ...]:
        """Every bound that holds for what is charged so far, but those that bound nothing; with periods, for all of
        them together.
        """
        account = self._current(session)
        runs = len(account.correlated)
        listed = self._policy.listed(account.tally(), account.longest, account.arithmetic, runs)
        return tuple(bound for bound in listed if math.isfinite(bound.epsilon))

    def spent(self, session: Session) -> Bound:
        """The smallest bound under the policy's adjacency; with periods, of the one that spent most."""
        return self._current(session).dearest()

    def participations(self, session: Session) -> dict[int, int]:
        """Releases of this budget period that each device contributed to, or may have; the others are absent."""
        account = self._current(session)
        if self._policy.period_s is None:
            return participation.counted(session)
        return participation.counted(session, account.period(self._ledger.now(session)))

    def last_rounds(self, session: Session) -> dict[int, int]:
        """The newest round of this run that each device contributed to, or may have."""
        return participation.last_rounds(session, self._run.run)

    def limit(self, session: Session, device: int, asked: DeviceLimit) -> None:
        """Hold one device to less than the policy allows, from here on and for what it has spent so far."""
        dearest = max((self._cost(event) for event in self.events(session)), default=0.0)
        participation.limit(session, device, asked, dearest)

    def beyond_limit(self, session: Session, event: GaussianEvent) -> list[int]:
        """Devices whose own limit does not allow one more release of ``event``: they contribute nothing to it."""
        return participation.beyond(session, self._cost(event), self._policy.delta)

    def head(self, session: Session, settled: bool = False) -> tuple[str, int]:
        """Newest hash and number of entries: what devices are shown, so that rollback and fork are caught.

        ``settled``: as they were before a reservation of this run that is still open.
        """
        own = self._own(self._current(session))
        if settled and own is not None and self._newest is not None and self._newest.kind == "reserve":
            return self._newest.previous, self._read - 1
        return self._head, self._read

    def _forget(self) -> None:
        self._account, self._read, self._head = Account(), 0, GENESIS
        self._newest: Entry | None = None

    def _current(self, session: Session) -> Account:
        """The account up to the newest entry, whoever wrote it; read anew where a transaction was taken back.

        Other writers wait from here to the end of the transaction.
        """
        self._ledger.exclusive(session)
        if self._read and self._ledger.hash_at(session, self._read - 1) != self._head:
            self._forget()
        for entry in self._ledger.entries(session, since=self._read):
            self._take(entry)
        return self._account

    def _append(self, session: Session, body: Any, time: float | None = None) -> Entry:
        entry = self._ledger.append(session, body, time)
        self._take(entry)
        return entry

    def _take(self, entry: Entry) -> None:
        try:
            self._account.take(parse(entry.kind, entry.body), entry.time)
        except (KeyError, ValueError) as error:
            raise LedgerBroken(f"entry {entry.index} of the ledger is not readable: {error}") from error
        self._read, self._head, self._newest = entry.index + 1, entry.hash, entry

    def _own(self, account: Account) -> Charge | None:
        """The reservation of this run that is neither released nor given back."""
        return next((charge for charge in account.waiting.values() if charge.run == self._run.run), None)

    def _waiting(self, session: Session, reservation: Reservation) -> Charge:
        charge = self._current(session).waiting.get(reservation.id)
        if charge is None or charge.run != self._run.run:
            raise LedgerBroken(f"reservation {reservation.id} is not open; nothing may be released for it")
        return charge

    def _worst(self, session: Session, devices: NDArray[np.integer[Any]], period: int) -> tuple[int, int]:
        """The most releases that a device contributed to, if ``devices`` contribute to one more: this period, and ever.

        Behind a sealed roster it is what the policy allows and not what came to pass, unless that is more, which is
        refused: the realised maximum would tell who was there.
        """
        runs, waiting = list(self._account.runs), list(self._account.waiting)
        most, recent = (
            self._policy.participations,
            participation.worst(session, devices.tolist(), waiting, period, runs),
        )
        if self._policy.roster_sealed:
            return most if recent <= most else most + 1, most * (period + 1)
        if self._policy.period_s is None:
            return recent, recent
        return recent, participation.worst(session, devices.tolist(), waiting, None, runs)

    def _lose(self, session: Session) -> None:
        """Settle a reservation that a crash left open: whoever was in it may have been released."""
        own = self._own(self._current(session))
        if own is not None:
            devices = participation.reserved(session, own.name).tolist()
            self._settle(session, own, devices, self._append(session, Lost(reservation=own.name)))

    def _settle(self, session: Session, charge: Charge, devices: Sequence[int], entry: Entry) -> None:
        """Count a participation of ``devices``, and forget whom the reservation was for."""
        participation.add(session, charge.run, devices, charge.round, charge.period, entry.index)
        participation.spend(session, devices, self._cost(charge.event))
        participation.settle(session, charge.name)

    def _cost(self, event: GaussianEvent) -> float:
        """What one participation costs a device, as the square of mu under the policy's adjacency."""
        return mu_squared(event) * (4.0 if self._policy.adjacency is Adjacency.REPLACE_ONE else 1.0)

    def _refuse_other(
        self, session: Session, own: Charge, number: int, devices: NDArray[np.integer[Any]], event: GaussianEvent
    ) -> None:
        """What is replayed is what was paid for: another round, cohort or noise would go uncharged."""
        same = (number, event) == (own.round, own.event)
        if not same or participation.reserved(session, own.name).tolist() != devices.tolist():
            raise LedgerBroken(f"reservation {own.name} was made for another release; resume with the same settings")

    def _refuse_early(
        self, session: Session, number: int, devices: NDArray[np.integer[Any]], event: GaussianEvent
    ) -> None:
        """Correlated noise is charged for its planned rounds and for devices that keep their pauses."""
        if event.correlation is not None and number > event.correlation.rounds:
            raise LedgerBroken(f"correlated noise was planned for {event.correlation.rounds} rounds; begin a new run")
        apart = self._policy.separation
        if apart > 1 and participation.newest(session, self._run.run, devices.tolist()) > number - apart:
            raise LedgerBroken(f"a device was in less than {apart} rounds before round {number}; ask others")

    def _refuse_closed(self, account: Account) -> None:
        if account.closed or self._run.run in account.ended:
            raise LedgerBroken("the ledger is closed: its run is over; start in an empty folder")
