"""Rounds' messages, whole: two requests of devices, and two of this server's own coordinators."""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tacit_privacy.errors import BadInput, RequestRefused, RunOver
from tacit_server.flower_post import COHORT, Post
from tacit_server.web.counting import Counts
from tacit_server.web.mail import Mail

MESSAGES: Final = "/v1/tacit/messages/"


class MessageInterface:
    """Nodes prove themselves as they do to Flower. The wall keeps all but this server's processes from a cohort's."""

    def __init__(self, post: Post, mail: Mail, counts: Counts) -> None:
        self._post, self._mail, self._counts = post, mail, counts

    def routes(self) -> list[Route]:
        handlers = {
            f"{MESSAGES}next": self._next,
            f"{MESSAGES}reply": self._reply,
            f"{COHORT}push": self._push,
            f"{COHORT}pull": self._pull,
        }
        return [Route(path, self._answering(handler), methods=["POST"]) for path, handler in handlers.items()]

    def _answering(
        self, handler: Callable[[Request, bytes], Awaitable[bytes]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                found = await handler(request, await request.body())
            except RunOver:
                return PlainTextResponse("the run is over\n", 412)
            except (RequestRefused, BadInput, ValueError) as refused:
                why = refused.reason if isinstance(refused, RequestRefused) else "malformed"
                self._counts.refused(why)
                return PlainTextResponse(f"refused: {why}\n", 401 if why == "node" else 400)
            return Response(found, media_type="application/octet-stream")

        return answer

    async def _next(self, request: Request, body: bytes) -> bytes:
        found = await run_in_threadpool(self._post.next_of, request.headers, body)
        self._counts.fleet("next-message", len(body), len(found))
        return found

    async def _reply(self, request: Request, body: bytes) -> bytes:
        found = await run_in_threadpool(self._post.reply, request.headers, body)
        self._counts.fleet("reply", len(body), len(found))
        return found

    async def _push(self, request: Request, body: bytes) -> bytes:
        found, nodes = await run_in_threadpool(self._post.push, body)
        self._mail.arrived(nodes)
        return found

    async def _pull(self, request: Request, body: bytes) -> bytes:
        return await run_in_threadpool(self._post.pull, body)
