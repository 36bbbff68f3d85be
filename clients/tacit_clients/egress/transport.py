"""HTTP to the one upstream. The only module of Tacit that opens a connection for text."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from secrets import SystemRandom

import httpx

from tacit_clients.egress.breaker import Breaker
from tacit_clients.egress.settings import UpstreamSettings
from tacit_privacy.errors import UpstreamFailed

AGAIN = frozenset({429, 502, 503, 504})
_AT_FAULT = 500  # from here on a status says that the endpoint is ill; below, that the request is


class Transport:
    """One pooled client: no redirects, no proxies or certificates from the environment, TLS verified, no cookies."""

    def __init__(self, settings: UpstreamSettings) -> None:
        self.settings = settings
        self.breaker = Breaker(settings.breaker_failures, settings.breaker_rest_s)
        headers = {"accept-encoding": "identity", "user-agent": "tacit", "content-type": "application/json"}
        if settings.key is not None:
            headers["authorization"] = f"Bearer {settings.key.get_secret_value()}"
        secure = settings.url.startswith("https:")
        self._client = httpx.AsyncClient(
            headers=headers,
            follow_redirects=False,
            trust_env=False,
            verify=ssl.create_default_context(cafile=settings.ca_file) if secure else False,
            timeout=httpx.Timeout(None, connect=settings.connect_s, pool=settings.connect_s),
            limits=httpx.Limits(max_connections=settings.connections, max_keepalive_connections=settings.connections),
        )

    async def close(self) -> None:
        await self._client.aclose()

    @asynccontextmanager
    async def post(
        self, content: bytes, stream: bool, paused: Callable[[], bool] = lambda: False
    ) -> AsyncIterator["Reply"]:
        """Send ``content``; yields the reply once status and kind are right, and closes it however the block ends.

        Connection errors and 429, 502, 503, 504 are tried again, at most ``retries`` times, with full jitter; nothing
        is once a reply was accepted, or when the owner has ``paused`` all traffic meanwhile. Raises UpstreamFailed.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                response, status = await self._once(content, stream)
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
        try:
            yield Reply(response, self.settings, attempt)
        finally:
            await response.aclose()

    def _pause(self, attempt: int, retry_after: float | None) -> float:
        jitter = SystemRandom().uniform(0, self.settings.backoff_s * 2 ** (attempt - 1))
        return jitter if retry_after is None else retry_after + jitter

    async def _once(self, content: bytes, stream: bool) -> tuple[httpx.Response | None, "_Status"]:
        self.breaker.enter()
        request = self._client.build_request("POST", self.settings.endpoint, content=content)
        request.headers["accept"] = "text/event-stream" if stream else "application/json"
        patience_s = self.settings.first_byte_s if stream else self.settings.total_s  # a whole answer begins at its end
        failure: UpstreamFailed | None = None
        response: httpx.Response | None = None
        try:
            async with asyncio.timeout(self.settings.connect_s + patience_s):
                response = await self._client.send(request, stream=True)
        except asyncio.CancelledError:
            self.breaker.abandoned()
            raise
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            failure = UpstreamFailed("unreachable")
        except (TimeoutError, httpx.TimeoutException):
            failure = UpstreamFailed("timeout")
        except Exception:  # whatever it is, it holds the request, and a half-open circuit must not stay so
            failure = UpstreamFailed("malformed")
        if failure is not None or response is None:
            self.breaker.failed()
            raise failure or UpstreamFailed("malformed")  # outside the handler: httpx's error holds the request
        return await self._judged(response, stream)

    async def _judged(self, response: httpx.Response, stream: bool) -> tuple[httpx.Response | None, "_Status"]:
        status = _Status(response.status_code, _retry_after(response))
        if status.code == 200:
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            right = kind == ("text/event-stream" if stream else "application/json")
            if right and response.headers.get("content-encoding", "identity").lower() in ("", "identity"):
                self.breaker.succeeded()
                return response, status
        if status.code == 200 or status.code >= _AT_FAULT:
            self.breaker.failed()
        else:
            self.breaker.succeeded()
        await response.aclose()  # last: who is cancelled here has told the breaker
        if status.code == 200:
            raise UpstreamFailed("malformed")
        return None, status


class _Status:
    __slots__ = ("code", "retry_after")

    def __init__(self, code: int, retry_after: float | None) -> None:
        self.code, self.retry_after = code, retry_after


class Reply:
    """A reply whose head was accepted. ``received`` counts its bytes."""

    def __init__(self, response: httpx.Response, settings: UpstreamSettings, attempts: int) -> None:
        self._response, self._settings, self.attempts, self.received = response, settings, attempts, 0

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The body as it comes. Raises UpstreamFailed when it stalls, breaks off, is too long or takes too long."""
        source = self._response.aiter_raw()
        clock = asyncio.get_running_loop().time
        end = clock() + self._settings.total_s
        failure = ""
        while not failure:
            try:  # no timeout spans a yield: it would cancel whoever reads
                async with asyncio.timeout(min(self._settings.idle_s, end - clock())):
                    chunk = await anext(source, None)
            except (TimeoutError, httpx.TimeoutException):
                failure = "timeout"
            except Exception:
                failure = "malformed"
            else:
                if chunk is None:
                    return
                self.received += len(chunk)
                if self.received <= self._settings.max_response_bytes:
                    yield chunk
                else:
                    failure = "malformed"
        raise UpstreamFailed(failure)

    async def body(self) -> bytes:
        return b"".join([chunk async for chunk in self.chunks()])


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds; dates are read as nothing."""
    word = response.headers.get("retry-after", "").strip()
    return float(word) if word.isascii() and word.isdigit() and len(word) < 7 else None
