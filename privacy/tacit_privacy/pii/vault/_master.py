"""A vault's header: which master key opens it, and the keys that this one wraps."""

import hmac
import json
import secrets
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, inspect, select, update

from tacit_privacy.errors import BadInput, VaultLocked
from tacit_privacy.pii.vault.database import Database
from tacit_privacy.pii.vault.keys import VaultKey
from tacit_privacy.pii.vault.sealing import KEY_BYTES, Part, SealBroken, Sealer, derive, digest
from tacit_privacy.pii.vault.tables import VAULT, conversations, header, kinds

FORMAT = 1


class Master:
    """What an opened vault knows: never the master key itself, only what is derived from it."""

    def __init__(self, identity: bytes, generation: int, wrapping: bytes, index_key: bytes) -> None:
        self.identity, self.generation = identity, generation
        self._wrapping = Sealer(wrapping)
        self._index_key = index_key
        self.digest_key = derive(index_key, "digest")
        self.index = Sealer(derive(index_key, "index"))

    @classmethod
    def open(cls, database: Database, key: VaultKey, create: bool = True) -> "Master":
        """Read the header, or write the one of a new vault. Raises VaultLocked, BadInput."""
        with database.reading() as connection:
            found = header_of(connection, database)
        if found is None and not create:
            raise BadInput(f"{database.path} is empty, no vault; name the file that tacit redact --vault made")
        if found is None:
            with database.writing() as connection:  # of two that make the same vault, one finds it made
                found = header_of(connection, database)
                if found is None:
                    return _made(connection, key)
        return _unlocked(found, key)

    def check(self, connection: Connection) -> None:
        """Raises VaultLocked where the master key was changed since the vault was opened."""
        if connection.execute(select(header.c.generation)).scalar() != self.generation:
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
            for table, name in ((conversations, "conversations"), (kinds, "kinds")):
                column = next(iter(table.primary_key.columns))
                for place, wrapped in connection.execute(select(column, table.c.data_key)).all():
                    again = following.wrap(self.unwrap(wrapped, name, place), name, place)
                    connection.execute(update(table).where(column == place).values(data_key=again))
            connection.execute(delete(header))
            connection.execute(insert(header).values(**following.row(key.kind, parameters, secret)))
        self.generation, self._wrapping = generation, following._wrapping

    def row(self, kind: str, parameters: dict[str, Any], secret: bytes) -> dict[str, Any]:
        """The header: the source's parameters are in clear, and bound into the index key's wrapping."""
        source = json.dumps({"kind": kind, "parameters": parameters}, sort_keys=True).encode()
        return {
            "format": FORMAT,
            "identity": self.identity,
            "generation": self.generation,
            "key": source,
            "check": _check(secret, self.identity),
            "index_key": self.wrap(self._index_key, "header", self.generation, source),
        }


def header_of(connection: Connection, database: Database) -> Row[Any] | None:
    """The header of a vault, None in a file that is empty. Raises BadInput where it is something else's database."""
    tables = set(inspect(connection).get_table_names())
    if not tables:
        return None
    row = connection.execute(select(header)).first() if header.name in tables else None
    if row is None:
        raise BadInput(f"{database.path} is a database, but no vault; name another file")
    if not all(isinstance(value, bytes) for value in (row.identity, row.key, row.check, row.index_key)):
        raise BadInput(f"the header of the vault {database.path} is damaged; restore the vault from a copy")
    if row.format != FORMAT:
        raise BadInput(f"the vault {database.path} has format {row.format}, which this Tacit does not know; upgrade it")
    return row


def source_of(row: Row[Any]) -> dict[str, Any]:
    """``{"kind", "parameters"}`` as the header states them. Raises BadInput."""
    try:
        found = json.loads(row.key)
        return {"kind": str(found["kind"]), "parameters": dict(found["parameters"])}
    except (ValueError, KeyError, TypeError):
        raise BadInput("the vault's header is damaged; restore the vault from a copy") from None


def _made(connection: Connection, key: VaultKey) -> Master:
    VAULT.create_all(connection)
    identity = secrets.token_bytes(16)
    secret, parameters = key.create(f"{identity.hex()}-1")
    master = Master(identity, 1, derive(secret, "wrap", identity), secrets.token_bytes(KEY_BYTES))
    connection.execute(insert(header).values(**master.row(key.kind, parameters, secret)))
    return master


def _unlocked(row: Row[Any], key: VaultKey) -> Master:
    source = source_of(row)
    if source["kind"] != key.kind:
        raise VaultLocked(f"the vault is locked by a {WORDS.get(source['kind'], source['kind'])}; give that one")
    secret = key.unlock(source["parameters"])
    if not hmac.compare_digest(_check(secret, row.identity), row.check):
        raise VaultLocked(
            f"this is not the vault's {WORDS.get(key.kind, key.kind)}; nothing was read: give the right one"
        )
    wrapping = derive(secret, "wrap", row.identity)
    try:
        index_key = Sealer(wrapping).open(row.index_key, row.identity, "header", row.generation, row.key)
    except SealBroken:
        raise BadInput("the vault's header is damaged; restore the vault from a copy") from None
    return Master(row.identity, row.generation, wrapping, index_key)


WORDS = {"file": "key file", "credential": "systemd credential", "keyring": "keyring entry", "raw": "key"}


def _check(secret: bytes, identity: bytes) -> bytes:
    return digest(derive(secret, "check", identity), "check")
