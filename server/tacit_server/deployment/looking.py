"""What the console looks up: devices by the page, who took part how often, the round that is under way."""

import json
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import Session

from tacit_privacy.accounting.policy import BudgetPolicy
from tacit_privacy.ledger.account import Account
from tacit_privacy.ledger.tables import LedgerRow, LimitRow, ParticipationRow
from tacit_server.deployment import runs
from tacit_server.deployment.status import ONLINE_S
from tacit_server.store.tables import AdapterRow, AuditRow, DeviceRow, RunRow

T = TypeVar("T")
STATES: Final = ("admitted", "revoked", "left")


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """A page of a longer list."""

    rows: list[T]
    total: int
    number: int  # of the page, from 1
    pages: int


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A round that is paid for, and neither released nor given back."""

    run: str  # as the ledger calls it
    round: int
    since: float


def devices(session: Session, words: str, state: str, number: int, now: float, size: int = 50) -> Listing[DeviceRow]:
    """Page ``number`` of the devices whose name, identity, key or number fits ``words``, by number.

    ``state``: one of STATES, ``online`` or, for all, anything else.
    """
    query = select(DeviceRow)
    if words:
        query = query.where(_fits(words))
    if state in STATES:
        query = query.where(DeviceRow.state == state)
    elif state == "online":
        query = query.where(DeviceRow.state == "admitted", DeviceRow.seen > now - ONLINE_S)
    return _listing(session, query, query.order_by(DeviceRow.number), number, size)


def ledger(session: Session, number: int, size: int = 50) -> Listing[LedgerRow]:
    """Page ``number`` of the ledger's entries, the newest first."""
    query = select(LedgerRow)
    return _listing(session, query, query.order_by(LedgerRow.position.desc()), number, size)


def audited(session: Session, words: str, number: int, size: int = 50) -> Listing[AuditRow]:
    """Page ``number`` of what the audit log says of actors, actions and subjects that fit ``words``."""
    query = select(AuditRow)
    if words:
        columns = (AuditRow.actor, AuditRow.action, AuditRow.subject, AuditRow.outcome, AuditRow.address)
        query = query.where(or_(*(column.icontains(words, autoescape=True) for column in columns)))
    return _listing(session, query, query.order_by(AuditRow.number.desc()), number, size)


def device(session: Session, identity: str) -> DeviceRow | None:
    return session.scalar(select(DeviceRow).where(DeviceRow.identity == identity))


def participations(session: Session, number: int) -> list[ParticipationRow]:
    """How often a device took part, run by run."""
    query = select(ParticipationRow).where(ParticipationRow.device == number)
    return list(session.scalars(query.order_by(ParticipationRow.newest)))


def limit(session: Session, number: int) -> LimitRow | None:
    """What a device allows less than the policy does."""
    return session.get(LimitRow, number)


def often(session: Session, run: str | None = None) -> list[tuple[int, int]]:
    """Releases, and how many devices contributed to so many: in a run, as people call it, or ever."""
    query = select(func.sum(ParticipationRow.count).label("times")).group_by(ParticipationRow.device)
    if run is not None:
        named = (
            select(ParticipationRow.run).where(ParticipationRow.run.startswith(f"{run}-", autoescape=True)).distinct()
        )
        query = query.where(
            ParticipationRow.run.in_([name for name in session.scalars(named) if plain_name(name) == run])
        )
    sums = query.subquery()
    found = select(sums.c.times, func.count()).group_by(sums.c.times).order_by(sums.c.times)
    return [(int(times), int(number)) for times, number in session.execute(found)]


def under_way(session: Session) -> UnderWay | None:
    """What the ledger's newest entry pays for, if nothing was said of it since."""
    payload = session.scalar(select(LedgerRow.payload).order_by(LedgerRow.position.desc()).limit(1))
    entry: dict[str, Any] = json.loads(payload) if payload is not None else {}
    if entry.get("kind") != "reserve":
        return None
    return UnderWay(entry["body"]["run"], entry["body"]["round"], entry["time"])


def is_sealed(session: Session) -> bool:
    """Whether the ledger was opened with the promise that nobody sees who takes part."""
    payload = session.scalar(select(LedgerRow.payload).where(LedgerRow.position == 0))
    try:
        return payload is not None and bool(json.loads(payload)["body"]["policy"]["roster_sealed"])
    except (ValueError, KeyError, TypeError):
        return True  # nobody can read what was promised


def position_of(session: Session, head: str) -> int | None:
    """Where in the ledger the entry of a hash stands."""
    return session.scalar(select(LedgerRow.position).where(LedgerRow.hash == head))


def current_run(session: Session) -> RunRow | None:
    """The run that is at work, or the next one that will be."""
    found = runs.listed(session, runs.OPEN)
    return next((row for row in found if row.state == "running"), found[0] if found else None)


def adapter(session: Session, run: str, number: int) -> AdapterRow | None:
    return session.get(AdapterRow, (run, number))


def plain_name(ledger_run: str) -> str:
    """A run as people call it: the ledger adds the beginning of the server's key."""
    return ledger_run.rpartition("-")[0] or ledger_run


def epsilon_after(account: Account, policy: BudgetPolicy, participations: int) -> float:
    """What a device has spent that took part so often, at most: its releases are taken to be the dearest."""
    if not participations:
        return 0.0
    found = policy.charged(account.tally(), participations, account.arithmetic, len(account.correlated))
    return found.epsilon


def _fits(words: str) -> ColumnElement[bool]:
    found = [DeviceRow.name.icontains(words, autoescape=True)]
    found += [column.istartswith(words, autoescape=True) for column in (DeviceRow.identity, DeviceRow.public_key)]
    if words.isascii() and words.isdigit() and len(words) < 10:
        found.append(DeviceRow.number == int(words))
    return or_(*found)


def _listing(session: Session, query: Select[T], ordered: Select[T], number: int, size: int) -> Listing[T]:
    total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    pages = max(1, -(-total // size))
    number = min(max(1, number), pages)
    rows = list(session.scalars(ordered.offset((number - 1) * size).limit(size)))
    return Listing(rows, total, number, pages)
