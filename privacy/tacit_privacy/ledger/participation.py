"""How often each device took part: the server's own count, which receipts can prove and no ledger shows."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Select, delete, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from tacit_privacy.accounting.gaussian import mu_for
from tacit_privacy.ledger.tables import LimitRow, ParticipationRow, ReservedRow

T = TypeVar("T")
_AT_ONCE = 5_000  # devices that one query names: SQLite allows 32,766 parameters


@dataclass(frozen=True, slots=True)
class DeviceLimit:
    """What one device allows less than the policy does; None: nothing less. ``epsilon`` is at the policy's delta."""

    participations: int | None = None
    epsilon: float | None = None


def counted(session: Session, period: int | None = None) -> dict[int, int]:
    """Releases that each device contributed to, in a budget period or ever; devices that never did are absent."""
    return {device: int(count) for device, count in session.execute(_per_device(period))}


def of(session: Session, device: int) -> int:
    """Releases that one device contributed to, or may have, ever."""
    total = select(func.sum(ParticipationRow.count)).where(ParticipationRow.device == device)
    return int(session.scalar(total) or 0)


def last_rounds(session: Session, run: str) -> dict[int, int]:
    """The newest round of ``run`` that each device contributed to, or may have."""
    rows = select(ParticipationRow.device, ParticipationRow.last_round).where(ParticipationRow.run == run)
    return {device: number for device, number in session.execute(rows)}


def newest(session: Session, run: str, devices: Sequence[int]) -> int:
    """The newest round of ``run`` that any of ``devices`` contributed to, or may have; far below 0: none ever did."""
    found = [row.last_round for row in _rows(session, run, devices)]
    return max(found, default=-(2**31))


def worst(
    session: Session, devices: Sequence[int], waiting: Iterable[str], period: int | None, runs: Iterable[str]
) -> int:
    """The most releases that any device contributed to, once ``devices`` and whoever waits contribute to one more.

    ``waiting`` names reservations that others hold: nobody knows yet who of theirs will have been in. ``runs`` are all
    that ever charged the ledger.
    """
    asked = Counter(devices)
    for part in _parts(sorted(waiting)):
        for row in session.scalars(select(ReservedRow).where(ReservedRow.reservation.in_(part))):
            asked.update(np.frombuffer(row.devices, dtype=np.int64).tolist())
    before = _counts_of(session, sorted(asked), period)
    again = max((before.get(device, 0) + times for device, times in asked.items()), default=0)
    return _most(session, runs, period, floor=again)


def add(session: Session, run: str, devices: Sequence[int], number: int, period: int, index: int) -> None:
    """One more participation of each of ``devices``, in round ``number`` of ``run``, by the entry at ``index``."""
    known = {row.device: row for row in _rows(session, run, devices)}
    for device in devices:
        row = known.get(device)
        if row is None:
            row = known[device] = ParticipationRow(run=run, device=device, count=0, period=period, recent=0)
            session.add(row)
        row.recent = (row.recent if row.period == period else 0) + 1
        row.count, row.period, row.last_round, row.newest = row.count + 1, period, number, index


def reserve(session: Session, reservation: str, devices: NDArray[np.int64]) -> None:
    """Remember whom a reservation may be released to."""
    session.add(ReservedRow(reservation=reservation, devices=devices.tobytes()))


def reserved(session: Session, reservation: str) -> NDArray[np.int64]:
    """Whom a reservation may be released to; nobody once it is settled."""
    row = session.get(ReservedRow, reservation)
    return np.frombuffer(row.devices if row is not None else b"", dtype=np.int64)


def settle(session: Session, reservation: str) -> None:
    """Forget whom a reservation was for."""
    session.execute(delete(ReservedRow).where(ReservedRow.reservation == reservation))


def limit(session: Session, device: int, asked: DeviceLimit, dearest: float) -> None:
    """Hold ``device`` to ``asked`` from here on. What it has spent is taken at the square of mu of the ``dearest`` of
    all releases.
    """
    row = session.get(LimitRow, device) or LimitRow(device=device)
    count = counted(session).get(device, 0)
    row.spent = count * dearest if count else 0.0
    row.participations, row.epsilon = asked.participations, asked.epsilon
    session.add(row)


def spend(session: Session, devices: Iterable[int], mu_squared: float) -> None:
    """Charge one release to those of ``devices`` that have a limit of their own."""
    present = set(devices)
    for row in session.scalars(select(LimitRow)):
        if row.device in present:
            row.spent += mu_squared


def beyond(session: Session, mu_squared: float, delta: float) -> list[int]:
    """Devices that one more release of ``mu_squared`` would take past a limit of their own."""
    limits = session.scalars(select(LimitRow)).all()
    counts = counted(session) if limits else {}
    found = []
    for row in limits:
        often = row.participations is not None and counts.get(row.device, 0) >= row.participations
        dear = row.epsilon is not None and row.spent + mu_squared > mu_for(row.epsilon, delta) ** 2
        if often or dear:
            found.append(row.device)
    return found


def _per_device(period: int | None) -> Select[int, int]:
    """Device and releases that it contributed to."""
    sums = select(ParticipationRow.device, func.sum(_releases(period))).group_by(ParticipationRow.device)
    return sums.where(*_of(period))


def _releases(period: int | None) -> InstrumentedAttribute[int]:
    return ParticipationRow.count if period is None else ParticipationRow.recent


def _of(period: int | None) -> Sequence[ColumnElement[bool]]:
    """Which rows count in a budget period, or ever."""
    return () if period is None else (ParticipationRow.period == period,)


def _most(session: Session, runs: Iterable[str], period: int | None, floor: int) -> int:
    """The most releases that any device contributed to, or ``floor`` where that is more.

    Devices are added up one by one only where the most of each run, taken together, passes ``floor``.
    """
    of_any = select(func.max(_releases(period))).where(*_of(period))
    tops = [session.scalar(of_any.where(ParticipationRow.run == run)) or 0 for run in runs]
    most = sum(tops)
    if len(tops) > 1 and most > floor:
        sums = _per_device(period).subquery()
        most = session.scalar(select(func.max(sums.c[1]))) or 0
    return max(floor, int(most))


def _counts_of(session: Session, devices: Sequence[int], period: int | None) -> dict[int, int]:
    found: dict[int, int] = {}
    for part in _parts(devices):
        counts = session.execute(_per_device(period).where(ParticipationRow.device.in_(part)))
        found |= {device: int(count) for device, count in counts}
    return found


def _rows(session: Session, run: str, devices: Sequence[int]) -> Iterator[ParticipationRow]:
    """The rows of those of ``devices`` that ever contributed to ``run``."""
    for part in _parts(devices):
        of_run = select(ParticipationRow).where(ParticipationRow.run == run)
        yield from session.scalars(of_run.where(ParticipationRow.device.in_(part)))


def _parts(named: Sequence[T]) -> Iterator[Sequence[T]]:
    return (named[i : i + _AT_ONCE] for i in range(0, len(named), _AT_ONCE))
