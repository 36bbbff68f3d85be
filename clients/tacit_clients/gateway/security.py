"""What stands before every route: whose request it is, where it comes from, how large it is, what errors tell."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from tacit_clients.gateway.bodies import form_of
from tacit_clients.gateway.errors import Problem, Refused, problem_of, refuse
from tacit_clients.gateway.session import (
    COOKIE,
    CSRF_FIELD,
    CSRF_HEADER,
    LINK_PATH,
    Session,
    Sessions,
    cookie_of,
    csrf_fits,
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Shown = Callable[[Problem], tuple[bytes, list[tuple[bytes, bytes]]]]  # a problem as a page for people, and its headers
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_ONCE: Final = frozenset((b"host", b"authorization", b"content-length", b"content-type", b"origin", b"cookie"))
_API: Final = ("/v1", "/metrics")
_OPEN: Final = "/static/"  # style and script of the owner's page: the same for everybody
_FORMS: Final = "/owner/"  # changes made on the owner's page, which works without a script: they may come as forms
_FORM: Final = b"application/x-www-form-urlencoded"
_MOST_HEADERS, _MOST_HEADER_BYTES = 100, 32 * 1024
_HARDENED: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


@dataclass(frozen=True)
class Rules:
    """Whom the gateway listens to."""

    hosts: frozenset[str]  # names by which it may be reached: a name of somebody else's means DNS rebinding
    token: str | None
    max_body_bytes: int
    body_s: float  # for a body to arrive


class Guard:
    """Outermost: refuses before anything is parsed; what fails inside is told by kind alone, here and in the log."""

    def __init__(
        self,
        app: App,
        rules: Rules,
        sessions: Sessions,
        told: Callable[[str, Problem], None],
        shown: Shown | None = None,
    ) -> None:
        self._app, self._rules, self._sessions, self._told, self._shown = app, rules, sessions, told, shown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        response = _Response(send)
        problem: Problem | None = None
        kind = ""
        try:
            self._admit(scope)
            receive = await self._bounded(scope, receive)
            _from_own_page(scope)
            await self._app(scope, receive, response)
        except Exception as error:
            problem, kind = problem_of(error), type(error).__name__
        if problem is not None:  # outside the handler: the error and what it carries are gone
            self._told(kind, problem)
            await response.fail(problem, self._shown if _for_people(scope) else None)

    def _admit(self, scope: Scope) -> None:
        """Raises Refused."""
        headers = _headers(scope)
        path, method = scope["path"], scope["method"]
        self._same_machine(headers)
        if method not in ("GET", "HEAD") and path != LINK_PATH:
            _json_only(headers, method, path.startswith(_FORMS))
        if path == "/health" or path.startswith(_OPEN):
            return
        if _is_api(path):
            self._bearer(headers)
        else:
            self._owner(scope, headers)

    def _same_machine(self, headers: dict[bytes, bytes]) -> None:
        """The name the client used is ours, and no web page of another origin asks."""
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if _name(host) not in self._rules.hosts:
            raise refuse(421, "wrong_host", "the request names a host that this gateway is not; see --allow-host")
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1").lower() not in (f"http://{host}", f"https://{host}"):
            raise refuse(403, "wrong_origin", "no web page of another origin may use this gateway")
        site = headers.get(b"sec-fetch-site")
        if site is not None and site not in (b"same-origin", b"none"):
            raise refuse(403, "wrong_origin", "no web page of another origin may use this gateway")

    def _bearer(self, headers: dict[bytes, bytes]) -> None:
        if self._rules.token is None:
            return
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._rules.token.encode("utf-8")):
            raise refuse(401, "invalid_api_key", "a bearer token is needed, and this is not it; see TACIT_TOKEN")

    def _owner(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Everything that is not the API is the owner's: a session's cookie, and its token for each change."""
        if scope["path"] == LINK_PATH:
            return
        session = self._sessions.find(cookie_of(headers.get(b"cookie", b"").decode("latin-1")))
        if session is None:
            raise refuse(401, "no_session", "open the one-time link that the gateway printed; each works once")
        scope.setdefault("state", {})["session"] = session

    async def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """The whole body, read before the application runs: too large or too slow a one never gets that far."""
        if scope["method"] in ("GET", "HEAD", "DELETE"):
            return receive
        most = self._rules.max_body_bytes
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not declared.isdigit() or int(declared[:20]) > most:
            raise refuse(413, "too_large", f"the body is larger than {most} bytes")
        parts: list[bytes] = []
        size, more, late = 0, True, False
        try:
            async with asyncio.timeout(self._rules.body_s):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise refuse(400, "disconnected", "the client went away")
                    parts.append(message.get("body", b""))
                    size, more = size + len(parts[-1]), message.get("more_body", False)
                    if size > most:
                        raise refuse(413, "too_large", f"the body is larger than {most} bytes")
        except TimeoutError:
            late = True
        if late:
            raise refuse(408, "too_slow", "the body did not arrive in time")
        scope.setdefault("state", {})["body"] = b"".join(parts)
        return _replayed(parts, receive)


def _replayed(parts: list[bytes], receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": b"".join(parts), "more_body": False}

    return again


def _headers(scope: Scope) -> dict[bytes, bytes]:
    """Raises Refused for too many, too long, or twice what may be there once."""
    listed = scope["headers"]
    if len(listed) > _MOST_HEADERS or sum(len(name) + len(value) for name, value in listed) > _MOST_HEADER_BYTES:
        raise refuse(431, "headers_too_large", "the request has too many or too long headers")
    headers: dict[bytes, bytes] = {}
    for name, value in listed:
        if name in headers and name in _ONCE:
            raise refuse(400, "double_header", "a header stands twice that may stand once")
        headers[name] = value
    return headers


def _is_api(path: str) -> bool:
    return path in _API or path.startswith(tuple(f"{each}/" for each in _API))


def _for_people(scope: Scope) -> bool:
    """Whether a browser asked for a page."""
    accepted = b",".join(value for name, value in scope["headers"] if name == b"accept")
    return b"text/html" in accepted and not _is_api(scope["path"])


def _from_own_page(scope: Scope) -> None:
    """A change by the owner carries the token of the page it was made on, in a header or as a field of its form."""
    state = scope.get("state", {})
    session: Session | None = state.get("session")
    if session is None or scope["method"] in ("GET", "HEAD"):
        return
    named = {name: value for name, value in scope["headers"] if name in (CSRF_HEADER.encode(), b"content-type")}
    given = named.get(CSRF_HEADER.encode(), b"").decode("latin-1")
    if not given and _kind(named) == _FORM:
        given = form_of(state["body"]).get(CSRF_FIELD, "")
    if not csrf_fits(session, given):
        raise refuse(403, "no_csrf_token", f"a change needs the page's token in the header {CSRF_HEADER} or its form")


def _kind(headers: dict[bytes, bytes]) -> bytes:
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


def _json_only(headers: dict[bytes, bytes], method: str, forms: bool) -> None:
    """A form or text/plain is what another site's page can send without asking; JSON is not.

    ``forms``: a form is let in nevertheless, since nothing comes of it without a session and its page's token.
    """
    if method == "DELETE":
        return
    kind = b"application/json" if forms and _kind(headers) == _FORM else _kind(headers)
    if method != "POST" or kind != b"application/json" or headers.get(b"content-encoding", b"identity") != b"identity":
        raise refuse(415, "not_json", "a POST with content-type application/json is needed")


def _name(host: str) -> str:
    """The host without its port, IPv6 without brackets."""
    if host.startswith("["):
        return host.partition("]")[0].removeprefix("[")
    return host.partition(":")[0].removesuffix(".")


class _Response:
    """``send`` that adds the hardening headers, and knows whether a response has begun."""

    def __init__(self, send: Send) -> None:
        self._send, self._begun, self._ended = send, False, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begun = True
            present = {name for name, _ in message.get("headers", ())}
            message["headers"] = [
                *message.get("headers", ()),
                *((name, value) for name, value in _HARDENED if name not in present),
            ]
        elif message["type"] == "http.response.body":
            self._ended = not message.get("more_body", False)
        await self._send(message)

    async def fail(self, problem: Problem, shown: Shown | None = None) -> None:
        """Tell the problem; where a response has begun already only its end can be told."""
        if self._ended:
            return
        if self._begun:
            await self({"type": "http.response.body", "body": b"", "more_body": False})
            return
        if shown is not None:
            body, headers = shown(problem)
        else:
            body, headers = problem.body(), [(b"content-type", b"application/json")]
        headers = [*headers, (b"content-length", str(len(body)).encode())]
        if problem.retry_after:
            headers.append((b"retry-after", str(problem.retry_after).encode()))
        if problem.status in (408, 413):
            headers.append((b"connection", b"close"))
        await self({"type": "http.response.start", "status": problem.status, "headers": headers})
        await self({"type": "http.response.body", "body": body, "more_body": False})


__all__ = ["COOKIE", "Guard", "Refused", "Rules"]
