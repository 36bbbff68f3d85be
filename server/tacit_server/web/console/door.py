"""Who is asking, whether a request comes from the console's own pages, and what browsers are told to refuse."""

import hmac
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response

from tacit_privacy.errors import RequestRefused
from tacit_server.deployment.people import csrf_of

CSRF: Final = "csrf"  # field of every form
POLL: Final = "x-tacit-poll"  # header of what a page asks by itself, which keeps no log-in from ending
_MOST_FORM_BYTES, _MOST_FIELDS = 64 * 1024, 100
_MOST_AT_ONCE: Final = 2  # log-ins whose password is being looked at: each takes a core and 32 MiB
_MOST_FAILURES, _WINDOW_S = 20, 300.0  # of one address
_MOST_ADDRESSES: Final = 10_000

_NOTHING = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
HEADERS: Final = {
    "content-security-policy": f"{_NOTHING}; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    # with no-referrer browsers say of a form's origin that it is null
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
ALONE: Final = HEADERS | {
    "content-security-policy": f"{_NOTHING}; style-src 'unsafe-inline'; img-src data:; form-action 'none'; sandbox"
}
"""Of a page that stands alone and brings its style along: a report."""


@dataclass(frozen=True, slots=True)
class Cookies:
    """What the console's cookies are called, and whether they travel by TLS alone."""

    login: str
    visit: str  # of somebody who is not logged in yet: the log-in form has a token, too
    secure: bool

    @classmethod
    def of_server(cls) -> "Cookies":
        """``__Host-``: browsers take it by TLS alone, from this very host, for all of it."""
        return cls("__Host-tacit-console", "__Host-tacit-visit", secure=True)

    @classmethod
    def of_loopback(cls, port: int) -> "Cookies":
        """Cookies know no ports: those of two consoles on one machine differ by name."""
        return cls(f"tacit-console-{port}", f"tacit-visit-{port}", secure=False)

    def give(self, response: Response, name: str, value: str) -> None:
        response.set_cookie(name, value, path="/", secure=self.secure, httponly=True, samesite="strict")

    def take(self, response: Response, name: str) -> None:
        response.delete_cookie(name, path="/", secure=self.secure, httponly=True, samesite="strict")


def from_own_page(request: Request, secure: bool) -> bool:
    """Whether browsers say that a request was made by a page of this console; programs say nothing, and may ask."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    own = f"{'https' if secure else 'http'}://{request.headers.get('host', '')}"
    return request.headers.get("origin", own).lower() == own.lower()


def brings_token(cookie: str, fields: Mapping[str, str]) -> bool:
    """Whether a form was made for the holder of ``cookie``."""
    return hmac.compare_digest(fields.get(CSRF, "").encode(), csrf_of(cookie).encode())


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form, the last of each name. Raises RequestRefused."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise RequestRefused("malformed")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_FORM_BYTES:
            raise RequestRefused("oversized")
    try:
        found = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError as error:
        raise RequestRefused("malformed") from error
    return {name: values[-1] for name, values in found.items()}


@dataclass
class Attempts:
    """Keeps passwords from being guessed in bulk; works in the event loop alone."""

    _at_once: int = 0
    _failed: dict[str, deque[float]] = field(default_factory=dict)

    def begin(self, address: str) -> bool:
        """Whether somebody may try now; ``end`` has to follow where that is true."""
        failed = self._failed.get(address, deque())
        while failed and time.monotonic() - failed[0] > _WINDOW_S:
            failed.popleft()
        if self._at_once >= _MOST_AT_ONCE or len(failed) >= _MOST_FAILURES:
            return False
        self._at_once += 1
        return True

    def end(self, address: str, *, right: bool) -> None:
        self._at_once -= 1
        if right:
            self._failed.pop(address, None)
            return
        if len(self._failed) >= _MOST_ADDRESSES:
            self._failed.pop(next(iter(self._failed)))
        self._failed.setdefault(address, deque()).append(time.monotonic())


def safe_path(said: str) -> str:
    """Where to go after a log-in: a page of the console, whatever a link said."""
    plain = said.isascii() and said.isprintable() and not set(said) & set("\\ ")
    inside = said == "/console" or said.startswith(("/console/", "/console?"))
    return said if plain and inside and "//" not in said else "/console"
