"""Who may see the owner's page: a one-time link, then a cookie that no script reads, a token for every change."""

import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from secrets import token_urlsafe
from threading import Lock
from typing import Final

COOKIE: Final = "tacit_session"
CSRF_HEADER: Final = "x-tacit-csrf"
CSRF_FIELD: Final = "csrf"
LINK_PATH: Final = "/open"
_LINK_S, _SESSION_S = 3600.0, 30 * 86400.0
_MOST_SESSIONS = 32


@dataclass(frozen=True, slots=True)
class Session:
    """One browser. The token goes into its pages and comes back with every change."""

    csrf: str = field(repr=False)
    until: float


class Sessions:
    """Links and sessions live in memory, as digests; a restart ends them all."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, Lock()
        self._links: dict[bytes, float] = {}
        self._sessions: dict[bytes, Session] = {}

    def link(self) -> str:
        """A new path with a secret that opens the page once, within an hour."""
        secret = token_urlsafe(32)
        with self._lock:
            self._links[_digest(secret)] = self._clock() + _LINK_S
        return f"{LINK_PATH}?key={secret}"

    def redeem(self, secret: str) -> str | None:
        """The cookie's value for a link's secret; None when it is wrong, late or used."""
        with self._lock:
            until = self._links.pop(_digest(secret), None)
            if until is None or self._clock() > until:
                return None
            cookie = token_urlsafe(32)
            if len(self._sessions) >= _MOST_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[_digest(cookie)] = Session(token_urlsafe(32), self._clock() + _SESSION_S)
            return cookie

    def find(self, cookie: str) -> Session | None:
        """The session of a cookie, if it is one of ours and not over."""
        with self._lock:
            found = self._sessions.get(_digest(cookie))
            return found if found is not None and self._clock() <= found.until else None

    def end(self, cookie: str) -> None:
        """Log out."""
        with self._lock:
            self._sessions.pop(_digest(cookie), None)


def csrf_fits(session: Session, given: str) -> bool:
    """Whether ``given`` is the session's token, compared in constant time."""
    return hmac.compare_digest(session.csrf.encode(), given.encode("utf-8", "replace"))


def set_cookie(value: str) -> str:
    """The Set-Cookie header. Not Secure: the gateway speaks plain HTTP on loopback, where browsers differ on that."""
    return f"{COOKIE}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={int(_SESSION_S)}"


def cookie_of(header: str) -> str:
    """The session cookie's value in a Cookie header; empty where there is none."""
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


def _digest(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "replace")).digest()
