"""A vault's header: which master key opens it, and the keys that this one wraps."""

import hmac
import json
import secrets
from dataclasses import dataclass, field
from sqlite3 import Connection
from typing import Any, NamedTuple

from tacit_privacy.errors import BadInput, VaultLocked
from tacit_privacy.pii.vault.database import Database
from tacit_privacy.pii.vault.keys import VaultKey
from tacit_privacy.pii.vault.sealing import KEY_BYTES, Part, SealBroken, Sealer, derive, digest
from tacit_privacy.pii.vault.tables import HEADER, SCHEMA

FORMAT = 1
_COLUMNS = 'format, identity, generation, "key", "check", index_key'


class Header(NamedTuple):
    """The one row that says how the vault is opened."""

    format: int
    identity: bytes
    generation: int
    key: bytes
    check: bytes
    index_key: bytes

    def put(self, connection: Connection) -> None:
        """In place of the one that is there."""
        connection.execute(f"DELETE FROM {HEADER}")
        connection.execute(f"INSERT INTO {HEADER} ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", self)


@dataclass(frozen=True)
class Fresh:
    """What a vault that is still to be made is locked by. Had before its file, so that no key means no file."""

    identity: bytes
    secret: bytes = field(repr=False)
    parameters: dict[str, Any]

    @classmethod
    def by(cls, key: VaultKey) -> "Fresh":
        """Raises VaultLocked, BadInput."""
        identity = secrets.token_bytes(16)
        return cls(identity, *key.create(f"{identity.hex()}-1"))


class Master:
    """What an opened vault knows: never the master key itself, only what is derived from it."""

    def __init__(self, identity: bytes, generation: int, wrapping: bytes, index_key: bytes) -> None:
        self.identity, self.generation = identity, generation
        self._wrapping = Sealer(wrapping)
        self._index_key = index_key
        self.digest_key = derive(index_key, "digest")
        self.index = Sealer(derive(index_key, "index"))

    @classmethod
    def open(cls, database: Database, key: VaultKey, create: bool = True, fresh: "Fresh | None" = None) -> "Master":
        """Read the header, or write the one of a new vault. Raises VaultLocked, BadInput."""
        with database.reading() as connection:
            found = header_of(connection, database)
        if found is None and not create:
            raise BadInput(f"{database.path} is empty, no vault; name the file that tacit redact --vault made")
        if found is None:
            with database.writing() as connection:  # of two that make the same vault, one finds it made
                found = header_of(connection, database)
                if found is None:
                    return _made(connection, key, fresh or Fresh.by(key))
        return _unlocked(found, key)

    def check(self, connection: Connection) -> None:
        """Raises VaultLocked where the master key was changed since the vault was opened."""
        found = connection.execute(f"SELECT generation FROM {HEADER}").fetchone()
        if found is None or found[0] != self.generation:
            raise VaultLocked("the vault's key was changed meanwhile; open the vault again with the new one")

    def wrap(self, data_key: bytes, *place: Part) -> bytes:
        return self._wrapping.seal(data_key, self.identity, *place)

    def unwrap(self, wrapped: bytes, *place: Part) -> bytes:
        """Raises BadInput."""
        return self.opened(self._wrapping, wrapped, *place)

    def opened(self, sealer: Sealer, sealed: bytes, *place: Part) -> bytes:
        """Open what belongs at ``place`` in this vault. Raises BadInput where it was damaged or stood elsewhere."""
        try:
            return sealer.open(sealed, self.identity, *place)
        except SealBroken:
            raise BadInput(
                "the vault is damaged: an entry does not fit its seal; restore it from a copy or erase it"
            ) from None

    def rotate(self, database: Database, key: VaultKey) -> None:
        """One transaction: every wrapped key is wrapped anew, and the header names the new source."""
        generation = self.generation + 1
        secret, parameters = key.create(f"{self.identity.hex()}-{generation}")
        following = Master(self.identity, generation, derive(secret, "wrap", self.identity), self._index_key)
        with database.writing() as connection:
            self.check(connection)
            for table, column in (("conversations", "handle"), ("kinds", "kind")):
                for place, wrapped in connection.execute(f"SELECT {column}, data_key FROM {table}").fetchall():
                    again = following.wrap(self.unwrap(wrapped, table, place), table, place)
                    connection.execute(f"UPDATE {table} SET data_key = ? WHERE {column} = ?", (again, place))
            following.header(key.kind, parameters, secret).put(connection)
        self.generation, self._wrapping = generation, following._wrapping

    def header(self, kind: str, parameters: dict[str, Any], secret: bytes) -> Header:
        """The source's parameters are in clear, and bound into the index key's wrapping."""
        source = json.dumps({"kind": kind, "parameters": parameters}, sort_keys=True).encode()
        index_key = self.wrap(self._index_key, "header", self.generation, source)
        return Header(FORMAT, self.identity, self.generation, source, _check(secret, self.identity), index_key)


def header_of(connection: Connection, database: Database) -> Header | None:
    """The header of a vault, None in a file that is empty. Raises BadInput where it is something else's database."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return None
    row = None
    if HEADER.encode() in tables:
        row = connection.execute(f"SELECT {_COLUMNS} FROM {HEADER}").fetchone()
    if row is None:
        raise BadInput(f"{database.path} is a database, but no vault; name another file")
    found = Header(*row)
    if not all(isinstance(value, bytes) for value in (found.identity, found.key, found.check, found.index_key)):
        raise BadInput(f"the header of the vault {database.path} is damaged; restore the vault from a copy")
    if found.format != FORMAT:
        raise BadInput(
            f"the vault {database.path} has format {found.format}, which this Tacit does not know; upgrade it"
        )
    return found


def source_of(header: Header) -> dict[str, Any]:
    """``{"kind", "parameters"}`` as the header states them. Raises BadInput."""
    try:
        found = json.loads(header.key)
        return {"kind": str(found["kind"]), "parameters": dict(found["parameters"])}
    except (ValueError, KeyError, TypeError):
        raise BadInput("the vault's header is damaged; restore the vault from a copy") from None


def _made(connection: Connection, key: VaultKey, fresh: Fresh) -> Master:
    for statement in SCHEMA:
        connection.execute(statement)
    wrapping = derive(fresh.secret, "wrap", fresh.identity)
    master = Master(fresh.identity, 1, wrapping, secrets.token_bytes(KEY_BYTES))
    master.header(key.kind, fresh.parameters, fresh.secret).put(connection)
    return master


def _unlocked(header: Header, key: VaultKey) -> Master:
    source = source_of(header)
    if source["kind"] != key.kind:
        raise VaultLocked(f"the vault is locked by a {WORDS.get(source['kind'], source['kind'])}; give that one")
    secret = key.unlock(source["parameters"])
    if not hmac.compare_digest(_check(secret, header.identity), header.check):
        where = ", by --key file:PATH or TACIT_VAULT_KEY" if key.kind == "file" else ""
        raise VaultLocked(
            f"this is not the vault's {WORDS.get(key.kind, key.kind)}; nothing was read: give the right one{where}"
        )
    wrapping = derive(secret, "wrap", header.identity)
    try:
        index_key = Sealer(wrapping).open(header.index_key, header.identity, "header", header.generation, header.key)
    except SealBroken:
        raise BadInput("the vault's header is damaged; restore the vault from a copy") from None
    return Master(header.identity, header.generation, wrapping, index_key)


WORDS = {"file": "key file", "credential": "systemd credential", "keyring": "keyring entry", "raw": "key"}


def _check(secret: bytes, identity: bytes) -> bytes:
    return digest(derive(secret, "check", identity), "check")
