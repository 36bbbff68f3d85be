"""The first thing that every request meets: what outsiders may reach, how much they may send, where it goes.

Flower's SuperLink serves its fleet, its control interface and its runtime on one port, and asks nobody who he is at the
control interface. Here the fleet is open to nodes, the control interface needs the server's own secret, and the runtime
answers this machine alone.
"""

import hmac
import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tacit_server.flower_post import COHORT
from tacit_server.flower_seam import CONTROL, FLEET, PUSHED, RUNTIME, SECRET_HEADER, pushed_to
from tacit_server.web.counting import Counts

_log = structlog.get_logger("tacit.web")
_REFUSING = frozenset({400, 401, 403, 404, 415, 422})  # not 412: a reply that comes after its run is nobody's fault
_CLOSED = frozenset({f"{FLEET}register-node", f"{FLEET}unregister-node"})  # enrolment takes their place
_PASSED_ON = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-real-ip"})
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"strict-transport-security", b"max-age=31536000"),
)


class Wall:
    """``superlink`` is Flower's application, ``web`` ours; ``mail`` is told which nodes have messages waiting."""

    def __init__(
        self,
        superlink: ASGIApp,
        web: ASGIApp,
        secret: bytes,
        longest: int,
        mail: Callable[[frozenset[int]], None],
        counts: Counts,
    ) -> None:
        self._superlink, self._web, self._secret = superlink, web, secret.hex()
        self._longest, self._mail, self._counts = longest, mail, counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._superlink(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, _with_headers(send))

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path.startswith(RUNTIME) and from_this_machine(scope):
            await self._superlink(scope, receive, send)  # its ServerApps send whole cohorts at once
            if path == PUSHED:
                self._mail(pushed_to(scope))
            return
        internal = path.startswith((RUNTIME, CONTROL, COHORT)) and not self._ours(scope)
        if internal or path in _CLOSED:
            await self._refuse(scope, receive, send, 403, "closed")
            return
        if path.startswith(COHORT):
            await self._web(scope, receive, send)  # whole cohorts, too
            return
        declared = _declared(scope)
        if declared is None or declared > self._longest:
            await self._refuse(scope, receive, send, 411 if declared is None else 413, "oversized")
            return
        inner = self._superlink if path.startswith((FLEET, CONTROL)) else self._web
        if not path.startswith(FLEET):
            await inner(scope, _bounded(receive, declared), send)
            return
        answered = _Answer(send)
        await inner(scope, _bounded(receive, declared), answered)
        self._counts.fleet(path.removeprefix(FLEET), declared, answered.total)
        if answered.status in _REFUSING:
            self._tell(scope, str(answered.status))

    def _ours(self, scope: Scope) -> bool:
        shown = _headers(scope).get(SECRET_HEADER, "")
        return from_this_machine(scope) and hmac.compare_digest(shown.encode(), self._secret.encode())

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, status: int, why: str) -> None:
        self._tell(scope, why)
        await PlainTextResponse(f"refused: {why}\n", status)(scope, receive, send)

    def _tell(self, scope: Scope, why: str) -> None:
        note_refusal(self._counts, scope, why)


class _Answer:
    """Passes an answer on, and knows its status and how long its body is."""

    def __init__(self, send: Send) -> None:
        self._send, self.status, self.total = send, 0, 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self.total += len(message.get("body", b""))
        await self._send(message)


def note_refusal(counts: Counts, scope: Mapping[str, Any], why: str) -> None:
    """Log and count a request that was refused; of the request itself only its path is told."""
    _log.warning("request refused", why=why, path=scope["path"][:200], address=address_of(scope))
    counts.refused(why)


def address_of(scope: Mapping[str, Any]) -> str:
    """Where a request came from; empty where that is not known."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def from_this_machine(scope: Scope) -> bool:
    """Whether the other end is on this machine: loopback, or the very address that was reached.

    Whoever comes through a proxy on this machine looks so, too; one that says that it passes something on is not taken
    for what it passes on.
    """
    if any(name in _PASSED_ON for name, _ in scope["headers"]):
        return False
    theirs, ours = address_of(scope), scope.get("server")
    try:
        return ipaddress.ip_address(theirs).is_loopback or (ours is not None and theirs == ours[0])
    except ValueError:
        return False


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _declared(scope: Scope) -> int | None:
    """How long a request says that it is; None where it does not say."""
    headers = _headers(scope)
    if "transfer-encoding" in headers:
        return None
    length = headers.get("content-length", "0")
    return int(length) if length.isascii() and length.isdigit() else None


def _bounded(receive: Receive, declared: int) -> Receive:
    """No more than was declared is taken; servers hold to that too, and this does not trust them to."""
    left = declared

    async def bounded() -> Message:
        nonlocal left
        message = await receive()
        if message["type"] == "http.request":
            left -= len(message.get("body", b""))
            if left < 0:
                return {"type": "http.disconnect"}
        return message

    return bounded


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            named = {name for name, _ in headers}
            message = {**message, "headers": [*headers, *(each for each in _HEADERS if each[0] not in named)]}
        await send(message)

    return sending
