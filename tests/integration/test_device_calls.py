"""What a device takes from a server that does not keep to what it should send: no more than fits, and nothing ends."""

import http.server
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import servers

from tacit_clients import flower_seam
from tacit_clients.device.server import Server
from tacit_clients.flower_seam import FleetConnection, NodeKey
from tacit_privacy.enrolment import DeviceReport
from tacit_privacy.errors import NodeUnknown, ServerUnreachable
from tacit_privacy.ledger.keys import SigningKey
from tacit_server.deployment.directory import ServerDirectory

REPORT = DeviceReport(version="0", code="", activity="testing")
MB = 2**20


class Bad(http.server.BaseHTTPRequestHandler):
    """Answers every request by ``answer``, as long as the other side reads."""

    protocol_version = "HTTP/1.1"
    answer: Callable[[], Iterator[bytes]]
    length: int | None = None
    sent = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        if self.length is None:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(self.length))
        self.end_headers()
        try:
            for chunk in type(self).answer():
                head, tail = (f"{len(chunk):x}\r\n".encode(), b"\r\n") if self.length is None else (b"", b"")
                self.wfile.write(head + chunk + tail)
                Bad.sent += len(chunk)
            if self.length is None:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True

    do_GET = do_POST

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ServerDirectory:
    return servers.directory(tmp_path_factory.mktemp("server") / "server")


@pytest.fixture(scope="module")
def address(made: ServerDirectory) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bad) as bad:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made.certificate, made.certificate_key)
        bad.socket = context.wrap_socket(bad.socket, server_side=True)
        threading.Thread(target=bad.serve_forever, daemon=True).start()
        yield f"localhost:{bad.server_address[1]}"
        bad.shutdown()


@pytest.fixture
def server(made: ServerDirectory, address: str) -> Iterator[Server]:
    found = Server(address, made.authority.read_text(), made.fingerprint, SigningKey.generate())
    yield found
    found.close()


def says(monkeypatch: pytest.MonkeyPatch, *chunks: bytes, times: int = 1, length: int | None = None) -> None:
    monkeypatch.setattr(Bad, "answer", lambda: iter(times * chunks), raising=False)
    monkeypatch.setattr(Bad, "length", length)
    monkeypatch.setattr(Bad, "sent", 0)


NOTICE = {"time": 1.0, "node_id": "7", "counted": 0}


@pytest.mark.parametrize("said", [b"", b"\xff", b"{}", b"[1]", b"null", 100_000 * b"[", b'{"time": "x"}'])
def test_an_answer_that_cannot_be_read_is_none(server: Server, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    says(monkeypatch, said, length=len(said))
    calls: list[Callable[[], object]] = [
        lambda: server.report(REPORT),
        lambda: server.mail(0, 1.0),
        lambda: server.enrol({}),
    ]
    for call in calls:
        with pytest.raises(ServerUnreachable, match="cannot be read"):
            call()


def test_a_newer_server_may_say_more(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    said = json.dumps({**NOTICE, "of the next version": 1}).encode()
    says(monkeypatch, said, length=len(said))
    assert server.report(REPORT).node_id == "7"


@pytest.mark.parametrize("length", [None, 1000 * MB])
def test_of_an_adapter_no_more_is_read_than_was_signed(
    server: Server, monkeypatch: pytest.MonkeyPatch, length: int | None
) -> None:
    says(monkeypatch, MB * b"a", times=1000, length=length)
    assert server.adapter("0" * 64, 2 * MB, 5 * MB) == 3 * MB * b"a"
    assert Bad.sent < 20 * MB  # what else was on its way
    said = json.dumps(NOTICE).encode()
    says(monkeypatch, said, length=len(said))
    assert server.report(REPORT).node_id == "7"  # over another connection


def test_a_message_without_an_end_is_none(made: ServerDirectory, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flower_seam, "_LONGEST_ANSWER", 5 * MB)
    connection = FleetConnection(address, made.authority.read_text(), NodeKey.generate(), 7)
    for call in (connection.receive, connection.heartbeat, lambda: connection.check_bundle(1)):
        says(monkeypatch, MB * b"\0", times=1000)
        with pytest.raises((ServerUnreachable, NodeUnknown)):
            call()
        assert Bad.sent < 20 * MB
    connection.close()
