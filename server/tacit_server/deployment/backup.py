"""A server as one file, written while it is up, and a server out of such a file, in an empty place.

SuperLink's own state stays behind: it is made anew whenever a server is put up.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Final

from pydantic import NonNegativeInt, ValidationError
from sqlalchemy import delete, select
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from tacit_privacy.contract import Digest, Fact
from tacit_privacy.errors import BadInput
from tacit_privacy.files import OWNER_ALONE, write_whole
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.ledger.verify import verify
from tacit_server.deployment import admission, archive, audit, dumps
from tacit_server.deployment.archive import DUMPS, KEPT, Manifest
from tacit_server.deployment.database import ServerDatabase
from tacit_server.deployment.directory import ServerDirectory
from tacit_server.store.tables import AuditRow, SessionRow

MADE, RESTORED = "server.backup", "server.restore"  # in the audit log
_DATABASE: Final = "server.db"


class Restoration(Fact):
    """What a server that came out of a backup tells of itself: its ledger may be older than what devices saw of it."""

    entries: NonNegativeInt  # of the ledger that was in the backup
    head: Digest
    time: float  # when it was restored
    settled: bool = False  # whether an operator has said what was lost


def back_up(directory: ServerDirectory, database: ServerDatabase, out: BinaryIO) -> Manifest:
    """Write a backup of a server, up or not, to ``out``. Raises BadInput."""
    with TemporaryDirectory(prefix=".backup-", dir=directory.path) as name:  # readable by its owner alone
        folder = Path(name)
        dump = dumps.dump(database, folder)
        _copy(directory, folder)
        if dump.ledger.signer not in ("", SigningKey.load(folder / "keys" / "signing.key").public):
            raise BadInput(
                "keys/signing.key does not sign the ledger: its rotation is under way or was cut off; try again"
            )
        manifest = Manifest(
            version=version("tacit"),
            time=time.time(),
            server=directory.fingerprint,
            database=dump.kind,
            entries=dump.ledger.entries,
            head=dump.ledger.head,
            files={file: archive.part_of(folder / file) for file in (*KEPT, DUMPS[dump.kind])},
        )
        archive.write(out, manifest, folder)
    with database.begin() as session:
        _note(session, MADE, manifest.entries, manifest.head)
    return manifest


def last(session: Session) -> float | None:
    """When the last backup was made; None before the first."""
    query = select(AuditRow.time).where(AuditRow.action == MADE).order_by(AuditRow.number.desc()).limit(1)
    return session.scalar(query)


def restore(source: BinaryIO, path: Path) -> Restoration:
    """Make the server of a backup in ``path``, which is empty or not there; it appears whole or not at all.

    The ledger is verified entry by entry before anything appears. Raises BadInput.
    """
    with _appearing(path) as folder:
        made = ServerDirectory(folder)
        manifest = archive.read(source, folder)
        if made.fingerprint != manifest.server:
            raise BadInput("the certificate in the backup is not the one that its list names; it was changed")
        url = _unpacked(made, manifest)
        with ServerDatabase(url) as database:
            _check_ledger(database, manifest, SigningKey.load(made.signing_key))
            told = Restoration(entries=manifest.entries, head=manifest.head, time=time.time())
            write_whole(made.restored, json.dumps(told.model_dump(), indent=2) + "\n", mode=OWNER_ALONE)
            with database.begin() as session:
                _note(session, RESTORED, told.entries, told.head)
                _distrust(session)
        _settle(made, url)
    return told


def restoration(directory: ServerDirectory) -> Restoration | None:
    """What is written down of the last restore; None where there was none. Raises BadInput where it was changed."""
    try:
        return Restoration.from_bytes(directory.restored.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise BadInput(f"{directory.restored} cannot be read; restore the backup again") from error


def settle(directory: ServerDirectory) -> None:
    """Write down that an operator has said what the restore lost; nothing where there was none."""
    told = restoration(directory)
    if told is not None:
        after = told.model_copy(update={"settled": True})
        write_whole(directory.restored, json.dumps(after.model_dump(), indent=2) + "\n", mode=OWNER_ALONE)


def _distrust(session: Session) -> None:
    """Tokens that were used and log-ins that were ended since the backup was made would be good again."""
    admission.revoke_tokens(session, audit.COMMAND_LINE)
    session.execute(delete(SessionRow))


def _note(session: Session, action: str, entries: int, head: str) -> None:
    audit.record(session, audit.COMMAND_LINE, action, f"{entries} entries", detail={"head": head})


def _copy(directory: ServerDirectory, folder: Path) -> None:
    (folder / "keys").mkdir(mode=0o700)
    for name in KEPT:
        try:
            shutil.copyfile(directory.path / name, folder / name)
        except OSError as error:
            raise BadInput(f"cannot copy {directory.path / name}: {error.strerror}; the server is not whole") from error


def _unpacked(made: ServerDirectory, manifest: Manifest) -> str:
    """Put the dump where it can be looked at: PostgreSQL's into its database, SQLite's into the folder; its URL."""
    dump, wanted = made.path / DUMPS[manifest.database], made.database_url
    kind = "sqlite" if wanted.startswith("sqlite:") else "postgresql"
    if kind != manifest.database:
        raise BadInput(f"the backup is of a {manifest.database} database, and settings or TACIT_DATABASE name {kind}")
    if kind == "postgresql":
        dumps.load(wanted, dump)
        dump.unlink()
        return wanted
    dump.replace(made.path / _DATABASE)
    return f"sqlite:///{made.path / _DATABASE}"


def _settle(made: ServerDirectory, here: str) -> None:
    """Move an SQLite file to where the settings want it, if that is elsewhere. Raises BadInput where there is one."""
    wanted = made.database_url
    if wanted != here:
        place = Path(make_url(wanted).database or "")
        if place.exists():
            raise BadInput(f"{place} is there, where the backup's database belongs; move it away")
        shutil.move(made.path / _DATABASE, place)


def _check_ledger(database: ServerDatabase, manifest: Manifest, key: SigningKey) -> None:
    with database.begin() as session:
        found = dumps.Standing.of(session)
        lines = [entry.line() for entry in dumps.READER.entries(session)]
    if (found.entries, found.head) != (manifest.entries, manifest.head):
        raise BadInput("the ledger in the backup is not the one that its list names; it was changed")
    if found.signer not in ("", key.public):
        raise BadInput("the ledger in the backup is signed by another key than the one beside it; take another copy")
    problems = verify(lines, key.public).problems if lines else []
    if problems:
        raise BadInput(f"the ledger in the backup does not verify: {problems[0].detail}; take an older copy")


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """A folder beside ``path`` that takes its place when the block ends well, and is gone when it does not."""
    if path.exists() and any(path.iterdir() if path.is_dir() else [path]):
        raise BadInput(f"{path} is there and not empty; choose another directory")
    beside = path.absolute().with_name(f".{path.absolute().name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(mode=0o700, parents=True)
        yield beside
        if path.is_dir():
            path.rmdir()
        beside.replace(path)
    except OSError as error:
        raise BadInput(f"cannot make {path}: {error.strerror}; choose another directory") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
