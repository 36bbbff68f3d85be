"""Files that appear whole or not at all."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from tacit_privacy.errors import BadInput

OWNER_ALONE: Final = 0o600  # the mode of a file that tells about people
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def write_whole(path: Path, text: str, remedy: str = "make room and try again", mode: int = 0o666) -> None:
    """Write beside, flush, rename: a reader sees the old file or the new one. ``mode`` as far as the umask lets it.

    Raises BadInput, ending in ``remedy``. Whatever it ends by, nothing lies beside.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.unlink(missing_ok=True)  # of a process that was killed and had this number
        with open(os.open(beside, _NEW, mode), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise BadInput(f"cannot write {path}: {error.strerror}; {remedy}") from error
        raise
