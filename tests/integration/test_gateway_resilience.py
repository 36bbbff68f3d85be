"""An upstream that is slow, ill, gone or false; clients that leave: who waits, who is tried again, what is cut off."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from typing import Any, cast

import aiohttp
import httpx
import pytest
from gateways import ANNA, JSON, Running, Scripted, policy_of, running, user
from multidict import CIMultiDict
from upstreams import Body, Reply, Upstream, chunk, echo, message, stream, streamed_text, upstream, whole

from tacit_clients.egress.breaker import Breaker
from tacit_clients.egress.settings import UpstreamSettings
from tacit_clients.egress.transport import Transport
from tacit_privacy.errors import UpstreamFailed


@pytest.fixture
def end() -> Iterator[Upstream]:
    with upstream() as found:
        yield found


def failing(times: int, status: int, then: Any = echo, **headers: str) -> Any:
    left = [times]

    def script(body: Body) -> Reply:
        left[0] -= 1
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Reply([b"busy"], status, {"content-type": "text/plain", **named}) if left[0] >= 0 else then(body)

    return script


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_some_statuses_are_tried_again_with_the_same_bytes(end: Upstream, status: int) -> None:
    with running(end) as gate:
        end.script = failing(2, status)
        answered = gate.chat(f"I am {ANNA}").json()
    assert answered["tacit"]["attempts"] == 3 and len(set(end.received)) == 1 and len(end.received) == 3


@pytest.mark.parametrize(("status", "told"), [(400, 400), (401, 502), (404, 404), (422, 422), (500, 502), (418, 502)])
def test_others_are_not(end: Upstream, status: int, told: int) -> None:
    with running(end) as gate:
        end.script = failing(9, status)
        answered = gate.chat("hi")
    assert answered.status_code == told and len(end.received) == 1
    assert "busy" not in answered.text


def test_retries_are_bounded_and_a_long_retry_after_is_not_waited_for(end: Upstream) -> None:
    with running(end) as gate:
        end.script = failing(99, 503)
        assert gate.chat("hi").status_code == 502
        assert len(end.received) == 3
        end.received.clear()
        end.script = failing(99, 429, retry_after="3600")
        start = time.monotonic()
        assert gate.chat("hi").status_code == 429
        assert len(end.received) == 1 and time.monotonic() - start < 60
        end.received.clear()
        end.script = failing(1, 429, retry_after="1")
        start = time.monotonic()
        assert gate.chat("hi").status_code == 200
        assert time.monotonic() - start >= 1


def test_nothing_is_tried_again_once_it_began(end: Upstream) -> None:
    end.script = lambda body: stream(chunk({"content": "half "}), broken=True)
    with running(end) as gate:
        answered = gate.stream({"messages": [user("hi")]})
    assert answered.errors and len(end.received) == 1


def test_redirects_are_not_followed(end: Upstream) -> None:
    with upstream() as elsewhere, running(end) as gate:
        for status in (301, 302, 303, 307, 308):
            reply = Reply([], status, {"location": elsewhere.url + "/chat/completions"})
            end.script = lambda body, reply=reply: reply  # type: ignore[misc]
            assert gate.chat(f"I am {ANNA}").status_code == 502
        assert elsewhere.received == []


def test_proxies_of_the_environment_are_not_used(end: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    with upstream() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
        with running(end) as gate:
            assert gate.said("hi") == "hi"
        assert proxy.received == []


@pytest.mark.parametrize("kind", ["text/html", "text/event-stream", ""])
def test_another_kind_of_answer_is_not_read(end: Upstream, kind: str) -> None:
    end.script = lambda body: Reply([b"<html>raw</html>"], headers={"content-type": kind})
    with running(end) as gate:
        answered = gate.chat("hi")
    assert answered.status_code == 502 and "raw" not in answered.text


def test_compressed_answers_are_not_unpacked(end: Upstream) -> None:
    end.script = lambda body: Reply([b"x"], headers={"content-type": "application/json", "content-encoding": "gzip"})
    with running(end) as gate:
        assert gate.chat("hi").status_code == 502
    assert end.heads[-1]["accept-encoding"] == "identity"


def test_answers_are_bounded(end: Upstream) -> None:
    end.script = lambda body: whole(message("x" * 50_000))
    with running(end, upstream={"max_response_bytes": 10_000}) as gate:
        assert gate.chat("hi").status_code == 502
    end.script = lambda body: stream(chunk({"content": "x" * 50_000}), chunk({}, "stop"))
    with running(end, upstream={"max_event_bytes": 10_000}) as gate:
        assert gate.chat("hi", stream=True).status_code == 502


@pytest.mark.parametrize(("stream", "name"), [(True, "first_byte_s"), (False, "total_s")])
def test_a_silent_upstream_is_given_up(end: Upstream, stream: bool, name: str) -> None:
    end.script = lambda body: Reply(before_s=60)
    with running(end, upstream={name: 0.2, "connect_s": 0.2}) as gate:
        start = time.monotonic()
        assert gate.chat("hi", stream=stream).status_code == 504
    assert time.monotonic() - start < 30 and len(end.received) == 1


def test_a_whole_answer_may_take_longer_to_begin_than_a_stream(end: Upstream) -> None:
    end.script = lambda body: Reply(whole(message("done")).parts, before_s=0.6)
    with running(end, upstream={"first_byte_s": 0.1, "connect_s": 0.2}) as gate:
        assert gate.said("hi") == "done"


@pytest.mark.parametrize(("code", "state"), [(200, "open"), (500, "open"), (400, "closed")])
def test_who_goes_while_a_bad_reply_is_closed_keeps_nobody_out(code: int, state: str) -> None:
    class Closing:
        status, headers = code, CIMultiDict[str]()

        def close(self) -> None:
            raise asyncio.CancelledError

    transport = Transport(UpstreamSettings(url="http://127.0.0.1:9/v1", model="m", breaker_failures=1))
    transport.breaker.failed()
    transport.breaker._until = 0.0  # rested
    transport.breaker.enter()
    with pytest.raises(asyncio.CancelledError):
        transport._judged(cast(aiohttp.ClientResponse, Closing()), stream=False)
    assert transport.breaker.state == state and not transport.breaker._trying


def test_a_stream_may_end_without_a_last_blank_line(end: Upstream) -> None:
    def script(body: Body) -> Reply:
        reply = streamed_text("all of it")
        return Reply([*reply.parts[:-1], b"data: [DONE]"], headers=reply.headers)

    end.script = script
    with running(end) as gate:
        answered = gate.stream({"messages": [user("hi")]})
    assert answered.text() == "all of it" and answered.done and not answered.errors


def test_an_endless_upstream_is_cut_off(end: Upstream) -> None:
    end.script = lambda body: streamed_text("on " * 1000, 3, between_s=0.02)
    with running(end, upstream={"total_s": 0.3}) as gate:
        answered = gate.stream({"messages": [user("hi")]})
    assert [error["code"] for error in answered.errors] == ["timeout"]


def test_the_circuit_opens_and_closes_again(end: Upstream) -> None:
    with running(end, upstream={"breaker_failures": 2, "breaker_rest_s": 0.3, "retries": 0}) as gate:
        end.script = failing(2, 500)
        assert [gate.chat("hi").status_code for _ in range(2)] == [502, 502]
        refused = gate.chat("hi")
        assert refused.status_code == 503 and refused.json()["error"]["code"] == "open_circuit"
        assert len(end.received) == 2 and "tacit_circuit_open 1.0" in gate.metrics()
        time.sleep(0.5)
        assert gate.chat("hi").status_code == 200
        assert "tacit_circuit_open 0.0" in gate.metrics()


def test_half_open_lets_one_through() -> None:
    now = [0.0]
    breaker = Breaker(1, 10.0, lambda: now[0])
    breaker.enter()
    breaker.failed()
    with pytest.raises(UpstreamFailed):
        breaker.enter()
    now[0] = 13.0
    breaker.enter()
    with pytest.raises(UpstreamFailed):
        breaker.enter()
    breaker.abandoned()
    breaker.enter()
    breaker.succeeded()
    breaker.enter()
    breaker.enter()


def leave_early(gate: Running, model: str) -> None:
    body = {"model": model, "stream": True, "messages": [user("go")]}
    asked: dict[str, Any] = {"content": json.dumps(body), "headers": JSON}
    with (
        httpx.Client(base_url=gate.url, trust_env=False) as client,
        client.stream("POST", "/v1/chat/completions", **asked) as response,
    ):
        for line in response.iter_lines():
            if "data:" in line:
                return


def test_when_the_client_leaves_the_upstream_is_left_too(end: Upstream) -> None:
    end.script = lambda body: streamed_text("on " * 1000, 3, between_s=0.02)
    with running(end) as gate:
        leave_early(gate, "tacit/llm")
        assert end.gone.wait(20)
        end.script = echo
        assert gate.said("still here") == "still here"
        assert '"outcome": "gone"' in gate.log


def test_when_the_client_leaves_local_work_ends(end: Upstream) -> None:
    local = Scripted(["word "] * 500, pause_s=0.02)
    with running(end, local=local) as gate:
        leave_early(gate, "tacit/local")
        until = time.monotonic() + 20
        while not local.cancelled and time.monotonic() < until:
            time.sleep(0.01)
    assert local.cancelled == 1


def test_a_client_that_leaves_before_the_answer(end: Upstream) -> None:
    end.script = lambda body: Reply(before_s=30)
    with running(end) as gate:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                gate.url + "/v1/chat/completions",
                content=json.dumps({"model": "tacit/llm", "messages": [user("x")]}),
                headers=JSON,
                timeout=0.3,
                trust_env=False,
            )
        assert end.gone.wait(20)


def test_detection_does_not_keep_the_loop_waiting(end: Upstream) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow:
        def detect(self, texts: Any) -> Any:
            begun.set()
            go_on.wait(60)
            return [[] for _ in texts]

    with running(end, policy_of(), detector=Slow()) as gate:
        thread = threading.Thread(target=gate.chat, args=("hi",))
        thread.start()
        try:
            assert begun.wait(30)
            assert gate.client.get("/health").status_code == 200  # while the detector is still at it
            assert thread.is_alive()
        finally:
            go_on.set()
            thread.join()


def test_one_connection_serves_many_requests(end: Upstream) -> None:
    with running(end) as gate:
        for _ in range(5):
            gate.said("hi")
    assert len(end.callers) == 5 and len(set(end.callers)) == 1


def test_a_pause_ends_further_tries(end: Upstream) -> None:
    with running(end) as gate:

        def script(body: Body) -> Reply:
            gate.gateway.runtime.pause(True)
            return Reply(status=503)

        end.script = script
        assert gate.chat("hi").json()["error"]["code"] == "upstream_503"
        assert len(end.received) == 1
