"""The official OpenAI SDK against ``tacit gateway`` as a process of its own, with a real HTTP upstream."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from gateways import ANNA, EMAIL
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionToolParam
from openai.types.responses import FunctionToolParam
from processes import Process, gateway
from pydantic import BaseModel
from upstreams import Body, Reply, Upstream, chunk, echo, message, stream, whole

TOKEN = re.compile(r"PERSON_[a-z0-9]{5,}")
POLICY = '[detection]\nrecogniser = "none"\ndeny = ["Anna Kowalska"]\n[restore]\ntools = ["send_mail"]\n'
TEXT = f"Write to {ANNA} at {EMAIL}."


@pytest.fixture(scope="module")
def process(end: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    policy = tmp_path_factory.mktemp("policy") / "policy.toml"
    policy.write_text(POLICY)
    arguments = ("--upstream", end.url, "--model", "up-1", "--policy", str(policy))
    with gateway(*arguments, TACIT_TOKEN="secret-token", TACIT_UPSTREAM_KEY="sk-up") as found:
        yield found
    assert found.stop() == 0
    assert not any(value in found.stderr for value in (ANNA, EMAIL, "secret-token", "sk-up"))


@pytest.fixture
def client(process: Process) -> Iterator[OpenAI]:
    with OpenAI(base_url=process.base_url, api_key="secret-token", max_retries=0) as found:
        yield found


@pytest.fixture(autouse=True)
def fresh(end: Upstream) -> None:
    end.script = echo
    end.received.clear()


def test_models(client: OpenAI) -> None:
    modes = ("auto", "llm", "local", "pipeline", "routing", "auxiliary", "distillation", "fusion")
    assert [model.id for model in client.models.list()] == [f"tacit/{mode}" for mode in modes]
    assert client.models.retrieve("tacit/llm").owned_by == "tacit"


def test_chat(end: Upstream, client: OpenAI) -> None:
    answered = client.chat.completions.create(model="tacit/llm", messages=[{"role": "user", "content": TEXT}])
    assert answered.choices[0].message.content == TEXT
    assert answered.usage is not None and answered.usage.total_tokens == 12
    told = (answered.model_extra or {})["tacit"]
    assert told["masked"] == {"CUSTOM": 1, "EMAIL_ADDRESS": 1}
    assert ANNA.encode() not in end.everything and EMAIL.encode() not in end.everything


def test_chat_streams(client: OpenAI) -> None:
    parts = list(
        client.chat.completions.create(
            model="tacit/llm",
            messages=[{"role": "user", "content": TEXT}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    said = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    assert said == TEXT and len(parts) > 5
    assert parts[-1].usage is not None and parts[-1].usage.total_tokens == 12
    assert (parts[-1].model_extra or {})["tacit"]["answered_by"] == "llm"


def test_the_stream_helper(client: OpenAI) -> None:
    with client.chat.completions.stream(model="tacit/llm", messages=[{"role": "user", "content": TEXT}]) as events:
        for _ in events:
            continue
        done = events.get_final_completion()
    assert done.choices[0].message.content == TEXT


TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "send_mail", "parameters": {"type": "object", "properties": {"to": {"type": "string"}}}},
}


def calling(body: Body) -> Reply:
    """First a call of the tool with what it was told, then an echo of the tool's result."""
    last = body["messages"][-1]
    if last["role"] == "tool":
        return echo(body)
    arguments = json.dumps({"to": re.findall(r"[A-Z_]+_[a-z0-9]{5,}", str(last["content"]))[0]})
    if not body.get("stream"):
        call = {"id": "call_x", "type": "function", "function": {"name": "send_mail", "arguments": arguments}}
        return whole(message(None, "tool_calls", tool_calls=[call]))
    first = {"index": 0, "id": "call_x", "type": "function", "function": {"name": "send_mail", "arguments": ""}}
    rest = [{"index": 0, "function": {"arguments": letter}} for letter in arguments]
    return stream(*(chunk({"tool_calls": [call]}) for call in [first, *rest]), chunk({}, "tool_calls"))


def test_a_tool_loop(end: Upstream, client: OpenAI) -> None:
    end.script = calling
    first = client.chat.completions.create(
        model="tacit/llm", messages=[{"role": "user", "content": TEXT}], tools=[TOOL]
    )
    calls = first.choices[0].message.tool_calls
    assert calls is not None and calls[0].type == "function"
    assert json.loads(calls[0].function.arguments) == {"to": ANNA}
    second = client.chat.completions.create(
        model="tacit/llm",
        messages=[
            {"role": "user", "content": TEXT},
            first.choices[0].message.model_dump(exclude_none=True),  # type: ignore[list-item]
            {"role": "tool", "tool_call_id": calls[0].id, "content": f"sent to {ANNA}"},
        ],
        tools=[TOOL],
    )
    assert second.choices[0].message.content == f"sent to {ANNA}"
    assert ANNA.encode() not in end.everything


def test_a_tool_call_streams(end: Upstream, client: OpenAI) -> None:
    end.script = calling
    with client.chat.completions.stream(
        model="tacit/llm", messages=[{"role": "user", "content": TEXT}], tools=[TOOL]
    ) as events:
        for _ in events:
            continue
        done = events.get_final_completion()
    calls = done.choices[0].message.tool_calls
    assert calls is not None and json.loads(calls[0].function.arguments) == {"to": ANNA}


class Person(BaseModel):
    name: str


def test_parsed_answers(end: Upstream, client: OpenAI) -> None:
    end.script = lambda body: whole(message(json.dumps({"name": body["messages"][0]["content"].split()[-1]})))
    done = client.chat.completions.parse(
        model="tacit/llm", messages=[{"role": "user", "content": f"Who? {ANNA}"}], response_format=Person
    )
    assert done.choices[0].message.parsed == Person(name=ANNA)


def test_responses(end: Upstream, client: OpenAI) -> None:
    first = client.responses.create(model="tacit/llm", input=TEXT, instructions="Be kind")
    assert first.output_text == TEXT and first.usage is not None and first.usage.input_tokens == 7
    second = client.responses.create(model="tacit/llm", input=f"And {ANNA}?", previous_response_id=first.id)
    assert second.output_text == f"And {ANNA}?"
    assert client.responses.retrieve(first.id).output_text == TEXT
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    assert ANNA.encode() not in end.everything


def test_responses_stream(client: OpenAI) -> None:
    with client.responses.stream(model="tacit/llm", input=TEXT) as events:
        kinds = [event.type for event in events]
        done = events.get_final_response()
    assert done.output_text == TEXT
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"


def test_responses_with_tools(end: Upstream, client: OpenAI) -> None:
    end.script = calling
    tool: FunctionToolParam = {"type": "function", "name": "send_mail", "parameters": {}, "strict": False}
    first = client.responses.create(model="tacit/llm", input=TEXT, tools=[tool])
    call = next(item for item in first.output if item.type == "function_call")
    assert json.loads(call.arguments) == {"to": ANNA}
    second = client.responses.create(
        model="tacit/llm",
        previous_response_id=first.id,
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": f"sent to {ANNA}"}],
        tools=[tool],
    )
    assert second.output_text == f"sent to {ANNA}"


def test_errors_become_the_sdks_own(end: Upstream, client: OpenAI, process: Process) -> None:
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "x"}])
    with pytest.raises(openai.PermissionDeniedError) as refused:
        client.chat.completions.create(
            model="tacit/llm",
            messages=[{"role": "user", "content": "key sk-proj-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789abcdEFGH"}],
        )
    assert refused.value.code == "block"
    end.script = lambda body: Reply([b"x"], 429, {"retry-after": "3600"})
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="tacit/llm", messages=[{"role": "user", "content": "x"}])
    end.script = lambda body: stream(chunk({"content": "half"}), done=False)
    with pytest.raises(openai.APIError, match="broke off"):
        list(
            client.chat.completions.create(model="tacit/llm", messages=[{"role": "user", "content": "x"}], stream=True)
        )
    with (
        OpenAI(base_url=process.base_url, api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.list()


def test_async_chat_and_responses(process: Process) -> None:
    async def both() -> tuple[str, str, str]:
        async with AsyncOpenAI(base_url=process.base_url, api_key="secret-token", max_retries=0) as client:
            chat, response = await asyncio.gather(
                client.chat.completions.create(model="tacit/llm", messages=[{"role": "user", "content": TEXT}]),
                client.responses.create(model="tacit/llm", input=TEXT),
            )
            said = ""
            async for part in await client.chat.completions.create(
                model="tacit/llm", messages=[{"role": "user", "content": TEXT}], stream=True
            ):
                said += (part.choices[0].delta.content or "") if part.choices else ""
            return chat.choices[0].message.content or "", response.output_text, said

    assert asyncio.run(both()) == (TEXT, TEXT, TEXT)


def test_the_local_model_answers_and_streams(end: Upstream, client: OpenAI) -> None:
    whole_answer = client.chat.completions.create(
        model="tacit/local", messages=[{"role": "user", "content": TEXT}], max_tokens=8
    )
    parts = client.chat.completions.create(
        model="tacit/local", messages=[{"role": "user", "content": TEXT}], max_tokens=8, stream=True
    )
    said = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    assert said == whole_answer.choices[0].message.content and end.received == []
    assert whole_answer.usage is not None and whole_answer.usage.prompt_tokens > 0


def test_the_first_example_prints_what_the_page_says(end: Upstream) -> None:
    """Word for word, by the shipped policy and the shipped recogniser."""
    page = (Path(__file__).parents[2] / "docs" / "gateway.md").read_text()
    example = page.split("```python\n")[1].partition("```")[0]
    (promised,) = re.findall(r"print\(.*\)  # (.+)", example)
    with gateway("--upstream", end.url, "--model", "up-1") as found:
        here = example.replace("http://127.0.0.1:8484/v1", found.base_url)
        done = subprocess.run([sys.executable, "-c", here], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["Write to Anna Kowalska, anna@example.net", promised], done.stderr
    assert b"Kowalska" not in end.everything and b"anna@" not in end.everything
