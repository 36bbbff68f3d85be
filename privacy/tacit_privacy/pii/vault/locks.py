"""One holder of a conversation among all processes; a lock ends with the process that holds it, however it ends."""

import errno
import fcntl
import os
import struct
import threading
import time
from pathlib import Path

from tacit_privacy.errors import BadInput

PATIENCE_S = 60.0
_FLOCK = "hhqqi4x"  # struct flock: type, whence, start, length, pid


class ConversationLocks:
    """Open-file-description locks on single bytes of a file beside the vault (fcntl(2)): one byte per conversation.

    SQLite's own locks would keep every other conversation waiting too. Within one object a lock may be taken
    repeatedly; it is given back when it was released as often.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._held: dict[int, int] = {}
        self._turn = threading.Lock()

    def attempt(self, handle: bytes) -> bool:
        """Take the lock if nobody else has it."""
        return self._try(_byte(handle))

    def acquire(self, handle: bytes, patience_s: float = PATIENCE_S) -> None:
        """Wait until no other process works in the conversation. Raises BadInput when that takes too long."""
        byte, end, pause = _byte(handle), time.monotonic() + patience_s, 0.001
        while not self._try(byte):
            if time.monotonic() >= end:
                raise BadInput(
                    f"another process has worked in this conversation for {patience_s:.0f} s; "
                    "wait for it or name another conversation"
                )
            time.sleep(pause)
            pause = min(2 * pause, 0.05)

    def release(self, handle: bytes) -> None:
        byte = _byte(handle)
        with self._turn:
            self._held[byte] -= 1
            if not self._held[byte]:
                del self._held[byte]
                self._set(byte, fcntl.F_UNLCK)

    def close(self) -> None:
        """Give everything back."""
        with self._turn:
            self._held.clear()
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _try(self, byte: int) -> bool:
        with self._turn:
            if byte not in self._held and not self._set(byte, fcntl.F_WRLCK):
                return False
            self._held[byte] = self._held.get(byte, 0) + 1
            return True

    def _set(self, byte: int, kind: int) -> bool:
        if self._path is None:
            return True
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, kind, os.SEEK_SET, byte, 1, 0))
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True


def _byte(handle: bytes) -> int:
    return int.from_bytes(handle[:7], "big")
