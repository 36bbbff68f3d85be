"""The vault: conversations' maps and other secrets of the device, sealed in one SQLite file."""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from types import TracebackType

from tacit_privacy.errors import BadInput
from tacit_privacy.pii.pseudonyms.conversation import Conversation
from tacit_privacy.pii.vault._entries import COLUMNS, About, Entry, Row, originals_of
from tacit_privacy.pii.vault._master import Fresh, Master
from tacit_privacy.pii.vault._records import Record, Records
from tacit_privacy.pii.vault.database import Database, check_name, check_room, is_begun
from tacit_privacy.pii.vault.keys import RawKey, VaultKey
from tacit_privacy.pii.vault.locks import PATIENCE_S, ConversationLocks
from tacit_privacy.pii.vault.sealing import digest

EXPIRES_DAYS = 30.0
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class ConversationRecord:
    """What the vault tells about a conversation without telling its map. Times are seconds since 1970."""

    identifier: str
    created: float
    last_used: float
    expires: float | None
    size: int  # placeholders issued


@dataclass
class _Active:
    """A conversation that this process is using now; every user of it gets the same object."""

    turn: threading.Lock
    users: int = 0
    entry: Entry | None = None
    conversation: Conversation | None = None
    saved: int = -1  # the conversation's version that is on disk
    erased: bool = False


class Vault:
    """Opened by ``Vault.open`` or ``Vault.ephemeral``; closed by ``close`` or as a context manager. Thread-safe."""

    def __init__(
        self, database: Database, master: Master, locks: ConversationLocks, clock: Callable[[], float]
    ) -> None:
        self._database, self._master, self._locks, self._clock = database, master, locks, clock
        self._active: dict[bytes, _Active] = {}
        self._turn = threading.Lock()
        self._names: dict[bytes, tuple[int, frozenset[str]]] = {}
        self._records = Records(database, master, clock)

    @classmethod
    def open(cls, path: Path, key: VaultKey, *, create: bool = True, clock: Callable[[], float] = time.time) -> "Vault":
        """Open or make a vault, and erase what has expired in it.

        Raises VaultLocked for a wrong or missing key; BadInput for a damaged file, or a missing one unless ``create``.
        Where no key can be had for a new vault, nothing is left.
        """
        check_name(path)
        if not create and not path.is_file():
            raise BadInput(f"there is no vault {path}; name the file that tacit redact --vault made")
        fresh = None
        if create and not is_begun(path):
            check_room(path)
            fresh = Fresh.by(key)
        database = Database(path)
        try:
            master = Master.open(database, key, create, fresh)
            vault = cls(database, master, ConversationLocks(path.with_name(path.name + ".lock")), clock)
            vault.expire()
            database.settle()  # an erasure that was killed before its end is finished here
        except BaseException:
            database.close()
            raise
        return vault

    @classmethod
    def ephemeral(cls, clock: Callable[[], float] = time.time) -> "Vault":
        """A vault in memory under a key that nobody keeps."""
        database = Database(None)
        return cls(database, Master.open(database, RawKey.generate()), ConversationLocks(None), clock)

    @contextlib.contextmanager
    def conversation(
        self,
        identifier: str,
        *,
        expires_days: float | None = None,
        patience_s: float = PATIENCE_S,
        synced: bool = True,
    ) -> Iterator[Conversation]:
        """The conversation, made where there is none, and saved when the block ends, however it ends.

        Threads of one process share one object; other processes wait for the block's end, at most ``patience_s``.
        The object stays usable after the block, but what it issues then is not saved. ``expires_days`` after its last
        use; None: as before, and EXPIRES_DAYS for a new one; infinity: never. Not ``synced``: what was issued survives
        the end of the process, and a power cut once anything else was sealed. Raises BadInput.
        """
        handle = self._handle(identifier)
        active = self._enter(handle)
        try:
            self._locks.acquire(handle, patience_s)
            try:
                conversation = self._load(active, handle, identifier, expires_days)
                try:
                    yield conversation
                finally:
                    self._store(active, handle, synced)
            finally:
                self._locks.release(handle)
        finally:
            self._leave(handle, active)

    def save(self, identifier: str) -> None:
        """Put on disk what a conversation in use has issued so far, before anybody sees it. Raises BadInput."""
        handle = self._handle(identifier)
        with self._turn:
            active = self._active.get(handle)
        if active is not None:
            self._store(active, handle)

    def touch(self, identifier: str) -> None:
        """Note that a conversation is used, unless somebody is using it anyway. It must be there. Raises BadInput."""
        handle = self._handle(identifier)
        if self._locks.attempt(handle):
            try:
                with self.conversation(identifier):
                    pass
            finally:
                self._locks.release(handle)

    def peek(self, identifier: str) -> Conversation | None:
        """A copy as it stands on disk, without waiting for anybody; None where there is none. Issue nothing in it."""
        with self._database.reading() as connection:
            self._master.check(connection)
            entry = self._read(connection, self._handle(identifier))
        if entry is None or entry.about.expired(self._clock()):
            return None
        return entry.conversation()

    def version(self, identifier: str) -> int:
        """Grows whenever the conversation on disk changes; 0 where there is none. Cheap: opens no seal."""
        with self._database.reading() as connection:
            found = connection.execute(
                "SELECT version FROM conversations WHERE handle = ?", (self._handle(identifier),)
            ).fetchone()
        return 0 if found is None else int(found[0])

    def known(self, identifiers: Iterable[str]) -> set[str]:
        """Those of ``identifiers`` whose conversation is on disk, by one look. Cheap: opens no seal."""
        wanted = {self._handle(identifier): identifier for identifier in identifiers}
        with self._database.reading() as connection:
            there = connection.execute("SELECT handle FROM conversations").fetchall()
        return {wanted[handle] for (handle,) in there if handle in wanted}

    def conversations(self) -> list[ConversationRecord]:
        """Every conversation that can be read and has not expired, the one used last first."""
        now = self._clock()
        with self._database.reading() as connection:
            self._master.check(connection)
            kept = [about for _, about in self._readable(connection) if not about.expired(now)]
        return [
            ConversationRecord(about.identifier, about.created, about.used, about.expires, about.size)
            for about in sorted(kept, key=lambda about: -about.used)
        ]

    def alias(self, identifier: str, alias: str | bytes) -> None:
        """Let ``alias`` (a response's identifier, the hash of a transcript's prefix) find the conversation.

        The newest conversation of an alias wins. Only a keyed digest is stored.
        """
        name = self._digest("alias", alias)
        if not self._aliased(identifier, name):
            with self.conversation(identifier):
                self.save(identifier)  # a new one has no row yet
                self._aliased(identifier, name)

    def claim(self, identifier: str, alias: str | bytes) -> str | None:
        """As ``alias``, unless it finds another conversation already: that one's identifier, and nothing changes."""
        found = self.find(alias)
        if found is None:
            self.alias(identifier, alias)
        return None if found == identifier else found

    def _aliased(self, identifier: str, name: bytes) -> bool:
        """False where the conversation has no row to point at."""
        handle = self._handle(identifier)
        with self._database.writing(synced=False) as connection:  # a lost alias costs a new conversation, and no more
            self._master.check(connection)
            if connection.execute("SELECT 1 FROM conversations WHERE handle = ?", (handle,)).fetchone() is None:
                return False
            proof = self._master.index.seal(b"", self._master.identity, "aliases", name, handle)
            connection.execute(
                "INSERT OR REPLACE INTO aliases (alias, handle, sealed) VALUES (?, ?, ?)", (name, handle, proof)
            )
        return True

    def find(self, alias: str | bytes) -> str | None:
        """The identifier of the conversation that ``alias`` stands for, or None. Raises BadInput if it was forged."""
        name = self._digest("alias", alias)
        with self._database.reading() as connection:
            self._master.check(connection)
            found = connection.execute("SELECT handle, sealed FROM aliases WHERE alias = ?", (name,)).fetchone()
            row = None if found is None else self._row(connection, found[0])
        if row is None:
            return None
        self._master.opened(self._master.index, found[1], "aliases", name, row.handle)
        about = Entry.about_only(self._master, row)
        return None if about.expired(self._clock()) else about.identifier

    def known_names(self, types: frozenset[str] = frozenset({"PERSON"})) -> frozenset[str]:
        """Every original of these types in any conversation of the device. Only what changed since is opened again."""
        now, seen = self._clock(), {}
        with self._database.reading() as connection:
            self._master.check(connection)
            for handle, version in connection.execute("SELECT handle, version FROM conversations").fetchall():
                known = self._names.get(handle)
                if known is None or known[0] != version or types != self._names_of:
                    entry = self._read(connection, handle)
                    if entry is None or entry.about.expired(now):
                        continue
                    known = version, originals_of(entry.conversation(), types)
                seen[handle] = known
        self._names, self._names_of = seen, types
        return frozenset[str]().union(*(names for _, names in seen.values()))

    _names_of: frozenset[str] = frozenset()

    def erase(self, identifier: str) -> bool:
        """Forget a conversation: its key, its map, its aliases. Whoever uses it now cannot save it any more.

        False where there was none. When this returns, file and log hold none of its bytes, unless another process
        reads the vault right then (the next opening finishes it).
        """
        handle = self._handle(identifier)
        with self._turn:  # also one that is in use and has not been written yet
            active = self._active.pop(handle, None)
            if active is not None:
                active.erased = True
        return bool(self._erase([handle])) or active is not None

    def erase_all(self) -> int:
        """Forget every conversation and every record; returns how many conversations there were."""
        with self._database.reading() as connection:
            handles = [handle for (handle,) in connection.execute("SELECT handle FROM conversations")]
        self._records.erase_all()
        return self._erase(handles)

    def expire(self, now: float | None = None) -> int:
        """Erase what nobody used for as long as its policy says, and records past their time; returns how many."""
        moment = self._clock() if now is None else now
        with self._database.reading() as connection:
            self._master.check(connection)
            gone = [handle for handle, about in self._readable(connection) if about.expired(moment)]
        return self._erase(gone, moment) + self._records.expire(moment)

    def rotate(self, key: VaultKey) -> None:
        """Wrap every key anew under another master key: another passphrase, or another source.

        Others who have the vault open are locked out by their next call. Raises VaultLocked, with nothing changed.
        """
        self._master.rotate(self._database, key)
        self._database.settle()

    def seal(self, kind: str, row: bytes, *, expires_days: float | None = None) -> int:
        """Keep another secret of the device; returns its number. None: until it is erased."""
        return self._records.seal(kind, row, expires_days)

    def replace(self, kind: str, row: bytes, *, synced: bool = True) -> int:
        """Keep a secret in place of all others of its kind, at once and as a whole; returns its number.

        Not ``synced``: a power cut may bring the one before back, whose bytes stay until the next that is synced.
        """
        return self._records.replace(kind, row, synced)

    def rows(self, kind: str, *, after: int = 0, limit: int | None = None) -> list[Record]:
        """Records of a kind, oldest first, from number ``after`` + 1 on."""
        return self._records.rows(kind, after, limit)

    def numbers(self, kind: str) -> list[int]:
        """Numbers of a kind's records, oldest first. Cheap: opens no seal."""
        return self._records.numbers(kind)

    def erase_rows(self, kind: str, number: int | Iterable[int] | None = None) -> int:
        """Forget one record, several, or a whole kind; returns how many there were."""
        return self._records.erase(kind, (number,) if isinstance(number, int) else number)

    def close(self) -> None:
        self._locks.close()
        self._database.close()
        self._names = {}

    def __enter__(self) -> "Vault":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Vault({self._database.path or 'in memory'})"

    def __reduce__(self) -> str:
        raise TypeError("a vault cannot be pickled; open it again where it is needed")

    def _digest(self, *parts: str | bytes) -> bytes:
        return digest(self._master.digest_key, *parts)

    def _handle(self, identifier: str) -> bytes:
        return self._digest("conversation", identifier)

    def _enter(self, handle: bytes) -> _Active:
        with self._turn:
            active = self._active.setdefault(handle, _Active(threading.Lock()))
            active.users += 1
            return active

    def _leave(self, handle: bytes, active: _Active) -> None:
        with self._turn:
            active.users -= 1
            if not active.users and self._active.get(handle) is active:
                del self._active[handle]

    def _readable(self, connection: Connection) -> list[tuple[bytes, About]]:
        """Handles and what is known of them, but for rows that are damaged: one of those must not lock the others."""
        found = []
        for row in map(Row._make, connection.execute(f"SELECT {COLUMNS} FROM conversations").fetchall()):
            with contextlib.suppress(BadInput):
                found.append((row.handle, Entry.about_only(self._master, row)))
        return found

    def _row(self, connection: Connection, handle: bytes) -> Row | None:
        found = connection.execute(f"SELECT {COLUMNS} FROM conversations WHERE handle = ?", (handle,)).fetchone()
        return None if found is None else Row(*found)

    def _read(self, connection: Connection, handle: bytes) -> Entry | None:
        row = self._row(connection, handle)
        return None if row is None else Entry.opened(self._master, row)

    def _load(self, active: _Active, handle: bytes, identifier: str, expires_days: float | None) -> Conversation:
        with active.turn:
            if active.conversation is None:
                now = self._clock()
                with self._database.reading() as connection:
                    self._master.check(connection)
                    entry = self._read(connection, handle)
                if entry is not None and entry.about.expired(now):
                    self._delete([handle], now)
                    entry = None
                days = EXPIRES_DAYS if entry is None and expires_days is None else expires_days
                if entry is None:
                    active.entry = Entry.new(handle, About(identifier, now, now, _seconds(days)))
                else:
                    active.entry = entry if days is None else entry.lasting(_seconds(days))
                active.conversation = active.entry.conversation()
                active.saved = -1 if entry is None or active.entry is not entry else active.conversation.version
            return active.conversation

    def _store(self, active: _Active, handle: bytes, synced: bool = True) -> None:
        """Write the row where something changed; an erased one stays erased."""
        with active.turn:
            entry, conversation = active.entry, active.conversation
            if entry is None or conversation is None or active.erased:
                return
            now, version = self._clock(), conversation.version
            if version == active.saved and not entry.about.stale(now):
                return
            following = entry.following(conversation, now)
            row = following.sealed(self._master)
            with self._database.writing(synced) as connection:
                self._master.check(connection)
                if not entry.version:
                    connection.execute(f"INSERT INTO conversations ({COLUMNS}) VALUES (?, ?, ?, ?, ?)", row)
                else:
                    done = connection.execute(
                        f"UPDATE conversations SET ({COLUMNS}) = (?, ?, ?, ?, ?) WHERE handle = ? AND version = ?",
                        (*row, handle, entry.version),
                    )
                    active.erased = not done.rowcount
            active.entry, active.saved = following, version

    def _erase(self, handles: list[bytes], past: float | None = None) -> int:
        """Delete rows, and what this process holds of them; ``past``: only those that have expired by then."""
        gone = self._delete(handles, past)
        with self._turn:
            for handle in gone:
                active = self._active.pop(handle, None)
                if active is not None:
                    active.erased = True
        return len(gone)

    def _delete(self, handles: list[bytes], past: float | None) -> list[bytes]:
        gone = []
        if handles:
            with self._database.writing() as connection:
                for handle in handles:
                    if past is not None:  # somebody may have used it since it was looked at
                        entry = self._read(connection, handle)
                        if entry is None or not entry.about.expired(past):
                            continue
                    if connection.execute("DELETE FROM conversations WHERE handle = ?", (handle,)).rowcount:
                        gone.append(handle)
        if gone:
            self._database.settle()
        return gone


def _seconds(days: float | None) -> float | None:
    return None if days is None or math.isinf(days) else days * DAY_S
