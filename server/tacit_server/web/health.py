"""Whether the server lives, whether it is ready, and its metrics."""

import time

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tacit_privacy.errors import TacitError
from tacit_server.deployment import certificates, status
from tacit_server.deployment.database import ServerDatabase
from tacit_server.deployment.directory import ServerDirectory
from tacit_server.web.counting import Counts
from tacit_server.web.wall import from_this_machine


class Health:
    """``/health`` answers while the process does; ``/ready`` once the database does, too; ``/metrics`` this machine."""

    def __init__(self, directory: ServerDirectory, database: ServerDatabase, counts: Counts) -> None:
        self._directory, self._database, self._counts = directory, database, counts

    def routes(self) -> list[Route]:
        return [
            Route("/health", self._health),
            Route("/ready", self._ready),
            Route("/metrics", self._metrics),
        ]

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _ready(self, request: Request) -> Response:
        try:
            await run_in_threadpool(self._look)
        except TacitError:
            return JSONResponse({"status": "the database does not answer"}, 503)
        return JSONResponse({"status": "ready"})

    def _look(self) -> None:
        with self._database.begin() as session:
            status.counts(session)

    async def _metrics(self, request: Request) -> Response:
        if not from_this_machine(request.scope):
            return PlainTextResponse(
                "metrics are for this machine; scrape them through a tunnel or a local agent\n", 403
            )
        text = await run_in_threadpool(self._text)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    def _text(self) -> bytes:
        """Counters of this process, and gauges of what the database says now."""
        with self._database.begin() as session:
            found = status.counts(session)
        left = certificates.expires(self._directory.certificate).timestamp() - time.time()
        gauges = {**found, "certificate_seconds_left": left}
        lines = [f"# TYPE tacit_{name} gauge\ntacit_{name} {value:g}\n" for name, value in gauges.items()]
        return self._counts.text() + "".join(lines).encode()
