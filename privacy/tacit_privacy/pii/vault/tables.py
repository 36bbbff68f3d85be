"""The vault's tables: what stands in the file as it is are keyed digests, sealed bytes and counters, never words."""

from typing import Final

HEADER: Final = "tacit_vault"
SCHEMA: Final = (
    f"""
    CREATE TABLE {HEADER} (
        format INTEGER NOT NULL PRIMARY KEY,
        identity BLOB NOT NULL,       -- 16 random bytes, bound into every seal of this file
        generation INTEGER NOT NULL,  -- grows when the master key changes
        "key" BLOB NOT NULL,          -- JSON: where the master key is kept, and scrypt's parameters
        "check" BLOB NOT NULL,        -- tells a wrong key from a damaged file
        index_key BLOB NOT NULL       -- wrapped by the master key; makes every digest below
    )
    """,
    """
    CREATE TABLE conversations (
        handle BLOB NOT NULL PRIMARY KEY,  -- digest of the identifier
        version INTEGER NOT NULL,          -- grows with every write, and is bound into both seals
        data_key BLOB NOT NULL,            -- wrapped by the master key: erasing it erases the row
        about BLOB NOT NULL,               -- sealed: identifier, times, size
        state BLOB NOT NULL                -- sealed: the map
    )
    """,
    """
    CREATE TABLE aliases (
        alias BLOB NOT NULL PRIMARY KEY,  -- digest of a response's identifier or of a transcript's prefix
        handle BLOB NOT NULL REFERENCES conversations (handle) ON DELETE CASCADE,
        sealed BLOB NOT NULL              -- proves that alias and handle belong together
    )
    """,
    "CREATE INDEX ix_aliases_handle ON aliases (handle)",
    """
    CREATE TABLE kinds (
        kind BLOB NOT NULL PRIMARY KEY,  -- digest of the name
        data_key BLOB NOT NULL
    )
    """,
    """
    CREATE TABLE records (
        number INTEGER PRIMARY KEY AUTOINCREMENT,  -- bound into the seal, so an erased one never comes back
        kind BLOB NOT NULL REFERENCES kinds (kind) ON DELETE CASCADE,
        expires INTEGER,  -- seconds since 1970, in whole days; NULL: kept until erased
        sealed BLOB NOT NULL
    )
    """,
    "CREATE INDEX ix_records_kind ON records (kind)",
    "CREATE INDEX ix_records_expires ON records (expires)",
)
