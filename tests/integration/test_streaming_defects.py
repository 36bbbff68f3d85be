"""S1 to S14: what redaction gateways get wrong in streams (docs/defects.md), one test each against a real one."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from gateways import ANNA, EMAIL, JSON, ROBERT, Listed, Running, Streamed, policy_of, running, user
from upstreams import (
    Body,
    Reply,
    Upstream,
    chunk,
    echo,
    event,
    last_text,
    stream,
    streamed_text,
    usage_chunk,
)

TOKEN = re.compile(r"[A-Z][A-Z_]*_[a-z0-9]{5,}(?:_[a-z]+)?")


@pytest.fixture(scope="module")
def gate(end: Upstream) -> Iterator[Running]:
    with running(end, policy_of(restore={"tools": ["send_mail"]})) as found:
        yield found


@pytest.fixture(autouse=True)
def echoing(end: Upstream) -> None:
    end.script = echo


def tokens(body: Body) -> list[str]:
    """The placeholders that arrived, in order."""
    return TOKEN.findall(json.dumps(body["messages"]))


def ask(gate: Running, text: str = f"{ANNA} wrote to {ROBERT}", **more: Any) -> Streamed:
    return gate.stream({"messages": [user(text)], **more})


def test_s1_the_stream_is_not_buffered(end: Upstream, gate: Running) -> None:
    end.script = lambda body: streamed_text("word " * 20, 5, between_s=0.05)
    arrived = []
    body = {"model": "tacit/llm", "stream": True, "messages": [user("go")]}
    start = time.monotonic()
    with gate.client.stream("POST", "/v1/chat/completions", content=json.dumps(body), headers=JSON) as response:
        for line in response.iter_lines():
            if '"content":"word "' in line:
                arrived.append(time.monotonic() - start)
    assert len(arrived) == 20  # as many as came
    assert arrived[-1] - arrived[0] > 0.5  # spread as they were sent, over a second


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13])
def test_s2_a_placeholder_split_across_deltas_is_restored(end: Upstream, gate: Running, size: int) -> None:
    end.script = lambda body: streamed_text(f"Dear {tokens(body)[0]}, {tokens(body)[1]}!", size)
    answered = ask(gate)
    assert answered.text() == f"Dear {ANNA}, {ROBERT}!"
    assert answered.tacit["restored"] == 2


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_s3_events_and_characters_may_be_cut_anywhere(end: Upstream, gate: Running, size: int) -> None:
    def cut(body: Body) -> Reply:
        whole = b"".join(streamed_text(f"Zażółć {tokens(body)[0]} 👩‍👩‍👧 gęślą", 4).parts)
        parts = [whole[at : at + size] for at in range(0, len(whole), size)]
        return Reply(parts, headers={"content-type": "text/event-stream"})

    end.script = cut
    answered = ask(gate)
    assert answered.text() == f"Zażółć {ANNA} 👩‍👩‍👧 gęślą"
    assert answered.done and not answered.errors


def test_s3_bytes_that_are_no_utf8_end_in_an_error_and_are_not_passed_on(end: Upstream, gate: Running) -> None:
    good = event(chunk({"content": "fine "}))
    bad = b'data: {"choices":[{"index":0,"delta":{"content":"raw-\xff\xfe-bytes"}}]}\n\n'
    end.script = lambda body: Reply([good, bad], headers={"content-type": "text/event-stream"})
    answered = ask(gate)
    assert answered.text() == "fine "
    assert [error["code"] for error in answered.errors] == ["malformed"]
    assert "raw-" not in answered.raw and not answered.done


def test_s4_every_position_of_a_split_restores(end: Upstream, gate: Running) -> None:
    length = 60
    for position in range(1, length, 2):

        def script(body: Body, at: int = position) -> Reply:
            text = f"[[{tokens(body)[0]}]] and [{tokens(body)[1]}]"
            return stream(chunk({"content": text[:at]}), chunk({"content": text[at:]}), chunk({}, "stop"))

        end.script = script
        assert ask(gate).text() == f"[[{ANNA}]] and [{ROBERT}]"


@pytest.mark.parametrize(
    "text", ['if [[ -f "$x" ]]; then echo; fi', "[[1, [2]], [[3]]]", "a_b_c __init__ <PERSON_", "{{x}}"]
)
def test_s5_delimiters_of_others_delay_nothing(end: Upstream, gate: Running, text: str) -> None:
    end.script = lambda body: streamed_text(text + " END", 1, between_s=0.001)
    answered = ask(gate)
    assert answered.text() == text + " END"
    assert len(answered.deltas()) > len(text) / 3  # little is held back, and never for long


def test_s6_a_cut_placeholder_is_not_completed_by_a_guess(end: Upstream, gate: Running) -> None:
    end.script = lambda body: streamed_text(f"It was {tokens(body)[0][:-2]}", 4, reason="length")
    answered = ask(gate)
    assert ANNA not in answered.text() and answered.text().startswith("It was PERSON_")
    assert answered.finish == ["length"]
    assert answered.tacit["malformed"] == 1 and answered.tacit["restored"] == 0


TOOL = {"type": "function", "function": {"name": "send_mail", "parameters": {"type": "object", "properties": {}}}}


def call(index: int, arguments: str, name: str | None = None) -> Body:
    head = {"id": f"call_{index}", "type": "function"} if name else {}
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return chunk({"tool_calls": [{"index": index, **head, "function": function}]})


@pytest.mark.parametrize("size", [1, 4, 100])
def test_s7_tool_arguments_are_restored_and_stay_json(end: Upstream, gate: Running, size: int) -> None:
    nasty = 'Anna "the\\boss" Kowalska'

    def script(body: Body) -> Reply:
        first, second = tokens(body)
        texts = [json.dumps({"to": first, "note": f"for {second}"}), json.dumps([second, {"x": first}])]
        rows = [call(0, "", "send_mail"), call(1, "", "send_mail")]
        for at in range(0, max(map(len, texts)), size):  # both calls at once, interleaved
            rows += [call(number, text[at : at + size]) for number, text in enumerate(texts) if text[at : at + size]]
        return stream(*rows, chunk({}, "tool_calls"))

    end.script = script
    policy = policy_of(restore={"tools": ["*"]})
    with running(end, policy, detector=Listed(policy, (nasty, ROBERT))) as own:
        answered = own.stream({"messages": [user(f"Mail {nasty} about {ROBERT}")], "tools": [TOOL]})
    assert json.loads(answered.arguments(0)) == {"to": nasty, "note": f"for {ROBERT}"}
    assert json.loads(answered.arguments(1)) == [ROBERT, {"x": nasty}]
    assert answered.finish == ["tool_calls"]


def test_s8_responses_stream_is_restored_in_every_event(end: Upstream, gate: Running) -> None:
    end.script = lambda body: streamed_text(f"Ask {tokens(body)[0]}.", 2)
    raw = gate.post("/v1/responses", {"model": "tacit/llm", "stream": True, "input": f"Who is {ANNA}?"}).text
    rows = [json.loads(line[6:]) for line in raw.split("\n") if line.startswith("data: ")]
    assert "".join(row["delta"] for row in rows if row["type"] == "response.output_text.delta") == f"Ask {ANNA}."
    assert [row["text"] for row in rows if row["type"] == "response.output_text.done"] == [f"Ask {ANNA}."]
    assert rows[-1]["response"]["output"][0]["content"][0]["text"] == f"Ask {ANNA}."
    assert "PERSON_" not in raw
    assert [row["sequence_number"] for row in rows] == list(range(len(rows)))


UNKNOWN = {
    "not an object": b"data: [1, 2]\n\n",
    "not JSON": b"data: {nope\n\n",
    "choices of another kind": b'data: {"choices": "raw text"}\n\n',
    "content of another kind": b'data: {"choices": [{"index": 0, "delta": {"content": {"raw": "text"}}}]}\n\n',
    "an index that is none": b'data: {"choices": [{"index": "raw", "delta": {}}]}\n\n',
    "sound": b'data: {"choices": [{"index": 0, "delta": {"audio": {"transcript": "raw text"}}}]}\n\n',
    "an error": b'data: {"error": {"message": "raw text"}}\n\n',
}


@pytest.mark.parametrize("raw", UNKNOWN.values(), ids=UNKNOWN)
def test_s8_an_unknown_shape_fails_closed(end: Upstream, gate: Running, raw: bytes) -> None:
    end.script = lambda body: Reply(
        [event(chunk({"content": "hm "})), raw], headers={"content-type": "text/event-stream"}
    )
    answered = ask(gate)
    assert [error["code"] for error in answered.errors] == ["malformed"]
    assert "raw" not in answered.raw and not answered.done


def test_s9_the_rest_comes_before_the_end_and_usage_is_kept(end: Upstream, gate: Running) -> None:
    def script(body: Body) -> Reply:
        return stream(chunk({"content": f"by {tokens(body)[0]}"}), chunk({}, "stop"), usage_chunk(31, 17))

    end.script = script
    answered = ask(gate, stream_options={"include_usage": True})
    order = ["text" if row["choices"][0]["delta"].get("content") else "end" for row in answered.rows if row["choices"]]
    assert answered.text() == f"by {ANNA}"
    assert order[-1] == "end" and order.count("end") == 2  # the role first, the reason last
    assert answered.rows[-1]["choices"] == [] and answered.rows[-1]["usage"]["total_tokens"] == 48
    assert answered.done and answered.tacit["tokens_up"] == 31


def test_s10_a_value_split_over_messages_parts_and_deltas_is_masked_whole(end: Upstream, gate: Running) -> None:
    ask(gate, f"Write to {EMAIL}")
    assert EMAIL.encode() not in end.received[-1]
    end.script = lambda body: streamed_text("mail bob@exam" + "ple.com now", 7)  # the model's own words are its own
    assert ask(gate).text() == "mail bob@example.com now"


def test_s11_an_error_in_the_middle_gives_a_typed_end_and_nothing_held_back(end: Upstream, gate: Running) -> None:
    def script(body: Body) -> Reply:
        reply = streamed_text(f"so {tokens(body)[0]}"[:-2], 3)
        return Reply(reply.parts[:-3], headers=reply.headers, broken=True)

    end.script = script
    answered = ask(gate)
    assert answered.text() == "so " and "PERSON_" not in answered.raw
    assert [error["code"] for error in answered.errors] in (["malformed"], ["cut_off"])
    assert not answered.done


def test_s11_an_end_without_a_reason_is_no_end(end: Upstream, gate: Running) -> None:
    end.script = lambda body: stream(chunk({"content": "half"}))
    answered = ask(gate)
    assert [error["code"] for error in answered.errors] == ["cut_off"] and not answered.done


def test_s12_nothing_is_sent_that_is_rewritten_later(end: Upstream, gate: Running) -> None:
    end.script = lambda body: streamed_text(f"{tokens(body)[0]} said so", 1)
    answered = ask(gate)
    shown = ""
    for delta in answered.deltas():
        shown += delta
        assert f"{ANNA} said so".startswith(shown)  # every prefix is final


def test_s13_every_choice_and_field_has_its_own_state(end: Upstream, gate: Running) -> None:
    def script(body: Body) -> Reply:
        first, second = tokens(body)
        fields = [
            ("content", 0, f"A {first} a"),
            ("content", 1, f"B {second} b"),
            ("reasoning_content", 0, f"C {second} c"),
            ("refusal", 1, f"D {first} d"),
        ]
        rows = []
        for at in range(max(len(text) for _, _, text in fields)):
            rows += [chunk({name: text[at]}, index=index) for name, index, text in fields if at < len(text)]
        return stream(*rows, chunk({}, "stop"), chunk({}, "stop", index=1))

    end.script = script
    answered = ask(gate, n=2)
    assert answered.text() == f"A {ANNA} a"
    assert answered.text("content", 1) == f"B {ROBERT} b"
    assert answered.text("reasoning_content") == f"C {ROBERT} c"
    assert answered.text("refusal", 1) == f"D {ANNA} d"
    assert answered.tacit["restored"] == 4


def test_s14_text_is_what_was_said_and_not_words_joined_by_spaces(end: Upstream, gate: Running) -> None:
    text = "un believ able\n\tindent,no  space  .  End"
    end.script = lambda body: streamed_text(text, 2)
    assert ask(gate).text() == text


@pytest.mark.parametrize("field", ["content", "reasoning_content", "refusal"])
def test_whole_answers_are_restored_like_streams(end: Upstream, gate: Running, field: str) -> None:
    def script(body: Body) -> Reply:
        text = f"{tokens(body)[0]} met {tokens(body)[1]}"
        given = {"role": "assistant", "content": None, field: text}
        return Reply([json.dumps({"choices": [{"index": 0, "message": given, "finish_reason": "stop"}]}).encode()])

    end.script = script
    answered: httpx.Response = gate.chat(f"{ANNA} wrote to {ROBERT}")
    assert answered.json()["choices"][0]["message"][field] == f"{ANNA} met {ROBERT}"


def test_the_same_text_whole_and_streamed(end: Upstream, gate: Running) -> None:
    text = f"About {ANNA}, {EMAIL} and **{ROBERT}**: `{ANNA}` / {ANNA}'s."
    end.script = echo
    assert gate.said(text) == ask(gate, text).text() == text
    assert last_text(end.bodies[-1]).count("PERSON_") == 4
