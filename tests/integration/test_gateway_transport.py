"""The connection to the upstream, which here speaks HTTP by hand: who keeps it, who closes it, what errors hold."""

import asyncio
import gc
import logging
import ssl
import threading
import traceback
import warnings
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from by_hand import ByHand, Line, by_hand
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from gateways import ANNA, Running, running, user
from pydantic import SecretStr
from upstreams import Body, Reply, echo, upstream

from tacit_clients.egress.settings import UpstreamSettings
from tacit_clients.egress.transport import Transport
from tacit_privacy.errors import UpstreamFailed

KEY = "sk-never-to-be-seen-0123456789"
TEXT = "the text that was sent"
JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
DONE = b"e\r\ndata: [DONE]\n\n\r\n"

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"used": asyncio.new_event_loop}


@pytest.fixture(autouse=True, params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both loops that the gateway may run on."""
    monkeypatch.setitem(LOOPS, "used", pytest.importorskip(request.param).new_event_loop)


def whole(body: bytes) -> bytes:
    return JSON_HEAD + b"content-length: %d\r\n\r\n%s" % (len(body), body)


def once(answer: bytes) -> Callable[[Line], None]:
    """Answers the first request of each connection so, and closes."""

    def talk(line: Line) -> None:
        line.asked()
        line.say(answer)

    return talk


def then_waits(answer: bytes) -> Callable[[Line], None]:
    """Answers the first request of each connection so, and keeps it until the gateway closes."""

    def talk(line: Line) -> None:
        line.asked()
        line.say(answer)
        line.until_closed()

    return talk


def no_tls(line: Line) -> None:
    line.say(b"whatever this is, it is no TLS\r\n\r\n")
    line.until_closed()


def transport_to(server: ByHand, scheme: str = "http", host: str = "127.0.0.1", **changes: Any) -> Transport:
    url = f"{scheme}://{host}:{server.port}/v1"
    return Transport(UpstreamSettings(url=url, model="m", key=SecretStr(KEY), retries=0, **changes))


async def answer_of(transport: Transport) -> bytes:
    async with transport.post(TEXT.encode(), stream=False) as reply:
        return await reply.body()


async def to_done(transport: Transport) -> bytes:
    """What comes of a stream up to its [DONE], where the door stops reading."""
    got = b""
    async with transport.post(TEXT.encode(), stream=True) as reply, aclosing(reply.chunks()) as chunks:
        async for chunk in chunks:
            got += chunk
            if b"[DONE]" in got:
                reply.complete = True
                return got
    return got


def run(transport: Transport, work: Callable[[Transport], Coroutine[Any, Any, Any]]) -> Any:
    async def both() -> Any:
        try:
            return await work(transport)
        finally:
            await transport.close()

    with asyncio.Runner(loop_factory=LOOPS["used"]) as runner:
        return runner.run(both())


def reason_of(transport: Transport, stream: bool = False) -> str:
    with pytest.raises(UpstreamFailed) as caught:
        run(transport, to_done if stream else answer_of)
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    return caught.value.reason


async def left(server: ByHand) -> bool:
    """Whether the gateway closed a connection."""
    return await asyncio.to_thread(server.left.acquire, timeout=20)


def tails_end(gate: Running) -> None:
    """Waits until the gateway has read what its streams ended with."""
    transport = gate.gateway.egress.transport

    async def ended() -> None:
        await asyncio.gather(*transport._tails)

    asyncio.run_coroutine_threadsafe(ended(), transport._opened()._loop).result(20)


def test_a_stream_gives_its_connection_back() -> None:
    with upstream(echo) as end, running(end) as gate:
        for _ in range(5):
            answered = gate.stream({"messages": [user(f"I am {ANNA}")]})
            assert answered.text() == f"I am {ANNA}" and answered.done
            tails_end(gate)
    assert len(end.callers) == 5 and len(set(end.callers)) == 1


def test_an_end_that_came_along_needs_nobody_to_read_it() -> None:
    def talk(line: Line) -> None:
        while line.asked():
            line.say(STREAM_HEAD + DONE + b"0\r\n\r\n")

    async def work(transport: Transport) -> None:
        for _ in range(3):
            assert b"[DONE]" in await to_done(transport)
            assert not transport._tails

    with by_hand(talk) as server:
        run(transport_to(server), work)
        assert server.lines == 1


def test_an_end_that_comes_late_is_waited_for_by_the_connection_alone() -> None:
    go_on = threading.Event()

    def talk(line: Line) -> None:
        while line.asked():
            line.say(STREAM_HEAD + DONE)
            go_on.wait(20)
            line.say(b"0\r\n\r\n")

    async def work(transport: Transport) -> None:
        assert b"[DONE]" in await to_done(transport)  # though the upstream has not ended
        tails = set(transport._tails)
        assert len(tails) == 1
        go_on.set()
        await asyncio.gather(*tails)
        assert b"[DONE]" in await to_done(transport)

    with by_hand(talk) as server:
        run(transport_to(server), work)
        assert server.lines == 1


@pytest.mark.parametrize("tail", [b"", b"80000\r\n" + b"x" * 0x80000 + b"\r\n5\r\n"], ids=["silence", "too much"])
def test_an_end_that_never_comes_costs_the_connection(tail: bytes) -> None:
    async def work(transport: Transport) -> None:
        assert b"[DONE]" in await to_done(transport)
        await asyncio.gather(*transport._tails)
        assert await left(server)
        assert b"[DONE]" in await to_done(transport)

    with by_hand(then_waits(STREAM_HEAD + DONE + tail)) as server:
        run(transport_to(server), work)
        assert server.lines == 2


def test_closing_ends_what_still_reads() -> None:
    async def work(transport: Transport) -> None:
        await to_done(transport)
        (tail,) = transport._tails
        await transport.close()
        assert tail.cancelled() and not transport._tails
        assert await left(server)
        with pytest.raises(UpstreamFailed):  # closed is closed
            await answer_of(transport)

    with by_hand(then_waits(STREAM_HEAD + DONE)) as server:
        run(transport_to(server), work)


def test_a_transport_that_never_sent_may_be_closed() -> None:
    async def work(transport: Transport) -> None:
        await transport.close()
        with pytest.raises(UpstreamFailed):
            await answer_of(transport)

    with by_hand(once(whole(b"{}"))) as server:
        run(transport_to(server), work)
        assert server.lines == 0


def test_who_stops_before_the_end_closes_the_connection_at_once() -> None:
    async def work(transport: Transport) -> None:
        async with transport.post(b"{}", stream=True) as reply, aclosing(reply.chunks()) as chunks:
            async for _ in chunks:
                break
        assert not transport._tails
        assert await left(server)

    with by_hand(then_waits(STREAM_HEAD + b"6\r\ndata: \r\n")) as server:
        run(transport_to(server), work)


@pytest.mark.parametrize(
    ("stream", "answer"),
    [
        (False, JSON_HEAD + b"content-length: 100\r\n\r\n{"),
        (False, JSON_HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\n{"),
        (False, JSON_HEAD + b"transfer-encoding: chunked\r\n\r\nno length\r\n"),
        (True, STREAM_HEAD + b"20\r\ndata: half"),
        (True, STREAM_HEAD),
    ],
)
def test_a_body_that_breaks_off_is_malformed(stream: bool, answer: bytes) -> None:
    with by_hand(once(answer)) as server:
        assert reason_of(transport_to(server), stream) == "malformed"


def test_what_came_before_the_break_is_read_first() -> None:
    async def work(transport: Transport) -> None:
        got = b""
        with pytest.raises(UpstreamFailed):
            async with transport.post(b"{}", stream=True) as reply:
                assert await left(server)
                for _ in range(20):  # the loop has seen the connection's end
                    await asyncio.sleep(0)
                async for chunk in reply.chunks():
                    got += chunk
        assert got == b"data: [DONE]\n\n" and reply.received == len(got)

    with by_hand(once(STREAM_HEAD + DONE)) as server:
        run(transport_to(server), work)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 " + b"O" * 100_000,
        JSON_HEAD + b"x-long: " + b"y" * 100_000,
        JSON_HEAD + b"y" * 100_000,
        JSON_HEAD + b"".join(b"x-%d: y\r\n" % number for number in range(1000)),
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"",
    ],
)
def test_a_head_that_is_too_large_or_none_is_malformed(head: bytes) -> None:
    with by_hand(once(head + b"\r\n" if head else b"")) as server:
        assert reason_of(transport_to(server)) == "malformed"


def test_two_encodings_are_not_taken_for_none() -> None:
    head = JSON_HEAD + b"content-encoding: identity\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}"
    with by_hand(once(head)) as server:
        assert reason_of(transport_to(server)) == "malformed"


def test_a_connection_that_is_never_made_is_unreachable() -> None:
    with by_hand(Line.until_closed) as server:  # accepts, and says nothing to the greeting of TLS
        assert reason_of(transport_to(server, "https", connect_s=0.2)) == "unreachable"
    with by_hand(no_tls) as server:
        assert reason_of(transport_to(server, "https")) == "unreachable"
    assert reason_of(transport_to(server)) == "unreachable"  # nobody listens any more


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A server's side of TLS for ``localhost`` alone, and the file of who vouches for it."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    built = built.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    built = built.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    folder = tmp_path_factory.mktemp("tls")
    public, private = folder / "public.pem", folder / "private.pem"
    public.write_bytes(built.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(public, private)
    return context, public


def test_under_tls_too_connections_live_on_and_are_left_at_once(certificate: tuple[ssl.SSLContext, Path]) -> None:
    def talk(line: Line) -> None:
        while line.asked():
            line.say(STREAM_HEAD + DONE)
            line.say(b"0\r\n\r\n")

    async def work(transport: Transport) -> None:
        for _ in range(3):
            assert b"[DONE]" in await to_done(transport)
            await asyncio.gather(*transport._tails)
        assert server.lines == 1
        async with transport.post(b"{}", stream=True):
            pass
        assert await left(server)

    tls, public = certificate
    with by_hand(talk, tls) as server:
        run(transport_to(server, "https", "localhost", ca_file=str(public)), work)


@pytest.mark.parametrize(("host", "known"), [("localhost", False), ("127.0.0.1", True)])
def test_nothing_is_sent_to_whom_nobody_vouches_for(
    certificate: tuple[ssl.SSLContext, Path], host: str, known: bool
) -> None:
    heard: list[bytes] = []
    tls, public = certificate
    with by_hand(lambda line: heard.append(line.asked()), tls) as server:
        ca_file = {"ca_file": str(public)} if known else {}
        assert reason_of(transport_to(server, "https", host, **ca_file)) == "unreachable"
    assert not any(heard)


def test_who_waits_in_vain_for_a_free_connection_finds_it_unreachable() -> None:
    async def work(transport: Transport) -> None:
        async with transport.post(b"{}", stream=True):
            with pytest.raises(UpstreamFailed) as caught:
                await answer_of(transport)
            assert caught.value.reason == "unreachable"

    with by_hand(then_waits(STREAM_HEAD)) as server:
        run(transport_to(server, connections=1, connect_s=0.2), work)
        assert server.lines == 1


def test_a_reply_that_nobody_asked_for_answers_nobody() -> None:
    first_read, sent = threading.Event(), threading.Event()

    def talk(line: Line) -> None:
        line.asked()
        line.say(whole(b"%d" % line.number))
        if line.number == 1:
            first_read.wait(20)
            line.say(whole(b"666"))
            sent.set()
            line.until_closed()

    async def work(transport: Transport) -> None:
        assert await answer_of(transport) == b"1"
        first_read.set()
        assert await asyncio.to_thread(sent.wait, 20)
        connector: Any = transport._opened().connector
        while not any(waiting.should_close for kept in connector._conns.values() for waiting, _ in kept):
            await asyncio.sleep(0.001)  # until it lies in the connection that waits
        with pytest.raises(UpstreamFailed) as caught:
            await answer_of(transport)
        assert caught.value.reason == "unreachable"  # and so is tried again
        assert await answer_of(transport) == b"2"

    with by_hand(talk) as server:
        run(transport_to(server), work)


def connected(server: ByHand) -> bool:
    return any(found.raddr and found.raddr.port == server.port for found in psutil.Process().net_connections())


def test_text_is_not_kept_for_an_upstream_that_has_ceased_to_read() -> None:
    go_on = threading.Event()

    def talk(line: Line) -> None:
        go_on.wait(20)

    async def work(transport: Transport) -> None:
        asking = asyncio.create_task(_send(transport, b"x" * 2**24))
        while not connected(server):
            await asyncio.sleep(0.001)
        for _ in range(200):
            await asyncio.sleep(0.001)  # until the network's own buffers are full
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        for _ in range(1000):
            if connected(server):
                await asyncio.sleep(0.001)
        assert not connected(server) and not go_on.is_set()

    with by_hand(talk) as server:
        try:
            run(transport_to(server), work)
        finally:
            go_on.set()


async def _send(transport: Transport, content: bytes) -> None:
    async with transport.post(content, stream=True):
        raise AssertionError("nothing answers")


@pytest.mark.parametrize(
    ("scheme", "talk"),
    [
        ("http", once(b"")),
        ("http", once(JSON_HEAD + b"content-length: 100\r\n\r\n{")),
        ("http", once(b"no http\r\n\r\n")),
        ("http", once(b"HTTP/1.1 307 Go\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n")),
        ("http", once(b"HTTP/1.1 500 Ill\r\ncontent-length: 0\r\n\r\n")),
        ("http", then_waits(JSON_HEAD)),
        ("http", then_waits(STREAM_HEAD + DONE)),
        ("https", Line.until_closed),
        ("https", no_tls),
    ],
)
def test_no_error_log_or_warning_holds_the_key_or_the_text(
    scheme: str, talk: Callable[[Line], None], caplog: pytest.LogCaptureFixture
) -> None:
    """With everything switched on that tells more: debug logs, the loop's debug mode, warnings."""
    caplog.set_level(logging.DEBUG)
    told: list[str] = []

    async def work(transport: Transport) -> None:
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        loop.set_exception_handler(lambda _, context: told.append(repr(context)))
        for ask in (answer_of, to_done):
            try:
                await ask(transport)
            except UpstreamFailed as error:
                told.extend(traceback.format_exception(error))
                told.append(repr((error, error.args, error.__cause__, error.__context__)))
        gone = asyncio.create_task(answer_of(transport))
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)

    with by_hand(talk) as server, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        run(transport_to(server, scheme, connect_s=0.2, first_byte_s=0.2, total_s=0.2, idle_s=0.2), work)
        gc.collect()
    everything = "\n".join([*told, caplog.text, *(str(each.message) for each in warned)])
    assert told and KEY not in everything and TEXT not in everything
    assert "Unclosed" not in everything and "never retrieved" not in everything


def test_a_large_request_leaves_whole() -> None:
    def talk(line: Line) -> None:
        line.say(whole(b"%d" % len(line.asked())))

    async def work(transport: Transport) -> None:
        async with transport.post(b"x" * 3_000_000, stream=False) as reply:
            assert await reply.body() == b"3000000"

    with by_hand(talk) as server:
        run(transport_to(server), work)


def test_what_is_said_of_the_gateway_is_what_it_needs() -> None:
    """No header of the client's own choosing, and none of the upstream's cookies."""

    async def work(transport: Transport) -> None:
        for _ in range(2):
            async with transport.post(b'{"messages": [{"content": "hi"}]}', stream=False) as reply:
                await reply.body()

    def script(body: Body) -> Reply:
        reply = echo(body)
        return Reply(reply.parts, headers={**reply.headers, "set-cookie": "who=you; path=/"})

    with upstream(script) as end:
        run(Transport(UpstreamSettings(url=end.url, model="m", key=SecretStr(KEY))), work)
    for head in end.heads:
        assert {name: value for name, value in head.items() if name not in ("host", "content-length")} == {
            "accept": "application/json",
            "accept-encoding": "identity",
            "authorization": f"Bearer {KEY}",
            "content-type": "application/json",
            "user-agent": "tacit",
        }
