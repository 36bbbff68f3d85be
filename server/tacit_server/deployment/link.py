"""The process that the world reaches: Flower's SuperLink behind the wall, and Tacit's own interface beside it.

``python -m tacit_server.deployment.link DIRECTORY``; ``tacit server up`` starts it.
"""

import asyncio
import contextlib
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.logs import configure
from tacit_server.deployment import admission
from tacit_server.deployment.database import ServerDatabase
from tacit_server.deployment.directory import ServerDirectory
from tacit_server.deployment.plain_logs import adopt
from tacit_server.flower_post import Post
from tacit_server.flower_seam import Nodes, SuperLinkFiles, run_superlink
from tacit_server.store.tables import DeviceRow
from tacit_server.web.app import build
from tacit_server.web.counting import Counts
from tacit_server.web.mail import Mail
from tacit_server.web.wall import Wall

_RECONCILE_S = 1.0
_log = structlog.get_logger("tacit.link")


class Roll:
    """Keeps SuperLink's list of nodes the same as the database's list of admitted devices.

    The database is right; SuperLink's own can be lost and is made anew. A node that no admitted device is any more, as
    that of a device that came back under new keys, is forgotten.
    """

    def __init__(self, database: ServerDatabase) -> None:
        self._database = database
        self._nodes: Nodes | None = None
        self._turn = threading.Lock()
        self._troubles: dict[int, str] = {}  # by device

    def begin(self, application: Any) -> None:
        """With SuperLink's application, once it is there: register everybody."""
        self._nodes = Nodes(application)
        self.reconcile()

    def register(self, node_key: str) -> str:
        """A node's number, for a device that was just admitted."""
        return "" if self._nodes is None else self._nodes.register(node_key)

    def reconcile(self) -> None:
        """Register who was admitted since, and forget who was revoked, left or has another node now."""
        if self._nodes is None:
            return
        with self._turn, self._database.begin() as session:
            admission.alone(session)  # else a node that is being admitted is taken for one that was
            known = self._nodes.registered()
            rows = admission.devices(session)
            for row in rows:
                try:
                    self._bring_up_to_date(self._nodes, row, known)
                except Exception as error:  # of one device: the others' revocations are not to wait for it
                    self._tell(row.number, f"{type(error).__name__}: {error}")
                else:
                    self._troubles.pop(row.number, None)
            for node in known - {row.node_id for row in rows}:
                self._nodes.forget(int(node))

    def _bring_up_to_date(self, nodes: Nodes, row: DeviceRow, known: frozenset[str]) -> None:
        if row.state != "admitted":
            row.node_id = ""
        elif row.node_key and row.node_id not in known:
            row.node_id = nodes.register(row.node_key)

    def _tell(self, number: int, why: str) -> None:
        """Once, not with every turn."""
        if self._troubles.get(number) != why:
            _log.error("a device's node could not be brought up to date", device=number, why=why)
        self._troubles[number] = why


class Link:
    """The wall, with what it needs while SuperLink's application lives."""

    def __init__(self, superlink: ASGIApp, directory: ServerDirectory) -> None:
        self._database = ServerDatabase(directory.database_url)
        settings, counts, mail, self._post = directory.settings, Counts(), Mail(), Post()
        self._mail = mail
        self._roll = Roll(self._database)
        key = SigningKey.load(directory.signing_key)
        web = build(directory, self._database, key, mail, counts, self._roll.register, self._post)
        secret = directory.link_secret.read_bytes()
        self._wall = Wall(superlink, web, secret, settings.listen.max_body_bytes, mail.arrived, counts)
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._wall(scope, receive, send)
            return
        adopt("link")
        _before_end(self._mail.release)
        await asyncio.to_thread(self._roll.begin, scope["app"])
        self._post.begin(scope["app"])
        self._task = asyncio.create_task(self._reconciling())
        try:
            await self._wall(scope, receive, send)
        finally:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._database.close()

    async def _reconciling(self) -> None:
        while True:
            await asyncio.sleep(_RECONCILE_S)
            try:
                await asyncio.to_thread(self._roll.reconcile)
            except Exception as error:  # the next turn tries again; devices that are known go on
                _log.error("nodes could not be reconciled", kind=type(error).__name__)


def _before_end(release: Callable[[], None]) -> None:
    """When the process is told to end, let go of requests that wait: uvicorn waits for them. From the loop's thread."""
    loop, ends = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)

    def ending(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(release)
        if callable(ends):
            ends(number, frame)

    signal.signal(signal.SIGTERM, ending)


def main(path: str) -> None:
    directory = ServerDirectory.open(Path(path))
    configure("link")
    adopt("link")
    listen = directory.settings.listen
    files = SuperLinkFiles(
        host=listen.host,
        port=listen.port,
        authority=directory.authority,
        certificate=directory.certificate,
        key=directory.certificate_key,
        database=directory.superlink_database,
        secret=directory.link_secret,
    )
    run_superlink(files, lambda superlink: Link(superlink, directory))


if __name__ == "__main__":
    main(sys.argv[1])
