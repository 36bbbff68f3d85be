"""A stretch of network between devices and their server that can be cut, slowed and torn while it carries something."""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

_PIECE = 16_384


class RoughNetwork:
    """Carries TCP connections from ``port`` to the server's; what is inside is TLS and none of its business."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listening.getsockname()[1]
        self._turn, self._alive = threading.Lock(), True
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._cut_until, self._delay = 0.0, 0.0
        self._tear_after = 0  # bytes of a connection after which it is torn; 0: none is
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, seconds: float) -> None:
        """Drop all connections, and take no new one for a while."""
        self._cut_until = time.monotonic() + seconds
        self._drop()

    def slow(self, delay: float) -> None:
        """Hold every piece back for ``delay`` seconds; 0: no more."""
        self._delay = delay

    def tear(self, after: int) -> None:
        """Cut off the next connection that has carried ``after`` bytes, in the middle of whatever it carries."""
        self._tear_after = after

    def close(self) -> None:
        self._alive = False
        self._listening.close()
        self._drop()

    def _drop(self) -> None:
        with self._turn:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while self._alive:
            try:
                device, _ = self._listening.accept()
            except OSError:
                return
            if time.monotonic() < self._cut_until:
                device.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._server_port), timeout=5)
            except OSError:
                device.close()
                continue
            server.settimeout(None)
            pair = device, server
            with self._turn:
                self._pairs.add(pair)
            threading.Thread(target=self._carry, args=(pair,), daemon=True).start()

    def _carry(self, pair: tuple[socket.socket, socket.socket]) -> None:
        carried, other = 0, {pair[0]: pair[1], pair[1]: pair[0]}
        with selectors.DefaultSelector() as ready, contextlib.suppress(OSError):
            for way in pair:
                ready.register(way, selectors.EVENT_READ)
            while self._alive:
                for key, _ in ready.select(timeout=1.0):
                    end = cast(socket.socket, key.fileobj)
                    data = end.recv(_PIECE)
                    if not data:
                        raise OSError
                    if self._delay:
                        time.sleep(self._delay)
                    carried += len(data)
                    if self._tear_after and carried >= self._tear_after:
                        self._tear_after = 0
                        other[end].sendall(data[: len(data) // 2])
                        raise OSError
                    other[end].sendall(data)
        with self._turn:
            self._pairs.discard(pair)
        for way in pair:
            way.close()


@contextmanager
def rough_network(server_port: int) -> Iterator[RoughNetwork]:
    network = RoughNetwork(server_port)
    try:
        yield network
    finally:
        network.close()
