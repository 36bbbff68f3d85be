"""Requests that devices sign: by an admitted key, lately, and never twice."""

import time
from collections import deque
from dataclasses import dataclass

from tacit_privacy.enrolment import WINDOW_S, request_signed
from tacit_privacy.errors import RequestRefused


@dataclass(frozen=True, slots=True)
class Signed:
    """A request that its sender signed."""

    public_key: str
    body: bytes


class Signatures:
    """Checks signatures and remembers nonces for as long as a request may be old.

    What was signed before this process began is refused: nobody remembers those nonces.
    """

    def __init__(self, server: str) -> None:
        self._server, self._began = server, time.time()
        self._seen: set[str] = set()
        self._order: deque[tuple[float, str]] = deque()

    def check(self, headers: dict[str, str], request: str, body: bytes) -> Signed:
        """Raises RequestRefused with one word. ``request`` is as ``"POST /path?query"``."""
        if not request_signed(headers, self._server, request, body):
            raise RequestRefused("signature")
        sent, now = float(headers["tacit-time"]), time.time()
        if abs(now - sent) > WINDOW_S:
            raise RequestRefused("time")
        nonce = headers["tacit-key"][:16] + headers["tacit-nonce"]
        self._forget(now)
        if nonce in self._seen or sent < self._began - 1.0:
            raise RequestRefused("replayed")
        self._seen.add(nonce)
        self._order.append((now, nonce))
        return Signed(headers["tacit-key"], body)

    def _forget(self, now: float) -> None:
        while self._order and now - self._order[0][0] > 2 * WINDOW_S:
            self._seen.discard(self._order.popleft()[1])
