"""What a server refuses: told in one word, logged, and nothing is changed. A real server, no devices."""

import contextlib
import http.client
import json
import socket
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from deployments import Deployment, eventually, tacit
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

from tacit_clients.device.home import DeviceHome
from tacit_clients.device.server import Server, trusting
from tacit_clients.flower_seam import FleetConnection, NodeKey, Parcel, adopt_identity
from tacit_privacy.enrolment import Application, DeviceReport, Placement, Token, request_headers
from tacit_privacy.errors import NodeUnknown, RequestRefused, RunOver, ServerUnreachable
from tacit_privacy.ledger.keys import SigningKey
from tacit_server.deployment import admission, audit
from tacit_server.deployment.database import ServerDatabase
from tacit_server.deployment.directory import ServerDirectory

pytestmark = pytest.mark.timeout(300)
REPORT = DeviceReport(version="1", code="c", activity="test")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Deployment(tmp_path_factory.mktemp("refusals"), devices=10).start() as fleet:
        yield fleet


@dataclass
class Asker:
    """Somebody with keys of a device, admitted or not."""

    fleet: Deployment
    key: SigningKey
    node: NodeKey
    placement: Placement | None = None

    @classmethod
    def new(cls, fleet: Deployment) -> "Asker":
        return cls(fleet, SigningKey.generate(), NodeKey.generate())

    @property
    def authority(self) -> str:
        return (self.fleet.server / "authority.pem").read_text()

    @property
    def fingerprint(self) -> str:
        return str(self.fleet.made["fingerprint"])

    @property
    def server(self) -> Server:
        return kept(Server(f"localhost:{self.fleet.port}", self.authority, self.fingerprint, self.key))

    def application(self, token: str = "", **changes: Any) -> Application:
        told = {
            "server": self.fingerprint,
            "public_key": self.key.public,
            "node_key": self.node.public,
            "name": "asker",
        }
        return Application.model_validate({**told, "token": token, **changes})

    def body(self, asked: Application) -> dict[str, Any]:
        return {
            "application": asked.model_dump(mode="json"),
            "signature": self.key.sign(asked.signed()).hex(),
            "node_signature": self.node.sign(asked.signed()).hex(),
        }

    def enrol(self, token: str = "", **changes: Any) -> Placement:
        secret = Token.read(token).secret if token else ""
        self.placement = self.server.enrol(self.body(self.application(secret, **changes)))
        return self.placement

    def connection(self, node_id: int | None = None) -> FleetConnection:
        number = int(self.placement.node_id) if self.placement and node_id is None else node_id or 0
        return kept(FleetConnection(f"localhost:{self.fleet.port}", self.authority, self.node, number))


OPEN: list[Server | FleetConnection] = []
Connection = TypeVar("Connection", Server, FleetConnection)


def kept(connection: Connection) -> Connection:
    """To be closed when the test is over."""
    OPEN.append(connection)
    return connection


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def token(fleet: Deployment, hours: float = 24.0) -> str:
    """As ``tacit server token new`` makes it, without starting a process."""
    with ServerDatabase(f"sqlite:///{fleet.server / 'server.db'}") as database, database.begin() as session:
        return admission.new_token(session, audit.COMMAND_LINE, fleet.made["fingerprint"], note="", hours=hours)


@pytest.fixture
def asker(fleet: Deployment) -> Asker:
    return Asker.new(fleet)


@pytest.fixture
def admitted(fleet: Deployment, asker: Asker) -> Asker:
    asker.enrol(token(fleet))
    return asker


def dump(fleet: Deployment) -> list[str]:
    """Everything in the database but the log of who asked for what, and when a device reported last."""
    with contextlib.closing(sqlite3.connect(fleet.server / "server.db")) as database:
        database.execute("update devices set seen = 0, report = ''")  # of this connection alone: it is rolled back
        found = [line for line in database.iterdump() if '"audit"' not in line and "sqlite_sequence" not in line]
        database.rollback()
    return found


@contextlib.contextmanager
def nothing_changes(fleet: Deployment, logged: str) -> Iterator[None]:
    """The database is the same afterwards, and the log says ``logged``."""
    before, said = dump(fleet), len(fleet.up.said())
    yield
    assert dump(fleet) == before
    eventually(lambda: logged in fleet.up.said()[said:], f"the log does not say {logged}")  # written a moment later


def raw(fleet: Deployment, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, str]:
    """A request as anybody may send it; header names have dashes for underscores."""
    trusted = trusting((fleet.server / "authority.pem").read_text())
    connection = http.client.HTTPSConnection("localhost", fleet.port, context=trusted, timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with contextlib.closing(connection):
        connection.request(method, path, body or None, named)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")


def test_an_admitted_device_is_answered(fleet: Deployment, admitted: Asker) -> None:
    """What is refused below is refused for the one thing that is wrong with it."""
    assert admitted.server.report(REPORT).node_id == admitted.placement.node_id  # type: ignore[union-attr]
    admitted.connection().heartbeat()
    assert admitted.connection().receive() is None


@pytest.mark.parametrize("length", [10, 2**21])
def test_a_reply_to_a_run_of_an_earlier_up_is_over(fleet: Deployment, admitted: Asker, length: int) -> None:
    """Whole or part by part: nobody waits for it, and the device must not bring it for ever."""
    assert admitted.placement
    adopt_identity(run_id=12345, node_id=int(admitted.placement.node_id))
    asked = Message(RecordDict({"a": ConfigRecord({"x": 1})}), int(admitted.placement.node_id), "train")
    asked.metadata.__dict__["_message_id"] = "a" * 64
    vector = ArrayRecord([np.zeros(length, dtype=np.float32)])
    reply = Parcel.of(Message(RecordDict({"update": vector}), reply_to=asked))
    for call in (admitted.connection().send, admitted.connection().confirm):
        with pytest.raises(RunOver):
            call(reply)
    with pytest.raises(RunOver):
        admitted.connection().check_bundle(12345)


def test_an_unknown_device(fleet: Deployment, asker: Asker) -> None:
    with nothing_changes(fleet, "unknown"), pytest.raises(NodeUnknown):
        asker.server.report(REPORT)
    with nothing_changes(fleet, "401"), pytest.raises(NodeUnknown):
        asker.connection(node_id=1).heartbeat()


def test_another_devices_number(fleet: Deployment, admitted: Asker, asker: Asker) -> None:
    """A node cannot speak for another: its key does not have that number."""
    other = Asker.new(fleet)
    other.enrol(token(fleet))
    assert other.placement and admitted.placement
    with nothing_changes(fleet, "node"), pytest.raises(NodeUnknown):
        other.connection(node_id=int(admitted.placement.node_id)).receive()


def served(device: Asker) -> bool:
    with contextlib.suppress(NodeUnknown):
        device.connection().heartbeat()
        return True
    return False


def test_a_revoked_device(fleet: Deployment, admitted: Asker) -> None:
    assert admitted.placement
    fleet.told("device", "revoke", admitted.placement.identity)
    eventually(lambda: not served(admitted), "a revoked node is still served")
    with nothing_changes(fleet, "revoked"), pytest.raises(NodeUnknown):
        admitted.server.report(REPORT)
    with nothing_changes(fleet, "revoked"), pytest.raises(RequestRefused, match="revoked"):
        admitted.server.enrol(admitted.body(admitted.application()))
    fresh = token(fleet)
    with nothing_changes(fleet, "revoked"), pytest.raises(RequestRefused, match="revoked"):
        admitted.enrol(fresh)


def test_a_device_that_was_lost(fleet: Deployment, admitted: Asker) -> None:
    """Its owner has it back under new keys, and whoever has the old ones is nobody."""
    assert admitted.placement
    back = Asker.new(fleet)
    placed = back.enrol(str(fleet.told("token", "new", "--for", admitted.placement.identity)["token"]))
    assert placed.identity == admitted.placement.identity and placed.node_id != admitted.placement.node_id
    eventually(lambda: not served(admitted), "the node of a lost device is still served")
    assert served(back)
    with nothing_changes(fleet, "unknown"), pytest.raises(NodeUnknown):
        admitted.server.report(REPORT)


def test_a_device_that_was_approved_under_another_node_key(fleet: Deployment, admitted: Asker) -> None:
    again = Asker(fleet, admitted.key, NodeKey.generate())
    assert again.enrol().state == "pending"
    fleet.told("device", "approve", again.key.public)
    placed = eventually(lambda: again.server.report(REPORT).node_id, "it has no node")
    again.placement = Placement(state="admitted", node_id=placed)
    eventually(lambda: served(again), "the new node is not served")
    eventually(lambda: not served(admitted), "the node of before is still served")


def test_a_revocation_that_is_undone(fleet: Deployment, admitted: Asker) -> None:
    """The device is served again, under its number; and others are revoked as before."""
    other = Asker.new(fleet)
    assert admitted.placement and other.enrol(token(fleet)).state == "admitted" and other.placement
    number = admitted.server.report(REPORT).node_id
    for _ in range(2):
        fleet.told("device", "revoke", admitted.placement.identity)
        eventually(lambda: not served(admitted), "a revoked node is still served")
        fleet.told("device", "restore", admitted.placement.identity)
        assert admitted.server.report(REPORT).node_id == number
        eventually(lambda: served(admitted), "a node that was let in again is not served")
    fleet.told("device", "revoke", other.placement.identity)
    eventually(lambda: not served(other), "a revoked node is still served")
    assert "could not be brought up to date" not in fleet.up.said()


def test_a_token_used_twice(fleet: Deployment, asker: Asker) -> None:
    once = token(fleet)
    asker.enrol(once)
    other = Asker.new(fleet)
    with nothing_changes(fleet, "token"), pytest.raises(RequestRefused, match="token"):
        other.enrol(once)
    assert asker.enrol(once).state == "admitted"  # whose answer was lost asks again, and is who it was


@pytest.mark.parametrize("wrong", ["made up", "expired", "revoked"])
def test_a_token_that_is_no_good(fleet: Deployment, asker: Asker, wrong: str) -> None:
    shown = token(fleet, 0.0002 if wrong == "expired" else 1.0)
    if wrong == "expired":
        time.sleep(1.0)
    elif wrong == "revoked":
        fleet.told("token", "revoke", "all")
    else:
        shown = str(Token(secret="x" * 32, fingerprint=asker.fingerprint))
    with nothing_changes(fleet, "token"), pytest.raises(RequestRefused, match="token"):
        asker.enrol(shown)


def test_an_application_that_was_altered_or_is_for_another_server(fleet: Deployment, asker: Asker) -> None:
    body = asker.body(asker.application())
    altered = {**body, "application": {**body["application"], "name": "somebody else"}}
    with nothing_changes(fleet, "signature"), pytest.raises(RequestRefused, match="signature"):
        asker.server.enrol(altered)
    with nothing_changes(fleet, "server"), pytest.raises(RequestRefused, match="server"):
        asker.server.enrol(asker.body(asker.application(server="0" * 64)))


def test_a_node_key_that_is_somebody_elses(fleet: Deployment, admitted: Asker) -> None:
    thief = Asker(fleet, SigningKey.generate(), admitted.node)
    stolen = thief.body(thief.application(Token.read(token(fleet)).secret))
    with nothing_changes(fleet, "node_key"), pytest.raises(RequestRefused, match="node_key"):
        thief.server.enrol(stolen)
    unproved = {**stolen, "node_signature": NodeKey.generate().sign(b"another").hex()}
    with nothing_changes(fleet, "node_signature"), pytest.raises(RequestRefused, match="node_signature"):
        thief.server.enrol(unproved)


def test_a_request_that_is_replayed_altered_old_or_unsigned(fleet: Deployment, admitted: Asker) -> None:
    body, path = REPORT.to_bytes(), "/v1/tacit/report"

    def headers(now: float, nonce: str = "a" * 32) -> dict[str, str]:
        return request_headers(admitted.key, admitted.fingerprint, f"POST {path}", body, now, nonce)

    good = headers(time.time())
    assert raw(fleet, "POST", path, body, **good)[0] == 200
    cases = {
        "replayed": (path, body, good),
        "time": (path, body, headers(time.time() - 900, "b" * 32)),
        "signature": (path, body.replace(b"test", b"tesd"), headers(time.time(), "c" * 32)),
    }
    for why, (where, what, with_) in cases.items():
        with nothing_changes(fleet, why):
            status, said = raw(fleet, "POST", where, what, **with_)
            assert (status, json.loads(said)["error"]) == (403, why)
    with nothing_changes(fleet, "signature"):
        assert raw(fleet, "POST", "/v1/tacit/leave", body, **headers(time.time(), "d" * 32))[0] == 403  # another path
    with nothing_changes(fleet, "signature"):
        assert raw(fleet, "POST", path, body)[0] == 403


def test_what_was_signed_for_another_server(fleet: Deployment, admitted: Asker) -> None:
    body, path = REPORT.to_bytes(), "/v1/tacit/report"
    elsewhere = request_headers(admitted.key, "0" * 64, f"POST {path}", body, time.time(), "e" * 32)
    with nothing_changes(fleet, "signature"):
        assert raw(fleet, "POST", path, body, **elsewhere)[0] == 403


@pytest.mark.parametrize(
    "path", ["/v1/tacit/enrol", "/v1/fleet/push-messages", "/v1/fleet/push-object", "/v1/tacit/report"]
)
def test_an_oversized_body(fleet: Deployment, path: str) -> None:
    with nothing_changes(fleet, "oversized"):
        status, _ = _declaring(fleet, path, 9 * 2**20)
        assert status == 413
    with nothing_changes(fleet, "oversized"):
        assert _chunked(fleet, path) == 411


def _declaring(fleet: Deployment, path: str, length: int) -> tuple[int, str]:
    """A request that says how long it will be, and waits to hear what comes of it."""
    trusted = trusting((fleet.server / "authority.pem").read_text())
    connection = http.client.HTTPSConnection("localhost", fleet.port, context=trusted, timeout=20)
    with contextlib.closing(connection):
        connection.putrequest("POST", path)
        connection.putheader("content-length", str(length))
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def _chunked(fleet: Deployment, path: str) -> int:
    trusted = trusting((fleet.server / "authority.pem").read_text())
    connection = http.client.HTTPSConnection("localhost", fleet.port, context=trusted, timeout=20)
    with contextlib.closing(connection):
        connection.request("POST", path, iter([b"x" * 100]), {"transfer-encoding": "chunked"}, encode_chunked=True)
        return connection.getresponse().status


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"application": 3}', b"\xff\xfe", b'{"application":{},"signature":"zz"}']
)
def test_a_body_that_makes_no_sense(fleet: Deployment, body: bytes) -> None:
    with nothing_changes(fleet, "malformed"):
        assert raw(fleet, "POST", "/v1/tacit/enrol", body)[0] == 400


@pytest.mark.parametrize("path", ["/v1/control/list-runs", "/v1/control/start-run", "/v1/control/register-node"])
def test_flowers_control_interface_is_closed(fleet: Deployment, path: str) -> None:
    """Flower asks nobody who he is there: without the wall whoever reaches the port could start code on the server."""
    for headers in ({}, {"tacit_link": "0" * 64}, {"tacit_link": ""}, {"authorization": "Bearer x"}):
        with nothing_changes(fleet, "closed"):
            assert raw(fleet, "POST", path, b"", content_type="application/protobuf", **headers)[0] == 403


def test_flowers_runtime_gives_no_run_to_whoever_asks(fleet: Deployment) -> None:
    """On this machine it is reached, and wants a proof of the server's secret."""
    status, _ = raw(fleet, "POST", "/v1/runtime/acquire-task", b"", content_type="application/protobuf")
    assert status in (401, 403)


@pytest.mark.parametrize("said", ["x_forwarded_for", "forwarded", "via", "x_real_ip"])
def test_what_says_that_it_was_passed_on_is_not_from_this_machine(fleet: Deployment, said: str) -> None:
    assert raw(fleet, "GET", "/metrics")[0] == 200
    assert raw(fleet, "GET", "/metrics", b"", **{said: "127.0.0.1"})[0] == 403
    with nothing_changes(fleet, "closed"):
        assert raw(fleet, "POST", "/v1/runtime/acquire-task", b"", **{said: "127.0.0.1"})[0] == 403


def test_a_device_cannot_register_or_unregister_nodes(fleet: Deployment, admitted: Asker) -> None:
    for path in ("/v1/fleet/register-node", "/v1/fleet/unregister-node"):
        with nothing_changes(fleet, "closed"):
            assert raw(fleet, "POST", path, b"", content_type="application/protobuf")[0] == 403


def test_plain_http_is_not_spoken(fleet: Deployment) -> None:
    with socket.create_connection(("127.0.0.1", fleet.port), timeout=10) as plain:
        plain.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert b"200" not in plain.recv(200)


def test_a_wrong_certificate_is_refused_by_the_device(fleet: Deployment, admitted: Asker, tmp_path: Path) -> None:
    with Deployment(tmp_path / "other", devices=10) as other:
        authority = (other.server / "authority.pem").read_text()
    server = kept(Server(f"localhost:{fleet.port}", authority, admitted.fingerprint, admitted.key))
    with nothing_changes(fleet, ""), pytest.raises(ServerUnreachable, match="pinned authority"):
        server.report(REPORT)
    node = kept(FleetConnection(f"localhost:{fleet.port}", authority, admitted.node, 1))
    with pytest.raises(ServerUnreachable):
        node.heartbeat()
    wrong = str(Token(secret="x" * 32, fingerprint="0" * 64))
    said = tacit(*("device", "enroll", "--server", fleet.url, "--token", wrong, "--dir", "d"), folder=tmp_path, code=2)
    assert "somebody is between" in said and not (tmp_path / "d").exists()


NAMES = ["'; DROP TABLE devices; --", '<script>alert("x")</script>', 'Robert\n{"event": "forged"}', "‮evil", "a" * 100]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_only_names(fleet: Deployment, asker: Asker, name: str) -> None:
    """They are stored as they are, and forge neither a query nor a line of the log."""
    placed = asker.enrol(token(fleet), name=name)
    found = next(row for row in fleet.told("status")["devices"] if row["identity"] == placed.identity)
    assert found["name"] == name
    assert not [line for line in fleet.up.said().splitlines() if line.startswith('{"event": "forged"')]


def test_a_name_that_no_database_keeps_is_no_name(fleet: Deployment, asker: Asker) -> None:
    before = fleet.told("status")["devices"]
    asked = asker.application(Token.read(token(fleet)).secret).model_copy(update={"name": "Robert\x00"})
    with pytest.raises(RequestRefused, match="malformed"):
        asker.server.enrol(asker.body(asked))
    assert fleet.told("status")["devices"] == before


def test_a_request_of_yesterday_does_not_outlive_a_restart(fleet: Deployment, admitted: Asker) -> None:
    """Nonces are remembered by the process: what was signed before it began is refused."""
    body, path = REPORT.to_bytes(), "/v1/tacit/report"
    caught = request_headers(admitted.key, admitted.fingerprint, f"POST {path}", body, time.time(), "f" * 32)
    assert raw(fleet, "POST", path, body, **caught)[0] == 200
    fleet.restart()
    eventually(lambda: "replayed" in _answer(fleet, path, body, caught), "it is not refused")


def test_a_server_ends_by_itself_beside_a_connection_that_sleeps(fleet: Deployment, admitted: Asker) -> None:
    """Whose other end says nothing any more, as a device's that waits for its owner's conditions."""
    admitted.connection().heartbeat()
    assert admitted.server.report(REPORT).counted == 0
    before = fleet.up.said().count("SuperLinkLifespan: stop")
    assert fleet.up.stop() == 0
    said = fleet.up.said()
    fleet.start()
    assert said.count("SuperLinkLifespan: stop") == before + 1  # nobody had to kill it
    assert "timeout graceful shutdown exceeded" not in said


def _answer(fleet: Deployment, path: str, body: bytes, headers: dict[str, str]) -> str:
    """What the server says, once it is there."""
    with contextlib.suppress(OSError):
        return raw(fleet, "POST", path, body, **headers)[1]
    return ""


def test_no_secret_is_in_the_list_of_processes_or_in_a_file_that_others_read(fleet: Deployment) -> None:
    import psutil

    secrets = [(fleet.server / "keys" / "link.secret").read_bytes().hex(), token(fleet).split(".")[1]]
    assert fleet.up.running is not None
    family = [psutil.Process(fleet.up.running.pid), *psutil.Process(fleet.up.running.pid).children(recursive=True)]
    for process in family:
        words = " ".join(process.cmdline())
        assert not any(secret in words for secret in secrets) and "token" not in words.replace("--superexec", "")
    said = fleet.up.said()
    assert not any(secret in said for secret in secrets)
    open_to_others = [path for path in fleet.server.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    assert fleet.server.stat().st_mode & 0o077 == 0
    assert not [path for path in open_to_others if path.suffix in (".key", ".secret", ".toml")]


def test_a_device_of_another_server_keeps_what_it_trusts(fleet: Deployment, tmp_path: Path) -> None:
    """Its owner typed the wrong directory: nothing of the device there is changed."""
    other = ServerDirectory.create(tmp_path / "other", {}).authority.read_text()
    (tmp_path / "data.jsonl").write_text('{"prompt": "a", "target": "b"}\n')
    told = {"server": {"url": "https://localhost:1"}, "data": {"path": str(tmp_path / "data.jsonl")}}
    home = DeviceHome.make(tmp_path / "device", told, other)
    before = {path.name: path.read_bytes() for path in home.path.iterdir()}
    enrol = ("device", "enroll", "--server", fleet.url, "--dir", "device", "--data", "data.jsonl")
    said = tacit(*enrol, folder=tmp_path, code=2, environment={"TACIT_ENROLMENT_TOKEN": token(fleet)})
    assert said.endswith("is of a device of https://localhost:1; choose another --dir\n")
    assert {path.name: path.read_bytes() for path in home.path.iterdir()} == before
