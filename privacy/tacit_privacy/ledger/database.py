"""Opening a database: SQLite or PostgreSQL, its tables brought up to date, one writer at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import Session

from tacit_privacy.errors import BadInput

if TYPE_CHECKING:
    from alembic.config import Config

PRIVACY_TABLES = (Path(__file__).parent / "migrations", "tacit_privacy_version")
Lineage = tuple[Path, str]  # a folder of migrations, and the table that says how far they went


def open_database(url: str, *lineages: Lineage) -> Engine:
    """An engine whose tables are up to date: the ground floor's own, then those of ``lineages``.

    ``url``: ``sqlite:///path`` or ``postgresql://user@host/name``. Raises BadInput, one sentence, where it cannot be
    opened, or was written by a newer Tacit.
    """
    with explained():
        engine = create_engine(_with_driver(url))
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_as_writer)
        try:
            for folder, table in (PRIVACY_TABLES, *lineages):
                _upgrade(engine, folder, table)
        except BaseException:
            engine.dispose()
            raise
    return engine


@contextmanager
def begin(engine: Engine) -> Iterator[Session]:
    """One transaction: stored whole when the block ends, not at all when it raises."""
    with explained(), Session(engine) as session, session.begin():
        yield session


def exclusive(session: Session, lock: int) -> None:
    """Let nobody else in who asks for ``lock`` until the caller's transaction ends: what is read from here on, of what
    all ask for it before they change it, stays true.

    On PostgreSQL by an advisory lock; SQLite has one writer at a time anyway (``open_database`` begins transactions as
    one).
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})


@contextmanager
def explained() -> Iterator[None]:
    """Errors of the database as one sentence, without what was to be stored."""
    try:
        yield
    except (SQLAlchemyError, ArgumentError) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise BadInput(f"the run's database cannot be used: {reason}; check the disk and who else has it") from error


def _with_driver(url: str) -> str:
    parsed = make_url(url)
    if parsed.get_backend_name() not in ("sqlite", "postgresql", "postgres"):
        raise BadInput(
            f"{parsed.get_backend_name()} is no database that Tacit knows; write postgresql://user@host/name"
        )
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
        try:
            import psycopg  # noqa: F401  # an optional driver: asked for here, to say what to type
        except ImportError as error:
            raise BadInput("PostgreSQL needs its driver: pip install 'tacit[postgres]'") from error
    return parsed.render_as_string(hide_password=False)


def pending(url: str, *lineages: Lineage) -> list[str]:
    """What opening a database would bring up to date, the oldest revision first; nothing is changed.

    Raises BadInput, one sentence, where it is not there, cannot be asked, or was written by a newer Tacit.
    """
    with explained():
        parsed = make_url(_with_driver(url))
        if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
            raise BadInput(f"there is no database {parsed.database}; restore it from a copy")
        engine = create_engine(parsed)
        try:
            with engine.connect() as connection:
                return [name for lineage in (PRIVACY_TABLES, *lineages) for name in _missing(connection, *lineage)]
        finally:
            engine.dispose()


def _config(folder: Path) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _missing(connection: Connection, folder: Path, table: str) -> list[str]:
    """Revisions of a lineage that the database does not have yet, the oldest first. Raises BadInput."""
    from alembic.script import ScriptDirectory

    found = _version(connection, table)
    known = [script.revision for script in ScriptDirectory.from_config(_config(folder)).walk_revisions()][::-1]
    if found is not None and found not in known:
        raise BadInput(f"the database has schema {found}, which this Tacit does not know; upgrade Tacit")
    return known if found is None else known[known.index(found) + 1 :]


def _upgrade(engine: Engine, folder: Path, table: str) -> None:
    """Run what migrations are missing, each lineage in one transaction that other openers wait for."""
    if _is_newest(engine, folder, table):
        return
    from alembic import command
    from alembic.util import CommandError

    config = _config(folder)
    with engine.begin() as connection:
        _one_at_a_time(connection)
        _missing(connection, folder, table)
        config.attributes["connection"], config.attributes["table"] = connection, table
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise BadInput(f"the database cannot be brought up to date: {error}; restore it from a copy") from error


def _is_newest(engine: Engine, folder: Path, table: str) -> bool:
    """Whether there is nothing to migrate, as nearly always: without Alembic, which takes longer to load than to ask.

    A migration's file begins with its revision, and they sort by age.
    """
    newest = max(path.name for path in (folder / "versions").glob("[!_]*.py")).partition("_")[0]
    with engine.connect() as connection:
        if not inspect(connection).has_table(table):
            return False
        return [newest] == list(connection.scalars(text(f'SELECT version_num FROM "{table}"')))


def _version(connection: Connection, table: str) -> str | None:
    from alembic.migration import MigrationContext

    return MigrationContext.configure(connection, opts={"version_table": table}).get_current_revision()


def _one_at_a_time(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('tacit migrations'))")


def _prepare_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # the driver's own transactions would begin late, as readers
    cursor = connection.cursor()
    # cache_size: 16 MB, so that a checkpoint of megabytes is not written twice in one transaction
    for pragma in (
        *("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"),
        "cache_size=-16000",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_as_writer(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
