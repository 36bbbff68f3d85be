"""An upstream that speaks HTTP by hand, to say what no server's library would."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Line:
    """One connection, as the upstream has it."""

    def __init__(self, taken: socket.socket, number: int) -> None:
        self.number, self._socket, self._file = number, taken, taken.makefile("rb")

    def asked(self) -> bytes:
        """The next request's body; nothing once the gateway has closed."""
        length = 0
        for row in iter(self._file.readline, b"\r\n"):
            if not row:
                return b""
            if row.lower().startswith(b"content-length:"):
                length = int(row.partition(b":")[2])
        return self._file.read(length)

    def say(self, data: bytes) -> None:
        self._socket.sendall(data)

    def until_closed(self) -> None:
        with suppress(OSError):
            while self._file.read1(4096):
                continue


class ByHand:
    """Takes connections one after the other, each in a thread of its own, and lets ``talk`` have them."""

    def __init__(self, talk: Callable[[Line], None], tls: ssl.SSLContext | None) -> None:
        self._talk, self._tls, self.lines, self.left = talk, tls, 0, threading.Semaphore(0)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def serve(self) -> None:
        with suppress(OSError):  # the listener is shut
            while True:
                taken, _ = self.listener.accept()
                self.lines += 1
                threading.Thread(target=self._one, args=(taken, self.lines), daemon=True).start()

    def _one(self, taken: socket.socket, number: int) -> None:
        with taken, suppress(OSError):
            spoken = taken if self._tls is None else self._tls.wrap_socket(taken, server_side=True)
            with spoken:
                self._talk(Line(spoken, number))
        self.left.release()


@contextmanager
def by_hand(talk: Callable[[Line], None], tls: ssl.SSLContext | None = None) -> Iterator[ByHand]:
    server = ByHand(talk, tls)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.listener.shutdown(socket.SHUT_RDWR)
        server.listener.close()
        thread.join(20)
