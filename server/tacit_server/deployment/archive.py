"""A backup as one file: a tar that begins with a list of what is in it, by SHA-256.

It holds the server's keys in clear: whoever has the file can be the server.
"""

import hashlib
import io
import os
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Literal, Self

from pydantic import NonNegativeInt, ValidationError, model_validator

from tacit_privacy.contract import Digest, Fact
from tacit_privacy.errors import BadInput
from tacit_privacy.files import OWNER_ALONE

Kind = Literal["sqlite", "postgresql"]
MANIFEST: Final = "manifest.json"
KEPT: Final = (
    "server.toml",
    "authority.pem",
    "server.pem",
    "keys/signing.key",
    "keys/authority.key",
    "keys/server.key",
    "keys/link.secret",
)
DUMPS: Final[dict[Kind, str]] = {"sqlite": "database.sqlite", "postgresql": "database.dump"}
_LONGEST_MANIFEST: Final = 100_000
_PART: Final = 2**20


class Part(Fact):
    """A file of the archive."""

    sha256: Digest
    size: NonNegativeInt


class Manifest(Fact):
    """What a backup holds, and where the ledger stood."""

    backup: Literal["tacit server 1"] = "tacit server 1"
    version: str  # of Tacit
    time: float
    server: Digest  # fingerprint of its authority
    database: Kind
    entries: NonNegativeInt  # of the ledger
    head: Digest
    files: dict[str, Part]

    @model_validator(mode="after")
    def _names_what_belongs_there(self) -> Self:
        if set(self.files) != {*KEPT, DUMPS[self.database]}:
            raise ValueError("the files are not those of a server")
        return self


def part_of(path: Path) -> Part:
    with path.open("rb") as file:
        return Part(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size=path.stat().st_size)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that was not there, for its owner alone, on the disk when the block ends. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ALONE)
    with os.fdopen(descriptor, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def write(out: BinaryIO, manifest: Manifest, folder: Path) -> None:
    """Manifest and files of ``folder`` as one stream; nothing of who wrote it but the time."""
    with tarfile.open(fileobj=out, mode="w|") as archive:
        head = manifest.to_bytes()
        archive.addfile(_member(MANIFEST, len(head)), io.BytesIO(head))
        for name, part in manifest.files.items():
            with (folder / name).open("rb") as file:
                archive.addfile(_member(name, part.size), file)


def read(source: BinaryIO, folder: Path) -> Manifest:
    """Unpack an archive into the empty ``folder``, every file by the manifest's word alone. Raises BadInput.

    A name outside the list, a link or anything else that is no plain file is refused before a byte of it is written.
    """
    with _explained(), tarfile.open(fileobj=source, mode="r|") as archive:
        manifest = _manifest(archive, archive.next())
        missing = dict(manifest.files)
        while (member := archive.next()) is not None:
            part = missing.pop(member.name, None) if _plain(member) else None
            if part is None or part.size != member.size:
                raise BadInput(f"the archive holds {member.name[:100]!r}, which is not in its list; it was changed")
            _unpack(archive, member, folder / member.name, part)
        if missing:
            raise BadInput(f"the archive ends before {min(missing)}; take another copy of it")
    return manifest


def _manifest(archive: tarfile.TarFile, first: tarfile.TarInfo | None) -> Manifest:
    data = None
    if first is not None and first.name == MANIFEST and _plain(first) and first.size <= _LONGEST_MANIFEST:
        data = archive.extractfile(first)
    if data is None:
        raise BadInput("the file is no backup of a Tacit server; tacit server backup makes one")
    try:
        return Manifest.from_bytes(data.read())
    except ValidationError as error:
        raise BadInput("the backup's list of files cannot be read: it is damaged, or of another Tacit") from error


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path, part: Part) -> None:
    found = hashlib.sha256()
    path.parent.mkdir(mode=0o700, exist_ok=True)
    source = archive.extractfile(member)
    with new_file(path) as file:
        while source is not None and (chunk := source.read(_PART)):
            found.update(chunk)
            file.write(chunk)
    if found.hexdigest() != part.sha256:
        raise BadInput(f"{member.name} in the archive is damaged; take another copy of it")


def _plain(member: tarfile.TarInfo) -> bool:
    return member.isreg() and not member.issparse()


def _member(name: str, size: int) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.size, found.mode, found.mtime = size, OWNER_ALONE, int(time.time())
    return found


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError) as error:
        raise BadInput(f"the archive cannot be read ({error}); it is damaged, encrypted or no backup") from error
