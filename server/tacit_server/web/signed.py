"""Requests that devices sign: by an admitted key, lately, and never twice."""

import threading
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
    nonce: str


class Signatures:
    """Checks signatures, and remembers nonces of admitted keys for as long as a request may be old.

    Anybody can make keys: what those sign is refused without being remembered. What was signed before this process
    began is refused, too: nobody remembers those nonces.
    """

    def __init__(self, server: str) -> None:
        self._server, self._began = server, time.time()
        self._seen: set[str] = set()
        self._order: deque[tuple[float, str]] = deque()
        self._turn = threading.Lock()

    def __len__(self) -> int:
        """Nonces that are remembered."""
        return len(self._seen)

    def check(self, headers: dict[str, str], request: str, body: bytes) -> Signed:
        """Raises RequestRefused with one word. ``request`` is as ``"POST /path?query"``. Whether it is a repetition is
        for ``spend`` to say, once the key is known to be admitted.
        """
        if not request_signed(headers, self._server, request, body):
            raise RequestRefused("signature")
        sent, now = float(headers["tacit-time"]), time.time()
        if abs(now - sent) > WINDOW_S:
            raise RequestRefused("time")
        if sent < self._began - 1.0:
            raise RequestRefused("replayed")
        return Signed(headers["tacit-key"], body, headers["tacit-key"][:16] + headers["tacit-nonce"])

    def spend(self, signed: Signed) -> None:
        """Let a request be done, once. Raises RequestRefused."""
        now = time.time()
        with self._turn:
            self._forget(now)
            if signed.nonce in self._seen:
                raise RequestRefused("replayed")
            self._seen.add(signed.nonce)
            self._order.append((now, signed.nonce))

    def _forget(self, now: float) -> None:
        while self._order and now - self._order[0][0] > 2 * WINDOW_S:
            self._seen.discard(self._order.popleft()[1])
