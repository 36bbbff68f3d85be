"""The adapters, where their libraries are: a real LiteLLM proxy before a real upstream, a real LangChain chain.

Neither library is needed by Tacit or installed with it; docs/vault.md says how these tests are run.
"""

import asyncio
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tacit_clients.adapters._answers import structural
from tacit_privacy.errors import MissingExtra, TextRefused
from tacit_privacy.pii.api import open_redactor
from tacit_privacy.pii.policy import DetectionPolicy, RedactionPolicy, RestorePolicy

POLICY = RedactionPolicy(
    detection=DetectionPolicy(recogniser="none", deny=("Anna Kowalska",)), restore=RestorePolicy(tools=("send",))
)
TOML = '[detection]\nrecogniser = "none"\ndeny = ["Anna Kowalska"]\n[restore]\ntools = ["send"]\n'
MAIL, NAME = "anna@secret.example", "Anna Kowalska"
LITELLM = Path(sys.executable).with_name("litellm")

needs_litellm = pytest.mark.skipif(
    not LITELLM.exists() or find_spec("litellm") is None, reason="litellm is not installed"
)
needs_langchain = pytest.mark.skipif(find_spec("langchain_core") is None, reason="langchain-core is not installed")


@pytest.mark.parametrize(
    ("module", "library"), [("litellm_guardrail", "litellm"), ("langchain_runnable", "langchain_core")]
)
def test_an_absent_library_is_named(module: str, library: str) -> None:
    if find_spec(library) is not None:
        pytest.skip(f"{library} is installed")
    with pytest.raises(MissingExtra, match="pip install"):
        __import__(f"tacit_clients.adapters.{module}")


def test_what_of_a_body_is_the_protocol() -> None:
    call = {"name": "send", "arguments": json.dumps({"id": MAIL, "type": MAIL})}
    tool = {"name": "send", "description": f"for {MAIL}", "parameters": {"required": ["to"]}}
    body = {
        "messages": [
            {"role": "user", "name": MAIL, "content": [{"type": "text", "text": MAIL}]},
            {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": call}]},
        ],
        "tools": [{"type": "function", "function": tool}],
    }
    with open_redactor(POLICY) as redactor:
        safe = redactor.redact_body(body, structural)
        assert MAIL not in json.dumps(safe)
        assert redactor.restore(json.dumps(safe)) == json.dumps(body)
        assert safe["tools"][0]["function"]["name"] == "send" and safe["messages"][0]["role"] == "user"
        image = {"messages": [{"content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]}
        with pytest.raises(TextRefused, match="picture"):
            redactor.redact_body(image, structural)


# --- LiteLLM


class Upstream(BaseHTTPRequestHandler):
    """Speaks the OpenAI protocol: says back what it was told, in pieces of three characters when streaming."""

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append(raw)  # type: ignore[attr-defined]
        body = json.loads(raw)
        said = f"You said: {body['messages'][-1]['content']}"
        call = {"id": "c1", "type": "function", "function": {"name": "send", "arguments": json.dumps({"to": said})}}
        calls = [call] if body.get("tools") else None
        if body.get("stream"):
            self._stream(said, calls)
        else:
            message = {"role": "assistant", "content": said, "tool_calls": calls}
            self._answer({"choices": [{"index": 0, "finish_reason": "stop", "message": message}], "usage": USAGE})

    def _answer(self, document: dict[str, Any]) -> None:
        raw = json.dumps({"id": "x", "object": "chat.completion", "created": 1, "model": "m", **document}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _stream(self, said: str, calls: Any) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        deltas: list[dict[str, Any]] = [{"content": said[at : at + 3]} for at in range(0, len(said), 3)]
        deltas[0]["role"] = "assistant"
        if calls:
            text, function = calls[0]["function"]["arguments"], {"name": "send", "arguments": ""}
            deltas.append({"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": function}]})
            pieces = [text[at : at + 3] for at in range(0, len(text), 3)]
            deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in pieces]
        for number, delta in enumerate([*deltas, {}]):
            reason = "stop" if number == len(deltas) else None
            chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
            chunk["choices"] = [{"index": 0, "delta": delta, "finish_reason": reason}]
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, list[bytes], Path]]:
    """The proxy's port, what reached the upstream, and the proxy's log."""
    folder = tmp_path_factory.mktemp("proxy")
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    seen: list[bytes] = []
    upstream.seen = seen  # type: ignore[attr-defined]
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    (folder / "policy.toml").write_text(TOML)
    (folder / "guard.py").write_text("from tacit_clients.adapters.litellm_guardrail import TacitGuardrail\n")
    (folder / "config.yaml").write_text(
        "model_list:\n  - model_name: m\n    litellm_params:\n      model: openai/m\n      api_key: x\n"
        f"      api_base: http://127.0.0.1:{upstream.server_port}/v1\n"
        "guardrails:\n  - guardrail_name: tacit\n    litellm_params:\n      guardrail: guard.TacitGuardrail\n"
        f"      mode: [pre_call, post_call]\n      default_on: true\n      policy: {folder / 'policy.toml'}\n"
        "litellm_settings: {telemetry: false, num_retries: 0}\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"LITELLM_TELEMETRY": "False", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "*"}
    allowed = {"LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [LITELLM, "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port), "--detailed_debug"],
            cwd=folder, env=os.environ | quiet | allowed, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            _await(port, process, folder / "log")
            yield port, seen, folder / "log"
        finally:
            process.terminate()
            process.wait(30)
            upstream.shutdown()
            upstream.server_close()


def _await(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health/liveliness")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.5)
        finally:
            connection.close()
    raise RuntimeError(f"the proxy did not start: {log.read_text()[-2000:]}")


def ask(port: int, **body: Any) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        given = json.dumps({"model": "m", **body})
        connection.request("POST", "/v1/chat/completions", given, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


TOOL = {"type": "function", "function": {"name": "send", "description": f"ask {NAME}", "parameters": {}}}


@needs_litellm
def test_a_proxy_sends_nothing_that_identifies_and_answers_in_full(proxy: tuple[int, list[bytes], Path]) -> None:
    port, seen, _ = proxy
    seen.clear()
    messages = [{"role": "user", "content": f"{NAME} is {MAIL}"}]
    status, text = ask(port, messages=messages, tools=[TOOL], user=MAIL, extra_body={"note": [MAIL]}, top_k=3)
    assert status == 200, text
    message = json.loads(text)["choices"][0]["message"]
    assert message["content"] == f"You said: {NAME} is {MAIL}"
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"to": f"You said: {NAME} is {MAIL}"}
    assert len(seen) == 1 and NAME.encode() not in seen[0] and MAIL.encode() not in seen[0]
    assert b'"note":["EMAIL_ADDRESS_' in seen[0]


@needs_litellm
def test_a_streamed_answer_is_restored_however_it_is_cut(proxy: tuple[int, list[bytes], Path]) -> None:
    port, seen, _ = proxy
    seen.clear()
    messages = [{"role": "user", "content": f"{NAME} is {MAIL}"}]
    status, text = ask(port, messages=messages, tools=[TOOL], stream=True)
    assert status == 200, text
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    deltas = [choice["delta"] for line in lines[:-1] for choice in json.loads(line)["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == f"You said: {NAME} is {MAIL}"
    calls = [call for delta in deltas for call in delta.get("tool_calls") or ()]
    arguments = "".join(call["function"].get("arguments") or "" for call in calls)
    assert json.loads(arguments) == {"to": f"You said: {NAME} is {MAIL}"}
    assert len(seen) == 1 and NAME.encode() not in seen[0] and MAIL.encode() not in seen[0]


@needs_litellm
def test_what_may_not_leave_does_not_and_is_in_no_error(proxy: tuple[int, list[bytes], Path]) -> None:
    port, seen, _ = proxy
    seen.clear()
    secret = "AKIA" + "IOSFODNN7EXAMPL3"
    image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    for content, word in ((f"key {secret}", "SECRET"), (image, "picture")):
        status, text = ask(port, messages=[{"role": "user", "content": content}])
        assert status == 400 and word in text and secret not in text, text
    assert seen == []


# --- LangChain


@needs_langchain
def test_a_chain_asks_redacted_and_answers_restored() -> None:
    from langchain_core.language_models import GenericFakeChatModel  # type: ignore[import-not-found]
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage  # type: ignore[import-not-found]
    from langchain_core.output_parsers import StrOutputParser  # type: ignore[import-not-found]
    from langchain_core.prompts import ChatPromptTemplate  # type: ignore[import-not-found]

    from tacit_clients.adapters.langchain_runnable import redacted

    seen: list[Any] = []

    class Echo(GenericFakeChatModel):  # type: ignore[misc]
        """Says back what it was told; its stream splits at spaces."""

        def _generate(self, messages: Any, *anything: Any, **more: Any) -> Any:
            seen.append(messages)
            self.messages = iter([AIMessage(content=f"You said: {messages[-1].content} .")])
            return super()._generate(messages, *anything, **more)

    with open_redactor(POLICY) as redactor:
        model = redacted(Echo(messages=iter([])), redactor)
        chain = ChatPromptTemplate.from_messages([("system", f"Help {NAME}"), ("human", "{text}")]) | model
        said, full = f"{NAME} is {MAIL}", f"You said: {NAME} is {MAIL} ."
        assert chain.invoke({"text": said}).content == full
        assert (chain | StrOutputParser()).invoke({"text": said}) == full
        assert "".join(chunk.content for chunk in chain.stream({"text": said})) == full
        assert asyncio.run(chain.ainvoke({"text": said})).content == full

        async def gathered() -> str:
            return "".join([chunk.content async for chunk in model.astream([SystemMessage("x"), HumanMessage(said)])])

        assert asyncio.run(gathered()) == full
        assert model.invoke(said).content == full
        told = repr(seen)
        assert len(seen) == 6 and NAME not in told and MAIL not in told and "EMAIL_ADDRESS_" in told
        sessions = [{"configurable": {"session_id": name}} for name in ("one", "two")]
        for session in sessions:
            model.invoke(MAIL, config=session)
        assert seen[-1][-1].content != seen[-2][-1].content
        with pytest.raises(TextRefused):
            model.invoke("key AKIA" + "IOSFODNN7EXAMPL3")
        assert len(seen) == 8


@needs_langchain
def test_tools_arguments_and_blocks_follow_the_policy() -> None:
    from langchain_core.language_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage

    from tacit_clients.adapters.langchain_runnable import redacted

    class Calls(GenericFakeChatModel):  # type: ignore[misc]
        """Calls two tools with what it was told; streams blocks and arguments in pieces."""

        def _generate(self, messages: Any, *anything: Any, **more: Any) -> Any:
            told = messages[0].content
            calls = [
                {"name": name, "args": {"to": [told]}, "id": name, "type": "tool_call"} for name in ("send", "post")
            ]
            self.messages = iter([AIMessage(content="", tool_calls=calls)])
            return super()._generate(messages, *anything, **more)

        def _stream(self, messages: Any, *anything: Any, **more: Any) -> Iterator[Any]:
            from langchain_core.outputs import ChatGenerationChunk  # type: ignore[import-not-found]

            told = messages[0].content
            for at in range(0, len(told), 3):
                block = {"type": "text", "text": told[at : at + 3], "index": 0}
                yield ChatGenerationChunk(message=AIMessageChunk(content=[block]))
            text = json.dumps({"to": told})
            for index, name in enumerate(("send", "post")):
                for at in range(0, len(text), 3):
                    first = name if not at else None
                    piece = {"name": first, "args": text[at : at + 3], "id": first, "index": index}
                    yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[piece]))

    with open_redactor(POLICY) as redactor:
        model = redacted(Calls(messages=iter([])), redactor)
        answer = model.invoke([HumanMessage(MAIL)])
        restored, kept = answer.tool_calls
        assert restored["args"] == {"to": [MAIL]} and kept["args"]["to"][0].startswith("EMAIL_ADDRESS_")
        whole = None
        for chunk in model.stream([HumanMessage(MAIL), answer, ToolMessage(MAIL, tool_call_id="send")]):
            whole = chunk if whole is None else whole + chunk
        assert whole is not None
        assert "".join(block["text"] for block in whole.content if isinstance(block, dict)) == MAIL
        assert [call["args"]["to"] == MAIL for call in whole.tool_calls] == [True, False]
