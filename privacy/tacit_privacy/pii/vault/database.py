"""The vault's file: made for its owner alone, opened with what erasure needs, errors as one sentence."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from sqlite3 import Connection, Error, connect

from tacit_privacy.errors import BadInput

BUSY_MS = 30_000  # how long a writer waits for another process's writer


class Database:
    """One connection to one file, or to memory where ``path`` is None; threads take turns."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._turn = threading.RLock()
        self._process = os.getpid()
        self._synchronous = "FULL"
        if path is not None:
            _prepare(path)
        with self._explained():
            where = ":memory:" if path is None else path
            self._connection = connect(where, isolation_level=None, check_same_thread=False)
            _set_up(self._connection)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """One state of the file, whatever others write meanwhile. Raises BadInput."""
        with self._transaction("DEFERRED") as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self, synced: bool = True) -> Iterator[Connection]:
        """One transaction, alone among all processes: on disk when the block ends, or not at all. Raises BadInput.

        Not ``synced``: it survives the end of the process, and a power cut only once a later one is synced.
        """
        with self._transaction("IMMEDIATE", "FULL" if synced else "NORMAL") as connection:
            yield connection

    def settle(self) -> bool:
        """Move the log into the file and empty it, so that what was erased stands in neither.

        False where another process was reading for so long that it could not be done; the next one does it.
        """
        if self.path is None:
            return True
        with self._turn, self._explained():
            busy = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        return not busy

    def close(self) -> None:
        with self._turn:
            self._connection.close()

    @contextlib.contextmanager
    def _transaction(self, how: str, synchronous: str = "FULL") -> Iterator[Connection]:
        if os.getpid() != self._process:
            raise RuntimeError("a vault does not survive a fork; open it again in the new process")
        with self._turn, self._explained():
            if synchronous != self._synchronous:
                self._connection.execute(f"PRAGMA synchronous={synchronous}")
                self._synchronous = synchronous
            self._connection.execute(f"BEGIN {how}")
            try:
                yield self._connection
                self._connection.commit()
            except BaseException:
                self._connection.rollback()
                raise

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Error as error:
            raise unusable(self.path, error) from None
        except UnicodeDecodeError:  # SQLite quotes a damaged schema in its complaint
            raise _damaged(self.path, "its schema cannot be read") from None


def check_name(path: Path) -> None:
    """Raises BadInput where ``path`` cannot be a file's."""
    if not path.name or path.is_dir():
        raise BadInput(f"{path} is a folder, no vault; name a file")


def check_room(path: Path) -> None:
    """Raises BadInput where no file can be made at ``path``. Makes nothing."""
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise BadInput(f"cannot make the vault {path}: {folder} is no folder that you can write in; name another file")


def is_begun(path: Path) -> bool:
    """Whether there is a file with anything in it."""
    return path.is_file() and path.stat().st_size > 0


def unusable(path: Path | None, error: BaseException) -> BadInput:
    """What the database says, as one sentence with a remedy."""
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return _damaged(path, said)
    remedy = "try again when it is done" if name.startswith("SQLITE_BUSY") else "check the disk and your rights"
    return BadInput(f"the vault {path} cannot be used: {said}; {remedy}")


def _damaged(path: Path | None, said: str) -> BadInput:
    return BadInput(f"{path} is damaged or no vault ({said}); restore it from a copy, or name another file")


def _prepare(path: Path) -> None:
    """The file exists and only its owner reads it. SQLite gives its log and index the same mode."""
    try:
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, parents=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        for name in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
            if name.exists() and name.stat().st_mode & 0o077:
                name.chmod(0o600)
    except OSError as error:
        raise BadInput(f"cannot use the vault {path}: {(error.strerror or 'it cannot be opened').lower()}") from error


def _set_up(connection: Connection) -> None:
    connection.text_factory = bytes  # there is no text in a vault: what a damaged file calls so must not be quoted
    # secure_delete: freed bytes are overwritten. synchronous=FULL: what was acknowledged survives a power cut.
    # cache_size: 16 MB, so that a record of megabytes is not written twice in one transaction.
    for pragma in (
        f"busy_timeout={BUSY_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "secure_delete=ON",
        "foreign_keys=ON",
        "temp_store=MEMORY",
        "cache_size=-16000",
    ):
        connection.execute(f"PRAGMA {pragma}")
