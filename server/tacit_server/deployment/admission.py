"""Who belongs to the fleet: one-time tokens, applicants, admitted and revoked devices. Every change is audited.

A device is known by its key. Its number never changes hands and outlives its leave, so that coming back, under the same
key or by a token made for it, resets no participation.
"""

import hashlib
import re
import secrets
import time
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tacit_privacy.enrolment import Application, Token
from tacit_privacy.errors import AdmissionRefused, BadInput
from tacit_privacy.ledger.database import exclusive
from tacit_privacy.ledger.keys import verifies
from tacit_server.deployment import audit
from tacit_server.deployment.audit import Actor
from tacit_server.store.tables import ApplicantRow, DeviceRow, TokenRow

TOKEN_HOURS: Final = 24.0
_SECRET_BYTES: Final = 24
_LOCK: Final = int.from_bytes(b"devices", "big")  # of whoever changes who belongs to the fleet
_MOST_APPLICANTS: Final = 1000  # who asks without a token costs the server a row

State = Literal["admitted", "pending"]


@dataclass(frozen=True, slots=True)
class Admitted:
    """What became of an application. ``identity`` is empty while it is pending."""

    state: State
    identity: str = ""
    number: int = -1


def new_token(session: Session, actor: Actor, fingerprint: str, *, note: str, hours: float, device: str = "") -> str:
    """A one-time token; with it goes what a device pins the server by. ``device``: who comes back under new keys.

    Raises BadInput.
    """
    if not 0 < hours <= 24 * 365:
        raise BadInput(f"a token that is good for {hours:g} hours; choose more than 0 and at most a year")
    number = None if not device else _named(session, device).number
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    now = time.time()
    row = TokenRow(digest=_digest(secret), note=note, created=now, expires=now + hours * 3600, device=number)
    session.add(row)
    audit.record(session, actor, "token.create", note or "a token", detail={"hours": f"{hours:g}", "device": device})
    return str(Token(secret=secret, fingerprint=fingerprint))


def open_tokens(session: Session) -> list[TokenRow]:
    """Those that were not used and have not expired, the newest first."""
    usable = select(TokenRow).where(TokenRow.used.is_(None), TokenRow.expires > time.time())
    return list(session.scalars(usable.order_by(TokenRow.created.desc())))


def revoke_tokens(session: Session, actor: Actor, prefix: str = "") -> int:
    """Make the open tokens whose digest begins with ``prefix`` useless; returns how many there were."""
    found = [row for row in open_tokens(session) if row.digest.startswith(prefix)]
    for row in found:
        row.expires = time.time()
        audit.record(session, actor, "token.revoke", row.note or row.digest[:12])
    return len(found)


def apply(session: Session, actor: Actor, asked: Application, signature: bytes, *, server: str) -> Admitted:
    """Judge an application: by its token, by what is known of its key, or let it wait for an operator.

    That the node's key signed it, too, is looked at by whoever speaks Flower's kind of keys. Raises AdmissionRefused;
    the caller writes that down, since it rolls this transaction back.
    """
    if asked.server != server:
        raise AdmissionRefused("server", "it was made for another server")
    if not verifies(asked.public_key, asked.signed(), signature):
        raise AdmissionRefused("signature", "it is not signed by the key that it names")
    alone(session)  # before the first look: a token is good for one, and a number for one
    known = by_key(session, asked.public_key)
    if known is not None and known.state == "revoked":
        raise AdmissionRefused("revoked", "an operator revoked this device")
    if known is not None and known.state == "admitted" and known.node_key == asked.node_key:
        return Admitted("admitted", known.identity, known.number)  # its answer was lost, and it asks again
    if asked.token:
        return _by_token(session, actor, asked, known)
    if known is not None and known.state == "left":
        raise AdmissionRefused("left", "it left the fleet; it needs a token to come back")
    return _pending(session, actor, asked)


def approve(session: Session, actor: Actor, public_key: str) -> Admitted:
    """Let an applicant in. Raises BadInput where nobody of that key is waiting."""
    alone(session)
    row = _applicant(session, public_key)
    admitted = _admit(session, row.public_key, row.node_key, row.name)
    session.delete(row)
    audit.record(session, actor, "device.approve", admitted.identity, detail={"name": row.name})
    return admitted


def reject(session: Session, actor: Actor, public_key: str) -> None:
    """Send an applicant away; it may ask again. Raises BadInput."""
    alone(session)
    row = _applicant(session, public_key)
    session.delete(row)
    audit.record(session, actor, "device.reject", row.name)


def revoke(session: Session, actor: Actor, device: str) -> DeviceRow:
    """Let a device take part no more; its participations stay counted. Raises BadInput."""
    alone(session)
    row = _named(session, device)
    if row.state == "revoked":
        raise BadInput(f"{row.identity} is revoked already")
    row.state = "revoked"
    audit.record(session, actor, "device.revoke", row.identity)
    return row


def restore(session: Session, actor: Actor, device: str) -> DeviceRow:
    """Let a revoked device take part again. Raises BadInput."""
    row = _named(session, device)
    if row.state != "revoked":
        raise BadInput(f"{row.identity} is not revoked; it is {row.state}")
    row.state = "admitted"
    audit.record(session, actor, "device.restore", row.identity)
    return row


def erase(session: Session, actor: Actor, device: str) -> DeviceRow:
    """Forget what is known of a device but its key and its count: those keep a return from resetting its budget."""
    row = _named(session, device)
    if row.state != "revoked":
        row.state = "left"
    row.name, row.report, row.node_key = "", "", ""
    audit.record(session, actor, "device.erase", row.identity)
    return row


def devices(session: Session) -> list[DeviceRow]:
    """All that were ever admitted, by number."""
    return list(session.scalars(select(DeviceRow).order_by(DeviceRow.number)))


def applicants(session: Session) -> list[ApplicantRow]:
    """Who waits for a decision, the first first."""
    return list(session.scalars(select(ApplicantRow).order_by(ApplicantRow.asked)))


def alone(session: Session) -> None:
    """Let nobody else change who belongs to the fleet until the caller's transaction ends."""
    exclusive(session, _LOCK)


def by_key(session: Session, public_key: str) -> DeviceRow | None:
    return session.scalar(select(DeviceRow).where(DeviceRow.public_key == public_key))


def by_node_key(session: Session, node_key: str) -> DeviceRow | None:
    return session.scalar(select(DeviceRow).where(DeviceRow.node_key == node_key))


def applicant_like(session: Session, begins: str) -> str:
    """The key of the one applicant whose key begins so. Raises BadInput."""
    found = [row.public_key for row in applicants(session) if begins and row.public_key.startswith(begins)]
    if len(found) != 1:
        raise BadInput(f"{len(found)} applicants have a key that begins with {begins!r}; type more of it")
    return found[0]


def identity_of(public_key: str) -> str:
    """What a device is called in receipts: of the key that it first came with."""
    return f"device-{hashlib.sha256(bytes.fromhex(public_key)).hexdigest()[:16]}"


def _by_token(session: Session, actor: Actor, asked: Application, known: DeviceRow | None) -> Admitted:
    row = session.get(TokenRow, _digest(asked.token))
    if row is None:
        raise AdmissionRefused("token", "no such token was made here")
    if row.used is not None:
        raise AdmissionRefused("token", "the token was used already")
    if row.expires <= time.time():
        raise AdmissionRefused("token", "the token has expired")
    _refuse_taken(session, asked, known)
    if row.device is not None:
        admitted = _replace(session, row.device, asked)
    else:
        admitted = _admit(session, asked.public_key, asked.node_key, asked.name)
    row.used, row.used_by = time.time(), admitted.identity
    waiting = session.get(ApplicantRow, asked.public_key)
    if waiting is not None:
        session.delete(waiting)
    audit.record(session, actor, "device.enrol", admitted.identity, detail={"name": asked.name, "token": row.note})
    return admitted


def _refuse_taken(session: Session, asked: Application, known: DeviceRow | None) -> None:
    other = by_node_key(session, asked.node_key)
    if other is not None and (known is None or other.number != known.number):
        raise AdmissionRefused("node_key", "another device has this node key")


def _pending(session: Session, actor: Actor, asked: Application) -> Admitted:
    row = session.get(ApplicantRow, asked.public_key)
    if row is None:
        if (session.scalar(select(func.count()).select_from(ApplicantRow)) or 0) >= _MOST_APPLICANTS:
            raise AdmissionRefused("full", f"{_MOST_APPLICANTS} devices are waiting; an operator has to decide first")
        _refuse_taken(session, asked, None)
        row = ApplicantRow(public_key=asked.public_key, asked=time.time())
        session.add(row)
        audit.record(session, actor, "device.apply", asked.name, detail={"key": asked.public_key})
    row.node_key, row.name, row.address = asked.node_key, asked.name, actor.address
    return Admitted("pending")


def _admit(session: Session, public_key: str, node_key: str, name: str) -> Admitted:
    """A number for a key: the one that it had, or the next."""
    row = by_key(session, public_key)
    if row is None:
        number = (session.scalar(select(func.max(DeviceRow.number))) or 0) + 1 if _any(session) else 0
        row = DeviceRow(number=number, identity=identity_of(public_key), public_key=public_key)
        session.add(row)
    _seat(row, node_key, name)
    session.flush()
    return Admitted("admitted", row.identity, row.number)


def _replace(session: Session, number: int, asked: Application) -> Admitted:
    """The device ``number`` comes back under new keys: number and identity stay, and with them what it has spent."""
    row = session.get(DeviceRow, number)
    if row is None or row.state == "revoked":
        raise AdmissionRefused("revoked", "the device that this token is for was revoked")
    if by_key(session, asked.public_key) not in (None, row):
        raise AdmissionRefused("key", "the key belongs to another device")
    row.public_key = asked.public_key
    _seat(row, asked.node_key, asked.name)
    session.flush()
    return Admitted("admitted", row.identity, row.number)


def _seat(row: DeviceRow, node_key: str, name: str) -> None:
    """Let a device in under a node's key. Another key is another node, and the one before is the device no more."""
    if row.node_key != node_key:
        row.node_key, row.node_id = node_key, ""
    row.state, row.name, row.admitted = "admitted", name, time.time()


def _any(session: Session) -> bool:
    return session.scalar(select(DeviceRow.number).limit(1)) is not None


def _applicant(session: Session, public_key: str) -> ApplicantRow:
    row = session.get(ApplicantRow, public_key)
    if row is None:
        raise BadInput("nobody of that key is waiting; tacit server device list shows who is")
    return row


def _named(session: Session, device: str) -> DeviceRow:
    """By identity, number or, where it is one alone, the owner's name."""
    same = DeviceRow.number == int(device) if re.fullmatch(r"\d{1,9}", device) else DeviceRow.identity == device
    row = session.scalar(select(DeviceRow).where(same))
    if row is None:
        called = list(session.scalars(select(DeviceRow).where(DeviceRow.name == device)))
        row = called[0] if len(called) == 1 else None
        if len(called) > 1:
            raise BadInput(f"{len(called)} devices are called {device!r}; name one by its identity")
    if row is None:
        raise BadInput(f"no device {device!r}; tacit server device list shows them")
    return row


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
