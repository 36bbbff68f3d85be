"""The vault's tables: what stands in the file as it is are keyed digests, sealed bytes and counters, never words."""

from sqlalchemy import Column, ForeignKey, Integer, LargeBinary, MetaData, Table

VAULT = MetaData()

header = Table(
    "tacit_vault",
    VAULT,
    Column("format", Integer, primary_key=True, autoincrement=False),
    Column("identity", LargeBinary, nullable=False),  # 16 random bytes, bound into every seal of this file
    Column("generation", Integer, nullable=False),  # grows when the master key changes
    Column("key", LargeBinary, nullable=False),  # JSON: where the master key is kept, and scrypt's parameters
    Column("check", LargeBinary, nullable=False),  # tells a wrong key from a damaged file
    Column("index_key", LargeBinary, nullable=False),  # wrapped by the master key; makes every digest below
)

conversations = Table(
    "conversations",
    VAULT,
    Column("handle", LargeBinary, primary_key=True),  # digest of the identifier
    Column("version", Integer, nullable=False),  # grows with every write, and is bound into both seals
    Column("data_key", LargeBinary, nullable=False),  # wrapped by the master key: erasing it erases the row
    Column("about", LargeBinary, nullable=False),  # sealed: identifier, times, size
    Column("state", LargeBinary, nullable=False),  # sealed: the map
)

aliases = Table(
    "aliases",
    VAULT,
    Column("alias", LargeBinary, primary_key=True),  # digest of a response's identifier or of a transcript's prefix
    Column("handle", LargeBinary, ForeignKey("conversations.handle", ondelete="CASCADE"), nullable=False, index=True),
    Column("sealed", LargeBinary, nullable=False),  # proves that alias and handle belong together
)

kinds = Table(
    "kinds",
    VAULT,
    Column("kind", LargeBinary, primary_key=True),  # digest of the name
    Column("data_key", LargeBinary, nullable=False),
)

records = Table(
    "records",
    VAULT,
    Column("number", Integer, primary_key=True),
    Column("kind", LargeBinary, ForeignKey("kinds.kind", ondelete="CASCADE"), nullable=False, index=True),
    Column("expires", Integer, index=True),  # seconds since 1970, in whole days; NULL: kept until erased
    Column("sealed", LargeBinary, nullable=False),
    sqlite_autoincrement=True,  # an erased record's number never comes back: it is bound into the seal
)
