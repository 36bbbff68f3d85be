"""The Responses API: create, stream, go on, fetch, delete."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gateways import ANNA, EMAIL, ROBERT, Running, policy_of, running
from upstreams import Body, Reply, Upstream, chunk, echo, message, stream, whole

from tacit_privacy.pii.vault.keys import RawKey
from tacit_privacy.pii.vault.store import Vault


@pytest.fixture(scope="module")
def gate(end: Upstream) -> Iterator[Running]:
    with running(end, policy_of(restore={"tools": ["*"]})) as found:
        yield found


@pytest.fixture(autouse=True)
def fresh(end: Upstream) -> None:
    end.script = echo
    end.received.clear()


def create(gate: Running, given: Any, **more: Any) -> Body:
    answered = gate.post("/v1/responses", {"model": "tacit/llm", "input": given, **more})
    assert answered.status_code == 200, answered.text
    row: Body = answered.json()
    return row


def text_of(row: Body) -> str:
    return "".join(part["text"] for item in row["output"] if item["type"] == "message" for part in item["content"])


def test_a_response_has_its_parts(gate: Running) -> None:
    row = create(gate, f"I am {ANNA}")
    assert text_of(row) == f"I am {ANNA}"
    assert row["status"] == "completed" and row["usage"]["input_tokens"] == 7
    assert row["tacit"]["masked"] == {"PERSON": 1}


def test_previous_response_continues_conversation_and_transcript(end: Upstream, gate: Running) -> None:
    first = create(gate, f"I am {ANNA}", instructions="Be brief")
    second = create(gate, f"Who is {ANNA}?", previous_response_id=first["id"], instructions="Be kind")
    sent = end.bodies[-1]["messages"]
    assert [m["role"] for m in sent] == ["system", "user", "assistant", "user"]
    assert sent[0]["content"] == "Be kind"  # instructions hold for one response alone
    token = end.bodies[0]["messages"][1]["content"].split()[-1]
    assert sent[3]["content"] == f"Who is {token}?"
    third = create(gate, "and?", previous_response_id=second["id"])
    assert len(end.bodies[-1]["messages"]) == 5 and third["previous_response_id"] == second["id"]


def test_fetch_and_delete(gate: Running) -> None:
    row = create(gate, f"I am {ANNA}")
    fetched = gate.client.get(f"/v1/responses/{row['id']}").json()
    assert fetched == row
    assert gate.client.delete(f"/v1/responses/{row['id']}").json()["deleted"] is True
    assert gate.client.get(f"/v1/responses/{row['id']}").status_code == 404
    assert gate.client.delete(f"/v1/responses/{row['id']}").status_code == 404
    missing = gate.post("/v1/responses", {"model": "tacit/llm", "input": "x", "previous_response_id": row["id"]})
    assert missing.status_code == 404


def test_what_is_not_stored_is_not_kept_and_never_stored_upstream(end: Upstream, gate: Running) -> None:
    row = create(gate, "hi", store=False)
    assert gate.client.get(f"/v1/responses/{row['id']}").status_code == 404
    create(gate, "hi", store=True)
    assert all("store" not in body for body in end.bodies)


def test_responses_outlive_the_process_sealed(end: Upstream, tmp_path: Path) -> None:
    key = RawKey.generate()
    with Vault.open(tmp_path / "v", key) as vault, running(end, vault=vault) as gate:
        row = create(gate, f"I am {ANNA}")
    with Vault.open(tmp_path / "v", key) as vault, running(end, vault=vault) as gate:
        assert text_of(gate.client.get(f"/v1/responses/{row['id']}").json()) == f"I am {ANNA}"
        again = create(gate, "again", previous_response_id=row["id"])
    assert again["status"] == "completed"
    assert not any(b"Kowalska" in path.read_bytes() for path in tmp_path.iterdir())


def test_function_calls_in_both_directions(end: Upstream, gate: Running) -> None:
    tool = {"type": "function", "name": "find", "parameters": {"type": "object", "properties": {}}}

    def script(body: Body) -> Reply:
        who = body["messages"][0]["content"].split()[-1]
        call = {"id": "call_9", "type": "function", "function": {"name": "find", "arguments": json.dumps({"who": who})}}
        return whole(message(None, "tool_calls", tool_calls=[call]))

    end.script = script
    row = create(gate, f"Find {ANNA}", tools=[tool])
    call = next(item for item in row["output"] if item["type"] == "function_call")
    assert json.loads(call["arguments"]) == {"who": ANNA} and call["name"] == "find"
    end.script = echo
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": f"{ANNA} <{EMAIL}>"}
    done = create(gate, [output], previous_response_id=row["id"], tools=[tool])
    assert text_of(done) == f"{ANNA} <{EMAIL}>"
    sent = end.bodies[-1]["messages"]
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"]
    assert b"Kowalska" not in end.received[-1]


def events(raw: str) -> list[Body]:
    return [json.loads(line[6:]) for line in raw.split("\n") if line.startswith("data: ")]


def test_a_stream_opens_fills_and_closes_every_item(end: Upstream, gate: Running) -> None:
    def script(body: Body) -> Reply:
        call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":'}}
        return stream(
            chunk({"reasoning_content": "hm"}),
            chunk({"content": "Hel"}),
            chunk({"content": "lo"}),
            chunk({"tool_calls": [call]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}),
            chunk({}, "tool_calls"),
        )

    end.script = script
    raw = gate.post("/v1/responses", {"model": "tacit/llm", "stream": True, "input": "go"}).text
    rows = events(raw)
    kinds = [row["type"] for row in rows]
    assert kinds[:2] == ["response.created", "response.in_progress"] and kinds[-1] == "response.completed"
    assert kinds.count("response.output_item.added") == kinds.count("response.output_item.done") == 3
    assert [item["type"] for item in rows[-1]["response"]["output"]] == ["reasoning", "message", "function_call"]
    done = next(row for row in rows if row["type"] == "response.function_call_arguments.done")
    assert done["arguments"] == '{"a":1}'
    assert "tacit" in rows[-1]["response"]


def test_a_cut_answer_is_incomplete(end: Upstream, gate: Running) -> None:
    end.script = lambda body: whole(message("half", "length"))
    row = create(gate, "go")
    assert row["status"] == "incomplete" and row["incomplete_details"] == {"reason": "max_output_tokens"}


def test_a_stream_that_fails_says_so(end: Upstream, gate: Running) -> None:
    end.script = lambda body: stream(chunk({"content": "half"}), done=False)
    rows = events(gate.post("/v1/responses", {"model": "tacit/llm", "stream": True, "input": "go"}).text)
    assert [row["type"] for row in rows[-2:]] == ["error", "response.failed"]
    assert rows[-1]["response"]["output"] == []


@pytest.mark.parametrize(
    "body",
    [
        {"input": [{"type": "item_reference", "id": "x"}]},
        {"input": "x", "background": True},
        {"input": "x", "tools": [{"type": "file_search", "vector_store_ids": ["x"]}]},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]},
        {"input": 7},
        {},
    ],
)
def test_what_lives_at_the_provider_is_refused(end: Upstream, gate: Running, body: Body) -> None:
    answered = gate.post("/v1/responses", {"model": "tacit/llm", **body})
    assert answered.status_code in (400, 403) and end.received == []


def test_two_conversations_by_id_do_not_mix(end: Upstream, gate: Running) -> None:
    ones = create(gate, f"I am {ANNA}")
    others = create(gate, f"I am {ROBERT}")
    token = end.bodies[0]["messages"][0]["content"].split()[-1]
    end.script = lambda body: whole(message(f"psst {token}"))
    assert ANNA not in text_of(create(gate, "who?", previous_response_id=others["id"]))
    assert ANNA in text_of(create(gate, "who?", previous_response_id=ones["id"]))
