"""The devices' own interface over a server's database, asked in this process: what strangers leave behind."""

import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import servers
from starlette.applications import Starlette

from tacit_clients.flower_seam import NodeKey
from tacit_privacy.enrolment import Application, DeviceReport, Token, request_headers
from tacit_privacy.ledger.keys import SigningKey
from tacit_server.deployment import admission, audit
from tacit_server.deployment.audit import COMMAND_LINE, MOST_REFUSALS, Refusals
from tacit_server.deployment.database import ServerDatabase
from tacit_server.web.counting import Counts
from tacit_server.web.devices import DeviceInterface
from tacit_server.web.mail import Mail

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it asks anyio for a name that is on its way out
    from starlette.testclient import TestClient

REPORT = DeviceReport(version="1", code="c", activity="test").to_bytes()


class Served:
    """The interface, its database and a client."""

    def __init__(self, folder: Path) -> None:
        made = servers.directory(folder)
        self.fingerprint = made.fingerprint
        self.database = ServerDatabase(made.database_url)
        key = SigningKey.load(made.signing_key)
        self.interface = DeviceInterface(
            self.database, made.settings, key, made.authority.read_bytes(), Mail(), Counts(), lambda node_key: "7"
        )
        self.client = TestClient(Starlette(routes=self.interface.routes()))

    def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> str:
        """The word that it is refused with, or nothing."""
        answer = self.client.post(f"/v1/tacit/{path}", content=body, headers=headers or {})
        assert answer.status_code in (200, 400, 403)
        return "" if answer.status_code == 200 else str(answer.json()["error"])

    def sign(self, key: SigningKey, path: str, body: bytes, nonce: int) -> dict[str, str]:
        line = f"POST /v1/tacit/{path}"
        return request_headers(key, self.fingerprint, line, body, time.time(), f"{nonce:032x}")

    def application(self, key: SigningKey, token: str = "") -> bytes:
        node = NodeKey.generate()
        asked = Application(server=self.fingerprint, public_key=key.public, node_key=node.public, name="n", token=token)
        signatures = key.sign(asked.signed()).hex(), node.sign(asked.signed()).hex()
        return (
            f'{{"application": {asked.to_bytes().decode()}, "signature": "{signatures[0]}", '
            f'"node_signature": "{signatures[1]}"}}'
        ).encode()

    def token(self) -> str:
        with self.database.begin() as session:
            text = admission.new_token(session, COMMAND_LINE, self.fingerprint, note="", hours=1.0)
        return Token.read(text).secret

    def refusals(self) -> list[str]:
        with self.database.begin() as session:
            return [row.subject for row in audit.rows(session, limit=1000) if row.outcome == "refused"]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    found = Served(tmp_path / "server")
    with found.client, found.database:
        yield found


def test_what_strangers_are_refused_fills_no_disk(served: Served) -> None:
    """Of one reason so many rows an hour; another reason has rows of its own."""
    for number in range(2 * MOST_REFUSALS):
        asked = served.application(SigningKey.simulated(7, number), "made up")
        assert served.post("enrol", asked) == "token"
    assert len(served.refusals()) == MOST_REFUSALS
    key = SigningKey.simulated(8)
    assert served.post("enrol", served.application(key, served.token())) == ""
    with served.database.begin() as session:
        admission.revoke(session, COMMAND_LINE, "0")
    assert served.post("enrol", served.application(key)) == "revoked"
    assert served.refusals()[0] == key.public and len(served.refusals()) == MOST_REFUSALS + 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("enrol", b'{"application": ' + b"[" * 100_000),
        ("leave", b"[" * 100_000),
        ("mail", b'{"seen": ' + b"[" * 100_000),
        ("mail", b'{"seen": 0, "patience_s": null}'),
        ("mail", b'{"seen": 0, "patience_s": NaN}'),
        ("mail", b'{"seen": 0, "patience_s": 1e999}'),
        ("mail", b'{"seen": Infinity, "patience_s": 0.0}'),
        ("mail", b'{"seen": [], "patience_s": 0.0}'),
        ("report", b'{"version": ' + b"[" * 100_000),
    ],
)
def test_what_makes_no_sense_is_malformed(served: Served, path: str, body: bytes) -> None:
    key = SigningKey.simulated(8)
    assert served.post("enrol", served.application(key, served.token())) == ""
    assert served.post(path, body, served.sign(key, path, body, 1)) == "malformed"


def test_a_ledger_of_absurd_length_is_a_report_like_any_other(served: Served) -> None:
    key = SigningKey.simulated(8)
    assert served.post("enrol", served.application(key, served.token())) == ""
    body = DeviceReport.from_bytes(REPORT).model_copy(update={"ledger_length": 10**30}).to_bytes()
    assert served.post("report", body, served.sign(key, "report", body, 1)) == ""


def test_refusals_that_got_no_row_are_counted_in_the_next() -> None:
    now = [1e9]
    refusals = Refusals(lambda: now[0])
    found = [refusals.worth_a_row("token") for _ in range(MOST_REFUSALS + 5)]
    assert found == [{}] * MOST_REFUSALS + [None] * 5
    now[0] += 3600.0
    assert [refusals.worth_a_row("token") for _ in range(2)] == [{"more before": "5"}, {}]


def test_what_strangers_sign_is_not_remembered(served: Served) -> None:
    for number in range(20):
        stranger = SigningKey.simulated(7, number)
        assert served.post("report", REPORT, served.sign(stranger, "report", REPORT, number)) == "unknown"
    assert len(served.interface._signatures) == 0
    key = SigningKey.simulated(8)
    assert served.post("enrol", served.application(key, served.token())) == ""
    headers = served.sign(key, "report", REPORT, 1)
    assert [served.post("report", REPORT, headers) for _ in range(3)] == ["", "replayed", "replayed"]
    assert len(served.interface._signatures) == 1
