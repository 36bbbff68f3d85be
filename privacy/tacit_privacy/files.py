"""Files that appear whole or not at all, and files that one process holds."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tacit_privacy.errors import BadInput

OWNER_ALONE: Final = 0o600  # the mode of a file that tells about people
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def write_whole(
    path: Path,
    content: str | bytes,
    remedy: str = "make room and try again",
    mode: int = 0o666,
    synced: bool = True,
) -> None:
    """Write beside, flush, rename: a reader sees the old file or the new one. ``mode`` as far as the umask lets it.

    Not ``synced``: a power cut may bring the old file back, or none. Raises BadInput, ending in ``remedy``. Whatever it
    ends by, nothing lies beside.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.unlink(missing_ok=True)  # of a process that was killed and had this number
        with open(os.open(beside, _NEW, mode), "wb") as file:
            file.write(data)
            file.flush()
            if synced:
                os.fsync(file.fileno())
        beside.replace(path)
    except BaseException as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise BadInput(f"cannot write {path}: {error.strerror}; {remedy}") from error
        raise


def sync_names(folder: Path) -> None:
    """Let the names in a folder reach the disk, so that a power cut takes no file that is in it now."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def held(path: Path, busy: str = "") -> Iterator[None]:
    """Hold a lock file, made where there is none; it is let go of when the process ends, whatever that ends by.

    Raises BadInput with ``busy`` where another process holds it; waits for it where ``busy`` is empty.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ALONE)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError as error:
            raise BadInput(busy) from error
        yield
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a process holds a lock file."""
    try:
        with held(path, "held"):
            return False
    except BadInput:
        return True
