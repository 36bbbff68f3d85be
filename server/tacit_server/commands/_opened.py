"""A server's directory and database, opened for one command."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tacit_server.deployment.database import ServerDatabase
    from tacit_server.deployment.directory import ServerDirectory

DirOption = Annotated[Path, typer.Option("--dir", help="the server's directory", metavar="DIR")]


@contextmanager
def opened(path: Path) -> Iterator[tuple["ServerDirectory", "ServerDatabase"]]:
    """Raises BadInput where there is no server, or its database cannot be used."""
    from tacit_privacy.logs import silent
    from tacit_server.deployment.database import ServerDatabase
    from tacit_server.deployment.directory import ServerDirectory

    silent()
    directory = ServerDirectory.open(path)
    with ServerDatabase(directory.database_url) as database:
        yield directory, database
