"""HTTP to the one upstream. The only module of Tacit that opens a connection for text."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from io import BytesIO
from secrets import SystemRandom
from typing import TypeAlias

import aiohttp
from aiohttp.connector import Connection

from tacit_clients.egress.breaker import Breaker
from tacit_clients.egress.settings import UpstreamSettings
from tacit_privacy.errors import UpstreamFailed

Judged: TypeAlias = tuple[aiohttp.ClientResponse | None, "_Status"]  # None: not to be read

AGAIN = frozenset({429, 502, 503, 504})
_AT_FAULT = 500  # from here on a status says that the endpoint is ill; below, that the request is
_MOST_LINE_BYTES, _MOST_HEADERS = 16 * 1024, 100  # of a reply's head
_TAIL_BYTES, _TAIL_S = 64 * 1024, 1.0  # what is read of a stream after its [DONE], so that its connection lives on


class Transport:
    """One pooled client: no redirects, no proxies or certificates from the environment, TLS verified, no cookies."""

    def __init__(self, settings: UpstreamSettings) -> None:
        self.settings = settings
        self.breaker = Breaker(settings.breaker_failures, settings.breaker_rest_s)
        self._headers = {"accept-encoding": "identity", "user-agent": "tacit", "content-type": "application/json"}
        if settings.key is not None:
            self._headers["authorization"] = f"Bearer {settings.key.get_secret_value()}"
        self._tls: ssl.SSLContext | None = None
        if settings.url.startswith("https:"):
            self._tls = ssl.create_default_context(cafile=settings.ca_file)
            self._tls.set_alpn_protocols(["http/1.1"])
        self._session: aiohttp.ClientSession | None = None
        self._tails = set[asyncio.Task[None]]()

    def _opened(self) -> aiohttp.ClientSession:
        """The session, which is made where a loop runs."""
        if self._session is None:
            most = self.settings.connections
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=self._tls or True, resolver=aiohttp.ThreadedResolver(), limit=most, limit_per_host=most
                ),
                headers=self._headers,
                request_class=_Request,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, connect=self.settings.connect_s),
                trust_env=False,
                auto_decompress=False,
                max_line_size=_MOST_LINE_BYTES,
                max_field_size=_MOST_LINE_BYTES,
                max_headers=_MOST_HEADERS,
            )
        return self._session

    async def close(self) -> None:
        for tail in self._tails:
            tail.cancel()
        await asyncio.gather(*self._tails, return_exceptions=True)
        await self._opened().close()  # made only to be closed, if need be: what comes later finds it closed

    @asynccontextmanager
    async def post(
        self,
        content: bytes,
        stream: bool,
        paused: Callable[[], bool] = lambda: False,
        leaves: Callable[[int], None] = lambda attempts: None,
    ) -> AsyncIterator["Reply"]:
        """Send ``content``; yields the reply once status and kind are right, and closes it however the block ends.

        Connection errors and 429, 502, 503, 504 are tried again, at most ``retries`` times, with full jitter; nothing
        is once a reply was accepted, or when the owner has ``paused`` all traffic meanwhile. ``leaves`` is told 1
        before every attempt and -1 where it reached nobody, so that nothing left. Raises UpstreamFailed.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                response, status = await self._once(content, stream, leaves)
            except UpstreamFailed as error:
                if error.reason != "unreachable" or attempt > self.settings.retries:
                    raise
                await asyncio.sleep(self._pause(attempt, None))
                if paused():
                    raise
                continue
            if response is not None:
                break
            wait = self._pause(attempt, status.retry_after)
            if status.code not in AGAIN or attempt > self.settings.retries or wait > self.settings.retry_after_s:
                raise UpstreamFailed("status", status.code)
            await asyncio.sleep(wait)
            if paused():
                raise UpstreamFailed("status", status.code)
        reply = Reply(response, self.settings)
        try:
            yield reply
        finally:
            if reply.complete and not response.content.is_eof():
                tail = asyncio.create_task(_read_tail(response))
                self._tails.add(tail)
                tail.add_done_callback(partial(self._tail_read, response))
            else:
                response.close()  # unless the body has ended: then the connection waits for the next request already

    def _tail_read(self, response: aiohttp.ClientResponse, tail: asyncio.Task[None]) -> None:
        self._tails.discard(tail)
        response.close()  # here, since a task that is cancelled before it begins tidies nothing up

    def _pause(self, attempt: int, retry_after: float | None) -> float:
        jitter = SystemRandom().uniform(0, self.settings.backoff_s * 2 ** (attempt - 1))
        return jitter if retry_after is None else retry_after + jitter

    async def _once(self, content: bytes, stream: bool, leaves: Callable[[int], None]) -> Judged:
        self.breaker.enter()
        leaves(1)
        accept = {"accept": "text/event-stream" if stream else "application/json"}
        patience_s = self.settings.first_byte_s if stream else self.settings.total_s  # a whole answer begins at its end
        failure: UpstreamFailed | None = None
        response: aiohttp.ClientResponse | None = None
        try:
            async with asyncio.timeout(self.settings.connect_s + patience_s):
                response = await self._opened().post(
                    self.settings.endpoint, data=BytesIO(content), headers=accept, allow_redirects=False
                )
        except asyncio.CancelledError:
            self.breaker.abandoned()
            raise
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, _UsedUp):
            failure = UpstreamFailed("unreachable")
            leaves(-1)
        except TimeoutError:
            failure = UpstreamFailed("timeout")
        except Exception:  # whatever it is, it holds the request, and a half-open circuit must not stay so
            failure = UpstreamFailed("malformed")
        if failure is not None or response is None:
            self.breaker.failed()
            raise failure or UpstreamFailed("malformed")  # outside the handler: aiohttp's error holds the request
        return self._judged(response, stream)

    def _judged(self, response: aiohttp.ClientResponse, stream: bool) -> Judged:
        status = _Status(response.status, _retry_after(response))
        if status.code == 200:
            kind = _header(response, "content-type").partition(";")[0].strip().lower()
            right = kind == ("text/event-stream" if stream else "application/json")
            if right and _header(response, "content-encoding").lower() in ("", "identity"):
                self.breaker.succeeded()
                return response, status
        if status.code == 200 or status.code >= _AT_FAULT:
            self.breaker.failed()
        else:
            self.breaker.succeeded()
        response.close()  # last: whatever happens here, the breaker has been told
        if status.code == 200:
            raise UpstreamFailed("malformed")
        return None, status


class _Status:
    __slots__ = ("code", "retry_after")

    def __init__(self, code: int, retry_after: float | None) -> None:
        self.code, self.retry_after = code, retry_after


class Reply:
    """A reply whose head was accepted. ``received`` counts its bytes; ``complete``: what is left of it says nothing."""

    def __init__(self, response: aiohttp.ClientResponse, settings: UpstreamSettings) -> None:
        self._response, self._settings, self.received = response, settings, 0
        self.complete = False

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The body as it comes. Raises UpstreamFailed when it stalls, breaks off, is too long or takes too long."""
        content = self._response.content
        clock = asyncio.get_running_loop().time
        end = clock() + self._settings.total_s
        failure = ""
        while not failure:
            chunk = b""
            try:  # no timeout spans a yield: it would cancel whoever reads
                async with asyncio.timeout(min(self._settings.idle_s, end - clock())):
                    chunk = await content.readany()
            except TimeoutError:
                failure = "timeout"
            except Exception:
                failure, chunk = "malformed", _arrived(content)
            else:
                if not chunk:
                    return
                if clock() > end:  # what lies in the buffer is read without a wait that could be timed
                    failure = "timeout"
            self.received += len(chunk)
            if self.received > self._settings.max_response_bytes:
                failure = "malformed"
            elif chunk and failure != "timeout":
                yield chunk
        raise UpstreamFailed(failure)

    async def body(self) -> bytes:
        return b"".join([chunk async for chunk in self.chunks()])


class _UsedUp(aiohttp.ClientConnectionError):
    """Nothing was sent."""


class _Request(aiohttp.ClientRequest):
    """Takes no connection on which a reply lies that nobody asked for, since it would pass for the answer."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        if conn.protocol is None or conn.protocol.should_close:
            raise _UsedUp
        conn.add_callback(partial(_drop_unsent, conn.transport))
        return await super().send(conn)


def _drop_unsent(transport: asyncio.Transport | None) -> None:
    """Closing would wait, with the text in memory, for an endpoint that has ceased to read."""
    if transport is not None and transport.get_write_buffer_size():
        transport.abort()


async def _read_tail(response: aiohttp.ClientResponse) -> None:
    """Read the little that ends a body: at its end aiohttp gives the connection back."""
    left = _TAIL_BYTES
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_TAIL_S):
            while left > 0 and not response.content.at_eof():
                left -= len(await response.content.readany())


def _arrived(content: aiohttp.StreamReader) -> bytes:
    """What came before the body broke off, which aiohttp keeps behind its error."""
    content.set_exception(None)  # type: ignore[arg-type]
    return content.read_nowait()


def _header(response: aiohttp.ClientResponse, name: str) -> str:
    return ", ".join(response.headers.getall(name, ()))


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    """Seconds; dates are read as nothing."""
    word = _header(response, "retry-after").strip()
    return float(word) if word.isascii() and word.isdigit() and len(word) < 7 else None
