"""A server that was put back to an older copy: who noticed, and how an operator owns up to what was lost.

Devices remember how far they saw the ledger. One that saw more than there is refuses every round, until the server says
in its ledger that it was restored and charges whatever may have been released meanwhile.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from tacit_privacy.accounting.budget import Budget
from tacit_privacy.accounting.events import GaussianEvent
from tacit_privacy.contract import canonical, digest
from tacit_privacy.enrolment import DeviceReport
from tacit_privacy.errors import BadInput
from tacit_privacy.ledger.account import Account
from tacit_privacy.ledger.bodies import Begun, parse
from tacit_privacy.ledger.chain import Entry, Ledger
from tacit_privacy.ledger.tables import LedgerRow
from tacit_privacy.mechanisms.noise import SystemNoise
from tacit_server.deployment import admission, audit
from tacit_server.deployment.audit import Actor
from tacit_server.deployment.backup import Restoration
from tacit_server.deployment.status import ONLINE_S

_MANY: Final = 2  # devices that were heard, against one that alone claims to have seen more
_MOST_A_SECOND, _DAY_S = 100.0, 86400.0
_NEVER = Ledger(lambda data: b"", lambda: 0.0)  # reads alone


@dataclass(frozen=True, slots=True)
class Witness:
    """A device that says that it saw more of the ledger than there is, or another one. It may lie."""

    identity: str
    length: int
    head: str
    possible: bool  # whether this server can have written so much


def head_at(session: Session, length: int) -> str:
    """The ledger's hash where it had ``length`` entries; empty for none, and where it is shorter."""
    if not 0 < length <= _NEVER.length(session):
        return ""
    return _NEVER.hash_at(session, length - 1) or ""


def told_to(session: Session, length: int, head: str) -> str:
    """For a device that saw the ledger end so: the entry that owns up to what it saw, as a line; empty: none does."""
    if not length or head_at(session, length) == head:
        return ""
    for entry in _restores(session):
        told = entry.body["length"]
        if entry.index < length and (told > length or (told == length and entry.body["head"] == head)):
            return entry.line()
    return ""


def witnesses(session: Session) -> list[Witness]:
    """Devices whose last report does not fit the ledger, and that no entry owns up to; who saw most comes first."""
    found, most = [], _most_entries(session, time.time())
    for row in admission.devices(session):
        if row.report and row.state == "admitted":
            report = DeviceReport.from_bytes(row.report.encode())
            length, head = report.ledger_length, report.ledger_head
            if length and head_at(session, length) != head and not told_to(session, length, head):
                found.append(Witness(row.identity, length, head, length <= most))
    return sorted(found, key=lambda witness: -witness.length)


def suggestion(seen: Sequence[Witness]) -> tuple[int, int]:
    """To how many entries to own up, and how many devices say that they saw so many: the most that two devices bear
    out, or what one says where it is alone. Nought and nought where nobody says what can be.
    """
    lengths = sorted((witness.length for witness in seen if witness.possible), reverse=True)
    if not lengths:
        return 0, 0
    found = lengths[min(1, len(lengths) - 1)]
    return found, sum(length >= found for length in lengths)


def obstacle(session: Session, restored: Restoration | None, since: float) -> str:
    """Why no run may go on now: devices saw more than there is, or might have and have not been heard since a restore.

    ``since``: when the server was put up. One sentence; empty where nothing is in the way, as where a single device
    claims what cannot be or what the others know nothing of: it takes part in nothing by itself.
    """
    seen = [witness for witness in witnesses(session) if witness.possible]
    unsettled = restored is not None and not restored.settled
    if seen and (len(seen) > 1 or unsettled or not _outvoted(session, seen[0], since)):
        say = "1 device says that it" if len(seen) == 1 else f"{len(seen)} devices say that they"
        return f"{say} saw more of the ledger than there is; tacit server resolve lists what they say"
    silent = unheard(session, restored) if restored is not None and unsettled else []
    if not silent:
        return ""
    return f"{len(silent)} devices have not reported since the restore; tacit server resolve says what to do"


def _outvoted(session: Session, alone: Witness, since: float) -> bool:
    """Whether whoever is there has been heard since the server was put up, and nobody bears the one witness out."""
    heard = [row for row in admission.devices(session) if row.state == "admitted" and row.seen >= since]
    others = sum(row.identity != alone.identity for row in heard)
    return time.time() - since > ONLINE_S and others >= _MANY


def _most_entries(session: Session, now: float) -> int:
    """More than any server can have written by now on top of what is here: every entry is signed, and a round takes
    time. No budget bounds it, for rounds that are given back cost nothing.
    """
    entries = _NEVER.length(session)
    passed = now - _NEVER.entries(session, since=entries - 1)[0].time if entries else now
    return entries + int(_MOST_A_SECOND * max(passed, _DAY_S))


def unheard(session: Session, restored: Restoration) -> list[str]:
    """Devices that have not said since a restore how far they saw the ledger."""
    admitted = (row for row in admission.devices(session) if row.state == "admitted")
    return [row.identity for row in admitted if row.seen < restored.time]


def resolve(session: Session, actor: Actor, ledger: Ledger, length: int) -> int:
    """Own up to a ledger of ``length`` entries, as a witness saw it: what may have been released is charged to all.

    Returns the number of releases that were charged. Raises BadInput where nobody saw a ledger of that length.
    """
    heads = Counter(witness.head for witness in witnesses(session) if witness.length == length and witness.possible)
    if not heads:
        raise BadInput(
            f"no device has seen a ledger of {length} entries that is not here; tacit server resolve lists them"
        )
    head = heads.most_common(1)[0][0]
    account = _account(session)
    if account.policy is None or not account.runs:
        raise BadInput(
            "the ledger has no run whose releases could be charged; start a new server and enrol devices anew"
        )
    budget = Budget(account.policy, ledger, _charged_to(account), SystemNoise(), replay=False, closes=False)
    budget.open(session, account.key)
    devices = [row.number for row in admission.devices(session)]
    releases = budget.own_up(session, length, head, devices, _dearest(account))
    audit.record(
        session, actor, "ledger.resolve", f"{length} entries", detail={"head": head, "releases": str(releases)}
    )
    return releases


def _charged_to(account: Account) -> Begun:
    """The newest run that has not ended: its next rounds are those that may have been held; else one of its own."""
    under_way = [begun for begun in account.runs.values() if begun.run not in account.ended]
    if under_way:
        return under_way[-1]
    last = list(account.runs.values())[-1]
    name = f"restored-{len(account.runs)}-{account.key[:8]}"
    return last.model_copy(update={"run": name, "config": digest(canonical({"restored": name}))})


def _dearest(account: Account) -> GaussianEvent:
    """The event with the least noise of all that were charged, as one of independent noise."""
    events = [charge.event for charge in account.charged.values()]
    if not events:
        raise BadInput("nothing was ever charged here, so nobody can say what a lost release cost; start a new server")
    found = min(events, key=lambda event: event.noise_multiplier)
    if found.correlation is not None:
        raise BadInput("releases of correlated noise cannot be charged one by one; start a new server")
    return found


def _account(session: Session) -> Account:
    account = Account()
    for entry in _NEVER.entries(session):
        account.take(parse(entry.kind, entry.body), entry.time)
    return account


def _restores(session: Session) -> list[Entry]:
    """Entries that own up to a restore, the newest first."""
    like = LedgerRow.payload.like('%"kind":"restore"%')
    positions = session.scalars(select(LedgerRow.position).where(like).order_by(LedgerRow.position.desc())).all()
    found = [_NEVER.entries(session, since=position)[0] for position in positions]
    return [entry for entry in found if entry.kind == "restore"]
