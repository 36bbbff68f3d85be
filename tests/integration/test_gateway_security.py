"""Who may use the gateway: no other machine, no web page of another origin, nobody without the token or the link."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import APIRouter
from gateways import ANNA, JSON, Running, running, user
from upstreams import Upstream

from tacit_clients.gateway.session import Sessions
from tacit_clients.gateway.settings import GatewaySettings
from tacit_privacy.errors import BadInput

CHAT = {"model": "tacit/llm", "messages": [user(f"I am {ANNA}")]}
TOKEN = "a-token-of-the-owner"


@pytest.fixture(scope="module")
def gate(end: Upstream) -> Iterator[Running]:
    with running(end, server={"max_body_bytes": 100_000, "body_s": 0.5, "header_s": 0.5}) as found:
        yield found


@pytest.fixture(scope="module")
def locked(end: Upstream) -> Iterator[Running]:
    with running(end, server={"token": TOKEN, "allow_hosts": ["gateway.home"]}) as found:
        yield found


ROUTES = ["/v1/models", "/metrics", "/health", "/", "/open?key=x", "/nowhere"]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example:80"},
        {"host": ""},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_other_names_and_other_origins_are_refused_everywhere(
    gate: Running, path: str, headers: dict[str, str]
) -> None:
    answered = gate.client.get(path, headers=headers)
    assert answered.status_code in (403, 421)
    assert not any(name.startswith("access-control") for name in answered.headers)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
def test_what_a_form_can_send_is_refused(end: Upstream, gate: Running, kind: str | None) -> None:
    before = len(end.received)
    for path in ("/v1/chat/completions", "/v1/responses", "/v1/preview", "/anything"):
        headers = {"content-type": kind} if kind else {}
        answered = gate.client.post(path, content=json.dumps(CHAT), headers=headers)
        assert answered.status_code == 415
    assert len(end.received) == before


def test_preflight_gets_nothing(gate: Running) -> None:
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    answered = gate.client.options("/v1/chat/completions", headers=asked)
    assert answered.status_code == 403 and not any(n.startswith("access-control") for n in answered.headers)


def test_own_origin_and_local_names_are_let_in(gate: Running, locked: Running) -> None:
    port = gate.url.rpartition(":")[2]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", "LOCALHOST"):
        headers = {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}
        assert gate.client.get("/health", headers=headers).status_code == 200
    assert locked.client.get("/health", headers={"host": "gateway.home"}).status_code == 200


@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer ü"]
)
def test_a_wrong_token_opens_nothing(end: Upstream, locked: Running, given: str | None) -> None:
    before = len(end.received)
    headers: dict[str, bytes] = {} if given is None else {"authorization": given.encode("latin-1")}
    for path in ("/v1/models", "/metrics", "/v1/responses/resp_1", "/v1"):
        assert locked.client.get(path, headers=headers).status_code == 401  # type: ignore[arg-type]
    answered = locked.client.post("/v1/chat/completions", content=json.dumps(CHAT), headers={**JSON, **headers})  # type: ignore[arg-type]
    assert answered.status_code == 401 and answered.json()["error"]["code"] == "invalid_api_key"
    assert len(end.received) == before


def test_the_right_token_does(locked: Running) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert locked.client.get("/v1/models", headers=headers).status_code == 200
    assert (
        locked.client.post("/v1/chat/completions", content=json.dumps(CHAT), headers={**JSON, **headers}).status_code
        == 200
    )
    assert TOKEN not in locked.log


def test_a_large_body_is_refused_while_it_comes(end: Upstream, gate: Running) -> None:
    before = len(end.received)
    big = json.dumps({"model": "tacit/llm", "messages": [user("x" * 200_000)]}).encode()
    assert gate.client.post("/v1/chat/completions", content=big, headers=JSON).status_code == 413

    def parts() -> Iterator[bytes]:  # no content-length
        for at in range(0, len(big), 10_000):
            yield big[at : at + 10_000]

    try:
        assert gate.client.post("/v1/chat/completions", content=parts(), headers=JSON).status_code == 413
    except OSError:
        return  # the connection was closed while more came
    assert len(end.received) == before


def test_slow_heads_and_slow_bodies_are_cut_off(gate: Running) -> None:
    port = int(gate.url.rpartition(":")[2])
    for words in (b"GET /health HTTP/1.1\r\nHost: 127", b""):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as raw:
            raw.sendall(words)
            start = time.monotonic()
            assert raw.recv(100) == b""
            assert time.monotonic() - start < 20  # uvicorn itself would wait for ever
    slow = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    slow.putrequest("POST", "/v1/chat/completions")
    slow.putheader("content-type", "application/json")
    slow.putheader("content-length", "100")
    slow.endheaders(b"{")
    assert slow.getresponse().status == 408
    slow.close()


def test_many_and_long_headers_are_refused(gate: Running) -> None:
    assert gate.client.get("/health", headers={f"x-{n}": "1" for n in range(150)}).status_code == 431
    assert gate.client.get("/health", headers={"x-long": "y" * 40_000}).status_code in (400, 431)


def test_a_header_twice_is_refused(gate: Running) -> None:
    for name in ("authorization", "origin", "cookie"):
        assert gate.client.get("/health", headers=[(name, "a"), (name, "b")]).status_code == 400


def test_no_documentation_pages_and_no_server_header(gate: Running) -> None:
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert gate.client.get(path).status_code == 401  # the owner's side, and nobody is logged in
    answered = gate.client.get("/health")
    assert "server" not in answered.headers and answered.headers["x-content-type-options"] == "nosniff"
    assert gate.client.get("/v1/nothing").json()["error"]["code"] == "not_found"


def test_the_link_works_once_and_changes_need_the_pages_token(end: Upstream) -> None:
    router = APIRouter()

    @router.get("/mine")
    async def page() -> dict[str, str]:
        return {"page": "here"}

    @router.post("/owner/change")
    async def change() -> dict[str, str]:
        return {"changed": "yes"}

    with running(end) as gate:
        app = gate.gateway.app._app
        app.include_router(router)  # type: ignore[attr-defined]
        assert gate.client.get("/").status_code == 401
        link = gate.gateway.sessions.link()
        opened = gate.client.get(link)
        assert opened.status_code == 303 and "HttpOnly; SameSite=Strict" in opened.headers["set-cookie"]
        cookie = opened.headers["set-cookie"].split(";")[0]
        assert gate.client.get(link).status_code == 401
        gate.client.cookies.clear()
        assert gate.client.get("/mine", headers={"cookie": cookie}).json() == {"page": "here"}
        session = gate.gateway.sessions.find(cookie.partition("=")[2])
        assert session is not None
        for csrf, status in (("", 403), ("wrong", 403), (session.csrf, 200)):
            headers = {**JSON, "cookie": cookie, "x-tacit-csrf": csrf}
            assert gate.client.post("/owner/change", content="{}", headers=headers).status_code == status
        assert cookie not in gate.log and link not in gate.log


def test_links_and_sessions_end() -> None:
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    late = sessions.link().partition("=")[2]
    now[0] = 3601
    assert sessions.redeem(late) is None
    cookie = sessions.redeem(sessions.link().partition("=")[2])
    assert cookie is not None and sessions.find(cookie) is not None
    now[0] += 31 * 86400
    assert sessions.find(cookie) is None


UPSTREAM = {"upstream.url": "https://api.example/v1", "upstream.model": "m"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "gateway.home"])
def test_other_machines_need_a_token(host: str) -> None:
    with pytest.raises(BadInput, match="TACIT_TOKEN"):
        GatewaySettings.read(None, {**UPSTREAM, "server.host": host})
    assert GatewaySettings.read(None, {**UPSTREAM, "server.host": host, "server.token": "x"}).server.host == host


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/v1",
        "api.example",
        "http://api.example/v1",
        "https://me:pw@api.example/v1",
        "https://api.example/v1?key=x",
    ],
)
def test_odd_upstreams_are_refused(url: str) -> None:
    with pytest.raises(BadInput, match=r"upstream"):
        GatewaySettings.read(None, {"upstream.url": url, "upstream.model": "m"})


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[upstream]\nkey = 'x'", "TACIT_UPSTREAM_KEY"),
        ("[server]\ntoken = 'x'", "TACIT_TOKEN"),
        ("[server]\nprot = 1", "prot"),
        ("[server", "TOML"),
    ],
)
def test_settings_files_are_checked_and_hold_no_secrets(tmp_path: Path, text: str, word: str) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(text)
    with pytest.raises(BadInput, match=word):
        GatewaySettings.read(file, UPSTREAM)


def test_the_link_leads_to_the_page_and_is_told_to_nobody(end: Upstream) -> None:
    with running(end) as gate:
        opened = gate.client.get(gate.gateway.sessions.link(), headers={"accept": "text/html"})
        assert opened.status_code == 303 and opened.headers["location"] == "/"
        assert opened.headers["referrer-policy"] == "no-referrer" and opened.headers["cache-control"] == "no-store"
        used = gate.client.get("/open?key=x", headers={"accept": "text/html"})
        assert used.status_code == 401 and used.headers["referrer-policy"] == "same-origin"
