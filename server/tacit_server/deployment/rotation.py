"""New keys for a server that its devices go on trusting: a certificate by its authority, a signing key by the old one.

The ledger says who takes over, in an entry that the old key signs and the new key endorses; devices follow it. The new
key waits beside the old one until that entry is stored, so a kill at any moment leaves the key that the ledger names.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from tacit_privacy.errors import BadInput, LedgerBroken
from tacit_privacy.files import sync_names
from tacit_privacy.ledger.chain import Ledger
from tacit_privacy.ledger.keys import PASSPHRASE, SigningKey
from tacit_privacy.ledger.transfer import present_key
from tacit_server.deployment import admission, audit, certificates
from tacit_server.deployment.database import ServerDatabase
from tacit_server.deployment.directory import ServerDirectory


@dataclass(frozen=True, slots=True)
class Rotated:
    """Who signs from now on. ``entries``: length of the ledger; 0: nothing was signed yet."""

    old: str
    new: str
    entries: int


def rotate_certificate(directory: ServerDirectory, database: ServerDatabase) -> datetime:
    """Make a new certificate for the names in server.toml; returns when it ends. Devices have pinned the authority."""
    directory.certify(directory.settings)
    ends = certificates.expires(directory.certificate)
    with database.begin() as session:
        audit.record(session, audit.COMMAND_LINE, "certificate.rotate", f"until {ends.date().isoformat()}")
    return ends


def rotate_key(directory: ServerDirectory, database: ServerDatabase) -> Rotated:
    """Let a new key sign ledger, terms and adapters; the old one is gone. Raises BadInput while the server is up.

    What an earlier rotation left undone is ended first: then its key is the new one.
    """
    with directory.held():
        old = SigningKey.load(directory.signing_key)
        waiting = _waiting(directory)
        with database.begin() as session:
            signs = _signs(session)
        if waiting is not None and signs == waiting.public:
            directory.next_signing_key.replace(directory.signing_key)
            with database.begin() as session:
                return Rotated(old.public, waiting.public, Ledger(waiting.sign, time.time).length(session))
        if signs not in (None, old.public):
            raise BadInput("keys/signing.key does not sign this ledger; restore the key from a backup")
        if signs is None:
            _refuse_pinned(database)
        new = _make(directory)
        with database.begin() as session:
            entries = _hand_over(session, old, new) if signs is not None else 0
            audit.record(session, audit.COMMAND_LINE, "key.rotate", new.public, detail={"before": old.public})
        directory.next_signing_key.replace(directory.signing_key)
        return Rotated(old.public, new.public, entries)


def check_whole(directory: ServerDirectory) -> None:
    """Raise BadInput where a rotation was cut off: nobody knows then which of two keys the ledger names."""
    if directory.next_signing_key.exists():
        raise BadInput("the rotation of the signing key was cut off; type tacit server rotate key, which ends it")


def _hand_over(session: Session, old: SigningKey, new: SigningKey) -> int:
    ledger = Ledger(old.sign, time.time)
    ledger.exclusive(session)
    return ledger.rotate(session, new).index + 1


def _refuse_pinned(database: ServerDatabase) -> None:
    with database.begin() as session:
        if admission.devices(session):
            raise BadInput("devices have pinned the key, and no ledger is there to tell them; let a first run begin")


def _signs(session: Session) -> str | None:
    """Who signs the ledger now; None where there is none."""
    with suppress(LedgerBroken):
        return present_key(session)
    return None


def _waiting(directory: ServerDirectory) -> SigningKey | None:
    """The key of a rotation that was cut off."""
    return SigningKey.load(directory.next_signing_key) if directory.next_signing_key.exists() else None


def _make(directory: ServerDirectory) -> SigningKey:
    """A new key beside the present one, protected as that is; one that was never named by the ledger gives way."""
    directory.next_signing_key.unlink(missing_ok=True)
    protected = b"ENCRYPTED" in directory.signing_key.read_bytes()
    new = SigningKey.generate()
    new.save(directory.next_signing_key, os.environ.get(PASSPHRASE, "").encode() if protected else None)
    sync_names(directory.keys)  # a ledger must never name a key that a power cut takes away
    return new
