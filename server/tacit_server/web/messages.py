"""Rounds' messages, whole: three requests of devices, and two of this server's own coordinators."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tacit_privacy.errors import BadInput, RequestRefused, RunOver
from tacit_server.flower_post import COHORT, Post
from tacit_server.web.counting import Counts
from tacit_server.web.mail import Mail
from tacit_server.web.wall import note_refusal

MESSAGES: Final = "/v1/tacit/messages/"


class MessageInterface:
    """Nodes prove themselves as they do to Flower. The wall keeps all but this server's processes from a cohort's."""

    def __init__(self, post: Post, mail: Mail, counts: Counts) -> None:
        self._post, self._mail, self._counts = post, mail, counts

    def routes(self) -> list[Route]:
        handlers = {
            f"{MESSAGES}next": self._next,
            f"{MESSAGES}confirm": self._confirm,
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
                note_refusal(self._counts, request.scope, why)
                return PlainTextResponse(f"refused: {why}\n", 401 if why == "node" else 400)
            return Response(found, media_type="application/octet-stream")

        return answer

    async def _next(self, request: Request, body: bytes) -> bytes:
        return await self._counted("next", self._post.next_of, request, body)

    async def _confirm(self, request: Request, body: bytes) -> bytes:
        return await self._counted("confirm", self._post.confirm, request, body)

    async def _reply(self, request: Request, body: bytes) -> bytes:
        return await self._counted("reply", self._post.reply, request, body)

    async def _counted(
        self, call: str, step: Callable[[Mapping[str, str], bytes], bytes], request: Request, body: bytes
    ) -> bytes:
        found = await run_in_threadpool(step, request.headers, body)
        self._counts.fleet(call, len(body), len(found))
        return found

    async def _push(self, request: Request, body: bytes) -> bytes:
        found, nodes = await run_in_threadpool(self._post.push, body)
        self._mail.arrived(nodes)
        return found

    async def _pull(self, request: Request, body: bytes) -> bytes:
        return await run_in_threadpool(self._post.pull, body)
