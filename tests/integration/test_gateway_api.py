"""The gateway as its clients see it: chat in all its shapes, models, preview, provenance, routing, errors."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from gateways import ANNA, EMAIL, Listed, Running, Scripted, policy_of, running, user
from upstreams import Body, Reply, Upstream, echo, last_text, message, streamed_text, whole

from tacit_privacy.errors import Busy


@pytest.fixture(scope="module")
def gate(end: Upstream) -> Iterator[Running]:
    with running(end, local=Scripted()) as found:
        yield found


@pytest.fixture(autouse=True)
def fresh(end: Upstream) -> None:
    end.script = echo
    end.received.clear()


def test_models_are_listed_and_found(gate: Running) -> None:
    listed = gate.client.get("/v1/models").json()
    assert [row["id"] for row in listed["data"]] == [
        f"tacit/{name}"
        for name in ("auto", "llm", "local", "pipeline", "routing", "auxiliary", "distillation", "fusion")
    ]
    assert gate.client.get("/v1/models/tacit/auto").json()["object"] == "model"
    assert gate.client.get("/v1/models/gpt-9").status_code == 404


def test_health_and_metrics(gate: Running) -> None:
    gate.said(f"I am {ANNA}")
    assert gate.client.get("/health").json() == {"status": "ok", "paused": False}
    metrics = gate.metrics()
    assert 'tacit_masked_total{type="PERSON"}' in metrics and "tacit_gate_seconds_count" in metrics


@pytest.mark.parametrize("stream", [False, True])
def test_preview_shows_the_very_bytes(end: Upstream, gate: Running, stream: bool) -> None:
    body = {"model": "tacit/llm", "messages": [user(f"Dear {ANNA}, {EMAIL} é")], "temperature": 0.5, "stream": stream}
    shown = gate.post("/v1/preview", body)
    assert end.received == []
    named = shown.headers["x-tacit-conversation"]
    gate.post("/v1/chat/completions", body, x_tacit_conversation=named)
    assert end.received == [shown.content]
    assert shown.headers["x-tacit-masked"] == "EMAIL_ADDRESS=1,PERSON=1"


def test_preview_takes_a_responses_body(end: Upstream, gate: Running) -> None:
    shown = gate.post("/v1/preview", {"model": "tacit/llm", "input": f"I am {ANNA}", "instructions": "Be kind"})
    gate.post(
        "/v1/responses",
        {"model": "tacit/llm", "input": f"I am {ANNA}", "instructions": "Be kind"},
        x_tacit_conversation=shown.headers["x-tacit-conversation"],
    )
    assert end.received == [shown.content]


def test_provenance_stands_in_body_and_headers(end: Upstream, gate: Running) -> None:
    answered = gate.chat(f"{ANNA} and {ANNA}, {EMAIL}", user="u-1", metadata={"a": "b"})
    told = answered.json()["tacit"]
    assert told["answered_by"] == "llm" and told["mode"] == "llm" and told["escalated"] is True
    assert told["masked"] == {"PERSON": 2, "EMAIL_ADDRESS": 1} and told["restored"] == 3
    assert told["dropped"] == ["metadata", "user"]
    assert told["bytes_up"] == len(end.received[-1]) and told["tokens_up"] == 7 and told["tokens_down"] == 5
    assert told["latency_ms"] >= told["ttft_ms"] > 0
    assert answered.headers["x-tacit-masked"] == "EMAIL_ADDRESS=1,PERSON=2"
    assert answered.headers["x-tacit-answered-by"] == "llm"


def test_numbers_and_words_of_the_protocol_go_through(end: Upstream, gate: Running) -> None:
    settings: Body = {
        "temperature": 0.2,
        "top_p": 0.9,
        "max_tokens": 17,
        "seed": 123456789,
        "n": 2,
        "presence_penalty": 0.1,
        "reasoning_effort": "low",
        "parallel_tool_calls": False,
        "logit_bias": {"50256": -100},
        "stop": ["END"],
    }
    end.script = lambda body: whole(message("one"), message("two"))
    answered = gate.post("/v1/chat/completions", {"model": "tacit/llm", "messages": [user("hi")], **settings}).json()
    assert [choice["message"]["content"] for choice in answered["choices"]] == ["one", "two"]
    assert {name: end.bodies[-1][name] for name in settings} == settings


def test_words_that_are_none_of_the_protocol_stay(end: Upstream, gate: Running) -> None:
    odd = {"reasoning_effort": ANNA, "service_tier": EMAIL, "verbosity": [ANNA], "temperature": ANNA, "n": EMAIL}
    gate.post("/v1/chat/completions", {"model": "tacit/llm", "messages": [user("hi")], **odd})
    assert end.bodies == [{"model": "up-1", "messages": [user("hi")]}]


def test_json_schema_and_tools_reach_the_model(end: Upstream, gate: Running) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools = [{"type": "function", "function": {"name": "weather", "description": "of a city", "parameters": schema}}]
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    choice = {"type": "function", "function": {"name": "weather"}}
    gate.post(
        "/v1/chat/completions",
        {
            "model": "tacit/llm",
            "messages": [user("hi")],
            "tools": tools,
            "tool_choice": choice,
            "response_format": form,
        },
    )
    sent = end.bodies[-1]
    assert sent["tools"] == tools and sent["response_format"] == form and sent["tool_choice"] == choice


def test_a_tool_whose_name_is_masked_comes_back_by_its_own_name(end: Upstream) -> None:
    policy = policy_of()
    with running(end, policy, detector=Listed(policy, ("call_anna",))) as gate:

        def script(body: Body) -> Reply:
            name = body["tools"][0]["function"]["name"]
            return whole(
                message(None, "tool_calls", tool_calls=[{"id": "c", "function": {"name": name, "arguments": "{}"}}])
            )

        end.script = script
        tool = {"type": "function", "function": {"name": "call_anna"}}
        answered = gate.post(
            "/v1/chat/completions", {"model": "tacit/llm", "messages": [user("x")], "tools": [tool]}
        ).json()
    assert b"call_anna" not in end.received[-1]
    assert answered["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "call_anna"


PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg=="}}


def test_pictures_stay_unless_the_policy_keeps_them(end: Upstream, gate: Running) -> None:
    body = {
        "model": "tacit/llm",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "what?"}, PICTURE]}],
    }
    refused = gate.post("/v1/chat/completions", body)
    assert refused.status_code == 403 and refused.json()["error"]["code"] == "local_only"
    assert end.received == []
    with running(end, policy_of(types={"IMAGE": "keep"})) as kept:
        assert kept.post("/v1/chat/completions", body).status_code == 200
    assert end.bodies[-1]["messages"][0]["content"][1] == PICTURE


@pytest.mark.parametrize(
    "part", [{"type": "input_audio", "input_audio": {"data": "AAAA"}}, {"type": "file", "file": {"file_data": "AAAA"}}]
)
def test_sound_and_files_are_refused(end: Upstream, gate: Running, part: Body) -> None:
    answered = gate.post(
        "/v1/chat/completions", {"model": "tacit/llm", "messages": [{"role": "user", "content": [part]}]}
    )
    assert answered.status_code == 403 and end.received == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"model": "tacit/llm"},
        {"model": "tacit/llm", "messages": []},
        {"model": "tacit/llm", "messages": "Anna Kowalska"},
        {"model": "tacit/llm", "messages": [{"role": "Anna Kowalska", "content": "x"}]},
        {"model": "tacit/llm", "messages": [{"role": "user", "content": 7}]},
        {"model": "tacit/llm", "messages": [user("x")], "tools": [{"type": "web_search"}]},
        {"model": "tacit/llm", "messages": [user("x")], "tool_choice": "Anna Kowalska"},
        {"model": ["tacit/llm"], "messages": [user("x")]},
        {"model": "gpt-4o Anna Kowalska", "messages": [user("x")]},
    ],
)
def test_wrong_requests_get_openai_errors_that_quote_nothing(end: Upstream, gate: Running, body: Body) -> None:
    answered = gate.post("/v1/chat/completions", body)
    assert answered.status_code in (400, 404)
    assert set(answered.json()["error"]) == {"message", "type", "param", "code"}
    assert "Kowalska" not in answered.text and end.received == []


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"a": NaN}', b"\xff", b'{"a":' * 200 + b"1" + b"}" * 200])
def test_bodies_that_are_no_json_objects(gate: Running, raw: bytes) -> None:
    answered = gate.client.post("/v1/chat/completions", content=raw, headers={"content-type": "application/json"})
    assert answered.status_code == 400 and answered.json()["error"]["type"] == "invalid_request_error"


def test_local_answers_never_ask(end: Upstream, gate: Running) -> None:
    for stream in (False, True):
        answered = gate.chat(f"I am {ANNA}", "tacit/local", stream=stream)
        assert answered.status_code == 200 and '"answered_by":"local"' in answered.text
    assert end.received == []
    assert gate.said("hi", model="tacit/local", n=2) == "from the device"


def test_auto_answers_at_home_when_sure_and_asks_when_not(end: Upstream) -> None:
    for logprob, who in ((-0.01, "local"), (-3.0, "llm")):
        local = Scripted(logprob=logprob)
        with running(end, local=local) as gate:
            for stream in (False, True):
                answered = gate.chat("what is it?", "tacit/auto", stream=stream)
                assert f'"answered_by":"{who}"' in answered.text
    assert len(end.received) == 2


def test_auto_falls_back_to_the_device(end: Upstream) -> None:
    local = Scripted(logprob=-3.0)
    with running("http://127.0.0.1:9/v1", local=local, upstream={"retries": 0}) as gate:
        answered = gate.chat("what?", "tacit/auto").json()
        assert answered["tacit"]["answered_by"] == "local" and answered["tacit"]["reason"] == "unreachable"
        assert gate.chat("what?", "tacit/llm").status_code == 502
    with running(end, local=local) as gate:
        gate.gateway.runtime.pause(True)
        answered = gate.chat("what?", "tacit/auto").json()
        assert answered["tacit"]["answered_by"] == "local" and answered["tacit"]["reason"] == "paused"
        refused = gate.chat("what?", "tacit/llm")
        assert refused.status_code == 403 and refused.json()["error"]["code"] == "paused"
        assert gate.client.get("/health").json()["paused"] is True
        gate.gateway.runtime.pause(False)
        assert gate.chat("what?", "tacit/llm").status_code == 200
    assert len(end.received) == 1


def test_auto_asks_for_tools_at_once(end: Upstream, gate: Running) -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    answered = gate.post(
        "/v1/chat/completions", {"model": "tacit/auto", "messages": [user("go")], "tools": [tool]}
    ).json()
    assert answered["tacit"]["answered_by"] == "llm" and answered["tacit"]["reason"] == "needs_tools"


def test_a_secret_is_refused(end: Upstream, gate: Running) -> None:
    secret = "My key is sk-proj-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789abcdEFGH"
    refused = gate.chat(secret)
    assert refused.status_code == 403 and refused.json()["error"]["code"] == "block"
    assert "AbCdEf" not in refused.text and end.received == []


def test_a_busy_local_model_says_when_to_come_back(end: Upstream) -> None:
    local = Scripted()
    local.fails = Busy(2, 16)
    with running(end, local=local) as gate:
        answered = gate.chat("hi", "tacit/local")
    assert answered.status_code == 429 and answered.headers["retry-after"] == "1"


def test_without_a_local_model_there_is_none(end: Upstream) -> None:
    with running(end) as gate:
        assert gate.chat("hi", "tacit/local").status_code == 404
        assert gate.chat("hi", "tacit/auto").json()["tacit"]["reason"] == "no_local_model"


def test_logprobs_only_where_nothing_was_masked(end: Upstream, gate: Running) -> None:
    token = {"token": "ok", "logprob": -0.1, "bytes": [111], "top_logprobs": [], "other": ANNA}

    def script(body: Body) -> Reply:
        return whole(message(last_text(body)) | {"logprobs": {"content": [token]}})

    end.script = script
    plain = gate.chat("hi", logprobs=True).json()["choices"][0]
    assert plain["logprobs"]["content"] == [{k: v for k, v in token.items() if k != "other"}]
    assert gate.chat(f"I am {ANNA}", logprobs=True).json()["choices"][0]["logprobs"] is None


def test_the_owner_sees_what_left_and_what_did_not(end: Upstream, gate: Running) -> None:
    start = max((entry.number for entry in gate.gateway.book.entries()), default=0)
    gate.said(f"I am {ANNA}")
    gate.chat("My key is sk-proj-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789abcdEFGH")
    left, kept = gate.gateway.book.entries(after=start)
    assert left.left and left.body.encode() == end.received[-1] and left.masked == {"PERSON": 1}
    assert not kept.left and kept.reason == "block" and kept.body == ""


def test_the_record_is_bounded(end: Upstream) -> None:
    with running(end, keeping={"outbound_records": 3}) as gate:
        for number in range(5):
            gate.said(f"number {number}")
        assert gate.gateway.book.prune() == 2
        kept = [json.loads(entry.body)["messages"][0]["content"] for entry in gate.gateway.book.entries()]
    assert kept == ["number 2", "number 3", "number 4"]


def test_a_hint_is_sent_only_when_the_policy_says_so(end: Upstream, gate: Running) -> None:
    gate.said("hi")
    with running(end, policy_of(placeholder_hint=True)) as hinting:
        hinting.said("hi")
    assert len(end.bodies[0]["messages"]) == 1 and end.bodies[1]["messages"][0]["role"] == "system"


def test_full_names_are_known_in_every_conversation(end: Upstream) -> None:
    policy = policy_of()
    seen: list[Any] = [Listed(policy, (ANNA,))]

    class Forgetful:
        def detect(self, texts: Any) -> Any:
            return seen[0].detect(texts)

    with running(end, policy, detector=Forgetful()) as gate:
        gate.said(f"I am {ANNA}")
        seen[0] = Listed(policy, ("nobody at all",))  # this time the detector misses her
        gate.gateway.egress.gate.names._until = 0.0
        gate.said(f"Where is {ANNA.lower()}?")
    assert b"owalska" not in end.received[-1] and b"PERSON_" in end.received[-1]


def test_the_stream_without_events_still_ends(end: Upstream, gate: Running) -> None:
    end.script = lambda body: streamed_text("")
    answered = gate.stream({"messages": [user("say nothing")]})
    assert answered.text() == "" and answered.finish == ["stop"] and answered.done


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ["json_object", "json_schema"])
def test_an_answer_in_json_stays_json_whatever_is_put_back(
    end: Upstream, gate: Running, stream: bool, kind: str
) -> None:
    broken = ANNA.replace(" ", "\n")  # the form with a line's end in it has a placeholder of its own

    def as_json(body: Body) -> Reply:
        text = json.dumps({"mail": EMAIL, "who": last_text(body)}, separators=(",", ":"))
        return streamed_text(text) if body.get("stream") else whole(message(text))

    end.script = as_json
    body = {"messages": [user(f"{ANNA}, {broken}")], "response_format": {"type": kind, "json_schema": {"name": "a"}}}
    if stream:
        answered = gate.stream(body).text()
    else:
        whole_answer = gate.post("/v1/chat/completions", {"model": "tacit/llm", **body}).json()
        answered = whole_answer["choices"][0]["message"]["content"]
    assert json.loads(answered) == {"mail": EMAIL, "who": f"{ANNA}, {broken}"}
    assert broken.split()[1].encode() not in end.received[-1]


def test_a_text_longer_than_the_policy_searches_does_not_leave(end: Upstream) -> None:
    with running(end, policy_of(detection={"max_chars": 100})) as gate:
        refused = gate.chat("long " * 25)
        assert refused.status_code == 403 and refused.json()["error"]["code"] == "local_only"
        assert "max_chars" in refused.json()["error"]["message"] and end.received == []
        assert gate.said("short " * 10) == "short " * 10
