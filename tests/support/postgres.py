"""A PostgreSQL server of a test's own, where its programs are installed."""

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import create_engine, text

_USERS = ("postgres", "nobody")


def programs() -> Path | None:
    """The folder of initdb and postgres, None where there is none."""
    config = shutil.which("pg_config")
    if config is None:
        return None
    folder = Path(subprocess.run([config, "--bindir"], capture_output=True, text=True, check=True).stdout.strip())
    return folder if (folder / "initdb").exists() and (folder / "postgres").exists() else None


@contextmanager
def cluster() -> Iterator[str]:
    """The URL of an empty database on a free port, gone afterwards. PostgreSQL refuses to run as root."""
    folder = programs()
    if folder is None:
        raise FileNotFoundError("initdb and postgres")
    user = next(name for name in _USERS if _known(name)) if os.getuid() == 0 else None
    with TemporaryDirectory(prefix="pg", dir="/tmp") as name, socket.socket() as probe:
        data = Path(name) / "data"
        if user is not None:
            shutil.chown(name, user)
        subprocess.run(
            [folder / "initdb", "-D", data, "-U", "tacit", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale", "C"],
            user=user, cwd=name, capture_output=True, check=True,
        )  # fmt: skip
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        control: list[str | Path] = [folder / "pg_ctl", "-D", data, "-w", "-t", "60"]
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={name}"
        subprocess.run([*control, "-o", options, "-l", Path(name) / "log", "start"], user=user, cwd=name, check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        try:
            yield f"postgresql://tacit@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], user=user, cwd=name, check=True,
                           stdout=subprocess.DEVNULL)  # fmt: skip


def _known(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


@contextmanager
def empty_database(server: str, name: str, like: str = "template1") -> Iterator[str]:
    """The URL of a database of its own on the cluster ``server``: empty, or a copy of that of the name ``like``."""
    admin = create_engine(server.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {like}"))
    admin.dispose()
    yield server.rpartition("/")[0] + "/" + name
