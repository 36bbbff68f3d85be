"""The database of a deployment: the ledger's tables and the server's own, in one place."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from tacit_privacy.ledger.database import begin, open_database
from tacit_server.store.database import TABLES


class ServerDatabase:
    """Opened once by a process; raises BadInput, one sentence, where that cannot be done."""

    def __init__(self, url: str) -> None:
        self.engine: Engine = open_database(url, TABLES)

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """One transaction: stored whole when the block ends, not at all when it raises."""
        with begin(self.engine) as session:
            yield session

    def close(self) -> None:
        self.engine.dispose()

    def __enter__(self) -> "ServerDatabase":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
