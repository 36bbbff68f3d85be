"""Listens: uvicorn without its access log and server header, and without patience for slow request heads."""

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from tacit_clients.gateway.app import Gateway
from tacit_privacy.errors import BadInput

_MOST_HEAD_BYTES = 64 * 1024
_FAST = "uvicorn.protocols.http.httptools_impl"


def protocol(header_s: float) -> type[asyncio.Protocol]:
    """An HTTP protocol that closes a connection whose request head takes longer than ``header_s`` (slow loris).

    uvicorn itself waits for ever for the first request's head.
    """
    base: Any = H11Protocol if find_spec("httptools") is None else import_module(_FAST).HttpToolsProtocol

    class Impatient(base):  # type: ignore[misc]
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.head_bytes, self.last_cycle = 0, None
            self.deadline = self.loop.call_later(header_s, self.give_up)

        def data_received(self, data: bytes) -> None:
            idle = self.cycle is None or self.cycle.response_complete
            if idle and self.deadline is None:
                self.deadline, self.head_bytes = self.loop.call_later(header_s, self.give_up), 0
            super().data_received(data)
            self.head_bytes += len(data)
            if self.cycle is not None and self.cycle is not self.last_cycle:  # a whole head has arrived
                self.last_cycle = self.cycle
                self.settle()
            elif self.deadline is not None and self.head_bytes > _MOST_HEAD_BYTES:
                self.give_up()

        def connection_lost(self, exc: Exception | None) -> None:
            self.settle()
            super().connection_lost(exc)

        def settle(self) -> None:
            if self.deadline is not None:
                self.deadline.cancel()
            self.deadline = None

        def give_up(self) -> None:
            self.settle()
            if not self.transport.is_closing():
                self.transport.close()

    return Impatient


def listening(host: str, port: int) -> socket.socket:
    """A bound socket, so that the port is known before anybody is told of it. Raises BadInput."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # named, since asyncio switches Nagle's algorithm off only where the protocol is: else an answer whose head and body
    # are two packets waits 40 ms for the client's delayed acknowledgement
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(512)
    except (OSError, UnicodeError) as error:
        found.close()
        raise BadInput(_unheard(host, port, error)) from error
    found.set_inheritable(True)
    return found


def _unheard(host: str, port: int, error: OSError | UnicodeError) -> str:
    """Why nothing can listen there, and what to type instead."""
    if isinstance(error, UnicodeError | socket.gaierror):
        return f"no address of this machine is called {host}; choose another with --host, such as 127.0.0.1"
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is taken; choose another with --port, or 0 for any that is free"
    if error.errno == errno.EACCES:
        return f"port {port} is not for everybody to take; choose one above 1023 with --port, or 0 for any that is free"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine; choose another with --host, such as 127.0.0.1"
    return f"cannot listen on {host} port {port}: {error.strerror}; choose others with --host and --port"


class Server(uvicorn.Server):
    """Ends gracefully on SIGTERM and SIGINT; on a second one at once."""

    def __init__(self, gateway: Gateway) -> None:
        settings = gateway.settings.server
        self.interrupted = False
        config = uvicorn.Config(
            gateway.app,
            http=protocol(settings.header_s),
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            limit_concurrency=settings.connections,
            timeout_keep_alive=int(settings.keep_alive_s),
            timeout_graceful_shutdown=int(settings.shutdown_s) or 1,
        )
        super().__init__(config)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """In place of uvicorn's, which raises the signal again afterwards and so kills whoever still has to tidy up."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop)
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def _interrupt(self) -> None:
        self.interrupted = True
        self._stop()

    def _stop(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True
