"""What a device owes and has not delivered, in files beside its journal: an update may have megabytes.

Each is sealed by a key of its own, which the journal keeps: the file tells nothing without it, and is erased with it.
"""

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tacit_privacy.errors import BadInput
from tacit_privacy.files import OWNER_ALONE, sync_names, write_whole
from tacit_privacy.pii.vault.sealing import KEY_BYTES, SealBroken, Sealer

_PLACE: Final = "owed"


@dataclass(frozen=True, slots=True)
class Kept:
    """A file of the outbox, and what opens it."""

    name: str
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outbox:
    """The folder of those files; it is made when it is first needed."""

    folder: Path

    def put(self, data: bytes) -> Kept:
        """Keep ``data``; on disk when it returns. Raises BadInput."""
        kept = Kept(secrets.token_hex(8), secrets.token_bytes(KEY_BYTES))
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise BadInput(f"cannot make {self.folder}: {error.strerror}") from error
        write_whole(self.folder / kept.name, Sealer(kept.key).seal(data, _PLACE, kept.name), mode=OWNER_ALONE)
        sync_names(self.folder)
        return kept

    def get(self, kept: Kept) -> bytes:
        """Raises BadInput where the file is gone or was changed."""
        path = self.folder / kept.name
        try:
            return Sealer(kept.key).open(path.read_bytes(), _PLACE, kept.name)
        except OSError as error:
            raise BadInput(f"cannot read {path}, which the device owes: {error.strerror}") from error
        except SealBroken:
            raise BadInput(f"{path}, which the device owes, was changed") from None

    def tidy(self, kept: Kept | None = None) -> None:
        """Remove every file but ``kept``: delivered ones, and those of a process that ended before it noted them."""
        if not self.folder.is_dir():
            return
        for path in self.folder.iterdir():
            if kept is None or path.name != kept.name:
                path.unlink(missing_ok=True)
