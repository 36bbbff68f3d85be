"""A server's database as one file, as of one moment, while others write to it; and back into an empty one."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import URL, Connection, create_engine, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from tacit_privacy.errors import BadInput
from tacit_privacy.ledger.chain import Ledger
from tacit_privacy.ledger.database import explained
from tacit_privacy.ledger.transfer import present_key
from tacit_server.deployment.archive import DUMPS, Kind
from tacit_server.deployment.database import ServerDatabase

READER: Final = Ledger(lambda _: b"", lambda: 0.0)  # signs nothing
_PATIENCE_S: Final = 10.0  # for a writer to end
_AS_IT_IS: Final = ("--no-owner", "--no-privileges")  # whoever restores it owns it


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a ledger stands: its length, its newest entry's hash and the key that signs it; no key before it begins."""

    entries: int
    head: str
    signer: str

    @classmethod
    def of(cls, session: Session) -> "Standing":
        entries = READER.length(session)
        return cls(entries, READER.head(session), present_key(session) if entries else "")


@dataclass(frozen=True, slots=True)
class Dump:
    """A database in a file, and where its ledger stood at that moment."""

    kind: Kind
    ledger: Standing


def dump(database: ServerDatabase, folder: Path) -> Dump:
    """Write the whole database to a file in ``folder``. Raises BadInput."""
    url = database.engine.url
    if database.engine.dialect.name == "sqlite":
        return _dump_sqlite(Path(url.database or ""), folder / DUMPS["sqlite"])
    with explained(), database.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        return _dump_postgresql(connection, url, folder / DUMPS["postgresql"])


def load(url: str, path: Path) -> None:
    """Fill an empty PostgreSQL database from a dump, whole or not at all. Raises BadInput."""
    if not _is_empty(url):
        raise BadInput("the database that the backup would go into is not empty; name an empty one")
    place = make_url(url)
    whole = ("--single-transaction", "--exit-on-error")
    _run(["pg_restore", *_AS_IT_IS, *whole, f"--dbname={_libpq(place)}", str(path)], place)


def _is_empty(url: str) -> bool:
    """Whether a database holds no table at all. Raises BadInput where it cannot be asked."""
    with explained():
        engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
        try:
            return not inspect(engine).get_table_names()
        finally:
            engine.dispose()


def _dump_sqlite(source: Path, target: Path) -> Dump:
    """One read transaction, so that writers go on; and no free page, so that what was erased stays behind."""
    try:
        with closing(sqlite3.connect(source, timeout=_PATIENCE_S)) as connection:
            connection.execute("VACUUM INTO ?", (str(target),))
    except sqlite3.Error as error:
        raise BadInput(f"the database cannot be copied: {error}; check the disk and who else has it") from error
    engine = create_engine(f"sqlite:///{target}")
    try:
        with explained(), Session(engine) as session:
            return Dump("sqlite", Standing.of(session))
    finally:
        engine.dispose()


def _dump_postgresql(connection: Connection, url: URL, target: Path) -> Dump:
    """The ledger's standing and the dump are of one snapshot."""
    snapshot = connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one()
    with Session(connection) as session:
        found = Standing.of(session)
        words = ["pg_dump", *_AS_IT_IS, "--format=custom", f"--snapshot={snapshot}", f"--file={target}"]
        _run([*words, f"--dbname={_libpq(url)}"], url)
    return Dump("postgresql", found)


def _run(words: Sequence[str], url: URL) -> None:
    """The password goes by the environment: everybody may read a list of processes."""
    program, *arguments = words
    environment = os.environ | ({"PGPASSWORD": str(url.password)} if url.password else {})
    done = subprocess.run([_program(program), *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        why = next((line for line in done.stderr.splitlines() if line.strip()), f"exit code {done.returncode}")
        raise BadInput(f"the database cannot be moved: {why}; check it, and that {program} is of its version")


def _program(name: str) -> Path:
    """Beside the PostgreSQL that pg_config tells of, else on the path. Raises BadInput."""
    config = shutil.which("pg_config")
    if config is not None:
        told = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False).stdout.strip()
        if (Path(told) / name).is_file():
            return Path(told) / name
    found = shutil.which(name)
    if found is None:
        raise BadInput(f"{name} is not installed, which PostgreSQL is copied by; install PostgreSQL's client programs")
    return Path(found)


def _libpq(url: URL) -> str:
    return url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
