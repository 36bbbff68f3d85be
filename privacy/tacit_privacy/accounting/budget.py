"""The budget of a run: refuses before anything is spent, charges before anything is released."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt
from sqlalchemy import select
from sqlalchemy.orm import Session

from tacit_privacy.accounting.bounds import Adjacency, Bound, bounds, smallest
from tacit_privacy.accounting.events import GaussianEvent, Sampling
from tacit_privacy.contract import Fact
from tacit_privacy.errors import BudgetExhausted, LedgerBroken
from tacit_privacy.ledger.chain import Ledger, ParticipationRow
from tacit_privacy.mechanisms.gaussian import GaussianSum


class BudgetPolicy(Fact):
    """What a fleet may spend. It is the first entry of the ledger and never changes within a run."""

    epsilon: PositiveFloat
    delta: float = Field(gt=0, lt=1)
    participations: PositiveInt
    adjacency: Adjacency
    roster_sealed: bool
    population: PositiveInt
    unit: str = "device"


@dataclass(frozen=True, slots=True)
class Reservation:
    """Paid for, not yet released. ``label`` names the noise draw: a new reservation never draws the same noise."""

    id: str
    round: int
    epsilon: float  # after this release, if every reserved device contributes
    label: str


class Budget:
    """Charges releases of one mechanism against one policy, in the ledger.

    Only rounds that were reserved may be released. A reservation that a crash left open is replayed by a simulation
    (``replay=True``: same cohort, same noise, charged once); a deployment keeps it charged, as if it had been released
    to everybody in it, and reserves anew.
    """

    def __init__(
        self, policy: BudgetPolicy, ledger: Ledger, mechanism: GaussianSum, noise_source: str, replay: bool
    ) -> None:
        self._policy, self._ledger, self._mechanism = policy, ledger, mechanism
        self._noise_source, self._replay = noise_source, replay

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
            "noise_source": self._noise_source,
            "config": config_digest,
            "public_key": public_key,
        }
        written = self._ledger.entries(session)
        if not written:
            self._ledger.append(session, "open", body)
        elif written[0].body != json.loads(json.dumps(body)):
            raise LedgerBroken("the ledger was opened under another policy or configuration; start in an empty folder")

    def plan(self, sampling: Sampling, releases: int) -> Bound:
        """The bound that ``releases`` further equal releases would end at. Raises BudgetExhausted, spends nothing."""
        event = self._mechanism.event(sampling)
        worst = min(self._policy.participations, releases)
        bound = self._smallest([event] * releases, worst)
        if bound.epsilon > self._policy.epsilon:
            raise BudgetExhausted(bound.epsilon, self._policy.epsilon)
        return bound

    def reserve(
        self, session: Session, round_number: int, devices: NDArray[np.integer[Any]], sampling: Sampling
    ) -> Reservation:
        """Charge a release in which at most ``devices`` take part. Raises BudgetExhausted, with nothing written."""
        opened = self._open_reservation(session)
        if opened is not None and self._replay:
            return opened
        if opened is not None:
            self._ledger.append(session, "lost", {"reservation": opened.id})
        event = self._mechanism.event(sampling)
        worst = max(self._most(session, None), self._most(session, devices) + 1 if len(devices) else 0)
        worst += self._lost(session)
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
        self, session: Session, reservation: Reservation, accepted: Sequence[int], release: str, receipts: str
    ) -> None:
        """Record what was released: its digest, the digest of the receipts, and one participation per device."""
        body: dict[str, Any] = {"reservation": reservation.id, "release": release, "receipts": receipts}
        entry = self._ledger.append(session, "commit", body)
        for device in accepted:
            row = session.get(ParticipationRow, device) or ParticipationRow(device=device, count=0)
            row.count, row.newest = row.count + 1, entry.index
            session.add(row)

    def abandon(self, session: Session, reservation: Reservation, why: str) -> None:
        """Give a reservation back: nothing was released, and why is public (too few devices, never their data)."""
        self._ledger.append(session, "abandon", {"reservation": reservation.id, "why": why})

    def close(self, session: Session) -> None:
        """End the ledger, once: a finished ledger can then be told from a truncated one."""
        written = self._ledger.entries(session)
        if written[-1].kind != "close":
            releases = sum(entry.kind == "commit" for entry in written)
            self._ledger.append(session, "close", {"releases": releases, "epsilon": self.spent(session).epsilon})

    def events(self, session: Session) -> list[GaussianEvent]:
        """Every release that is charged: reserved and not given back."""
        return [GaussianEvent.model_validate(body["event"]) for body in self._charged(session)]

    def listed(self, session: Session) -> tuple[Bound, ...]:
        """Every bound that holds for what is charged so far."""
        most = max((body["participations"] for body in self._charged(session)), default=0)
        return bounds(self.events(session), most, self._policy.delta, self._policy.roster_sealed)

    def spent(self, session: Session) -> Bound:
        """The smallest bound under the policy's adjacency."""
        return smallest(self.listed(session), self._policy.adjacency)

    def participations(self, session: Session) -> dict[int, int]:
        """Releases that each device contributed to; devices that never did are absent."""
        rows = session.scalars(select(ParticipationRow))
        return {row.device: row.count for row in rows}

    def head(self, session: Session, settled: bool = False) -> tuple[str, int]:
        """Newest hash and number of entries: what devices are shown, so that rollback and fork are caught.

        ``settled``: as they were before a reservation that is still open.
        """
        if settled and self._open_reservation(session) is not None:
            newest = self._ledger.entries(session)[-1]
            return newest.previous, newest.index
        return self._ledger.head(session), self._ledger.length(session)

    def _smallest(self, events: Sequence[GaussianEvent], participations: int) -> Bound:
        listed = bounds(events, participations, self._policy.delta, self._policy.roster_sealed)
        return smallest(listed, self._policy.adjacency)

    def _most(self, session: Session, devices: NDArray[np.integer[Any]] | None) -> int:
        """The highest participation count, of all devices or of some."""
        counts = self.participations(session)
        chosen = counts if devices is None else [int(device) for device in devices]
        return max((counts.get(device, 0) for device in chosen), default=0)

    def _charged(self, session: Session) -> list[dict[str, Any]]:
        written = self._ledger.entries(session)
        given_back = {entry.body["reservation"] for entry in written if entry.kind == "abandon"}
        reserved = [entry.body for entry in written if entry.kind == "reserve"]
        return [body for body in reserved if body["reservation"] not in given_back]

    def _lost(self, session: Session) -> int:
        """Reservations that a crash cut off: each may have been released to any device, so each counts for all."""
        return sum(entry.kind == "lost" for entry in self._ledger.entries(session))

    def _open_reservation(self, session: Session) -> Reservation | None:
        written = self._ledger.entries(session)
        if not written or written[-1].kind != "reserve":
            return None
        body = written[-1].body
        return Reservation(body["reservation"], body["round"], body["epsilon"], f"release {body['reservation']}")
