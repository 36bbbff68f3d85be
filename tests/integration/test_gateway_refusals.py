"""What a client is told when it gets no answer: whose fault it is, what to do about it, when to come back."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateways import ANNA, Failing, Running, Scripted, policy_of, running, user
from upstreams import Reply, Upstream, echo

from tacit_clients.egress.breaker import CircuitOpen
from tacit_clients.gateway.errors import problem_of
from tacit_clients.slm.generation import LocalModel
from tacit_clients.slm.places import NANO_FOLDER
from tacit_privacy.errors import TextRefused, UpstreamFailed
from tacit_privacy.pii.vault.keys import KeyFile
from tacit_privacy.pii.vault.store import Vault

SECRET = "sk-proj-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789abcdEFGH"
PICTURE = "data:image/png;base64,iVBORw0KGgo="
TOOL = {"type": "function", "function": {"name": "f"}}


@pytest.fixture(scope="module")
def gate(end: Upstream) -> Iterator[Running]:
    with running(end, local=Scripted()) as found:
        yield found


@pytest.fixture(autouse=True)
def fresh(end: Upstream) -> None:
    end.script = echo
    end.received.clear()


def said(answered: httpx.Response, status: int, code: str) -> str:
    """The message of an error, once its status and code are as they should be."""
    error = answered.json()["error"]
    assert (answered.status_code, error["code"]) == (status, code), answered.text
    return str(error["message"])


# --- the device's own faults


@pytest.fixture
def unloadable(tmp_path: Path) -> Iterator[LocalModel]:
    """A model whose folder looks whole and is not."""
    folder = tmp_path / "model"
    shutil.copytree(NANO_FOLDER, folder)
    (folder / "model.safetensors").write_bytes(b"no weights")
    model = LocalModel.open(folder)
    model.check()
    yield model
    model._drain(0)


def test_a_local_model_that_cannot_be_loaded_is_no_fault_of_the_client(end: Upstream, unloadable: LocalModel) -> None:
    with running(end, local=unloadable) as gate:
        for stream in (False, True):
            said(gate.chat("hi", "tacit/local", stream=stream), 503, "local_unusable")
        answered = gate.chat("hi", "tacit/auto").json()
        assert answered["tacit"]["answered_by"] == "llm" and answered["tacit"]["reason"] == "local_unusable"
        assert gate.log.count("the local model cannot be loaded") == 1
        (left,) = gate.gateway.book.entries()
        assert left.reason == "local_unusable"
    assert len(end.received) == 1


def test_what_the_gate_refuses_stays_refused_without_a_local_model(end: Upstream, unloadable: LocalModel) -> None:
    with running(end, policy_of(types={"PERSON": "local_only"}), local=unloadable) as gate:
        said(gate.chat(f"I am {ANNA}", "tacit/llm"), 403, "local_only")
        said(gate.chat(f"I am {ANNA}", "tacit/auto"), 403, "local_only")
    with running("http://127.0.0.1:9/v1", local=unloadable, upstream={"retries": 0}) as gate:
        said(gate.chat("hi", "tacit/auto"), 502, "unreachable")


def test_an_unloadable_model_is_not_loaded_anew_for_every_request(
    unloadable: LocalModel, end: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[object] = []
    load = unloadable._load

    def counted(adapters: Any) -> Any:
        loads.append(adapters)
        return load(adapters)

    monkeypatch.setattr(unloadable, "_load", counted)
    with running(end, local=unloadable) as gate:
        for _ in range(3):
            said(gate.chat("hi", "tacit/local"), 503, "local_unusable")
    assert len(loads) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_vault_that_got_another_key_is_for_the_owner_to_open(end: Upstream, tmp_path: Path, stream: bool) -> None:
    file = tmp_path / "device.vault"
    old, new = KeyFile(tmp_path / "old.key"), KeyFile(tmp_path / "new.key")
    with Vault.open(file, old) as vault, running(end, local=Scripted(), vault=vault) as gate:
        gate.said(f"I am {ANNA}")
        with Vault.open(file, old) as other:
            other.rotate(new)
        for model in ("tacit/llm", "tacit/llm", "tacit/auto"):
            tools = {"tools": [TOOL]} if model == "tacit/auto" else {}
            told = said(gate.chat(f"I am {ANNA}", model, stream=stream, **tools), 503, "vault_locked")
            assert "start the gateway again" in told and ANNA not in told
        kept = {"model": "tacit/llm", "input": f"I am {ANNA}", "stream": stream}
        said(gate.post("/v1/responses", kept), 503, "vault_locked")
        said(gate.post("/v1/preview", {"model": "tacit/llm", "messages": [user(ANNA)]}), 503, "vault_locked")
        assert gate.chat("hi", "tacit/local").status_code == 200
        assert gate.log.count("the vault has another key now") == 1 and "Kowalska" not in gate.log
    assert len(end.received) == 1


# --- requests that mean something else than they would get


@pytest.mark.parametrize("choice", [{}, {"tool_choice": "auto"}, {"tool_choice": "required"}, {"tool_choice": None}])
def test_the_local_model_refuses_tools(end: Upstream, gate: Running, choice: dict[str, Any]) -> None:
    assert "tools" in said(gate.chat("go", "tacit/local", tools=[TOOL], **choice), 400, "bad_request")
    answered = gate.chat("go", "tacit/auto", tools=[TOOL], **choice).json()
    assert answered["tacit"]["reason"] == "needs_tools" and len(end.received) == 1


def test_tools_of_the_older_name_are_tools(end: Upstream, gate: Running) -> None:
    functions = [{"name": "f"}]
    said(gate.chat("go", "tacit/local", functions=functions), 400, "bad_request")
    assert gate.chat("go", "tacit/auto", functions=functions).json()["tacit"]["reason"] == "needs_tools"
    assert gate.chat("go", "tacit/local", functions=functions, function_call="none").status_code == 200


def test_tools_that_may_not_be_called_are_nothing_to_refuse(end: Upstream, gate: Running) -> None:
    for model in ("tacit/local", "tacit/auto"):
        answered = gate.chat("go", model, tools=[TOOL], tool_choice="none").json()
        assert answered["tacit"]["answered_by"] == "local"
    assert gate.chat("go", "tacit/local", tools=[]).status_code == 200 and end.received == []


@pytest.mark.parametrize("value", ["yes", "true", 1, 0, [], {}])
def test_stream_is_true_or_false(end: Upstream, gate: Running, value: Any) -> None:
    for path, body in (
        ("/v1/chat/completions", {"model": "tacit/llm", "messages": [user("hi")]}),
        ("/v1/preview", {"model": "tacit/llm", "messages": [user("hi")]}),
        ("/v1/responses", {"model": "tacit/llm", "input": "hi"}),
    ):
        assert said(gate.post(path, body | {"stream": value}), 400, "bad_request") == "stream must be true or false"
    assert end.received == []


def test_stream_null_is_false(gate: Running) -> None:
    assert gate.chat("hi", stream=None).json()["object"] == "chat.completion"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "7"])
def test_a_local_answer_has_at_least_one_token(gate: Running, name: str, value: Any) -> None:
    told = said(gate.chat("hi", "tacit/local", **{name: value}), 400, "bad_request")
    assert told == f"{name} must be a whole number of at least 1"
    assert gate.chat("hi", "tacit/local", **{name: None}).status_code == 200
    assert gate.chat("hi", "tacit/local", **{name: 1}).status_code == 200


# --- remedies


def picture() -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PICTURE}}]}]


Ask = Callable[[Running], httpx.Response]


@pytest.mark.parametrize(
    ("ask", "code", "remedy"),
    [
        (lambda gate: gate.chat(f"My key is {SECRET}"), "block", "it holds SECRET; take it out, or change the policy"),
        (
            lambda gate: gate.post("/v1/chat/completions", {"model": "tacit/llm", "messages": picture()}),
            "local_only",
            "mask an image; ask tacit/local, take it out, or change the policy",
        ),
        (lambda gate: gate.chat("%41nna%20%4Bowalska, and I am " + ANNA), "known_value", "write it plainly"),
    ],
)
def test_a_refusal_says_what_to_do(end: Upstream, ask: Ask, code: str, remedy: str) -> None:
    with running(end) as gate:
        told = said(ask(gate), 403, code)
    assert remedy in told and "vault" not in told and end.received == []
    assert not any(text in told for text in (SECRET, ANNA, "walska", PICTURE))


def test_a_failed_check_and_a_pause_say_what_to_do(end: Upstream) -> None:
    with running(end, policy_of(on_error="refuse"), detector=Failing()) as gate:
        assert "try again" in said(gate.chat(f"I am {ANNA}"), 403, "gate_error")
        gate.gateway.runtime.pause(True)
        assert "owner's page" in said(gate.chat("hi"), 403, "paused")


@pytest.mark.parametrize("reason", ["block", "local_only", "known_value", "pattern", "gate_error", "not_recorded"])
def test_every_refusal_of_the_gate_has_a_remedy(reason: str) -> None:
    why, _, remedy = problem_of(TextRefused(reason, "for a reason")).message.partition("; ")
    assert why and remedy


@pytest.mark.parametrize("reason", ["unreachable", "timeout", "malformed", "cut_off", "open_circuit"])
def test_every_failure_of_the_upstream_has_a_remedy(reason: str) -> None:
    assert any(word in problem_of(UpstreamFailed(reason)).message for word in ("--upstream", "try again"))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 418, 422, 429, 500])
def test_every_status_of_the_upstream_has_a_remedy(status: int) -> None:
    assert problem_of(UpstreamFailed("status", status)).message.partition("; ")[2]


def test_an_open_circuit_says_when_to_come_back(end: Upstream) -> None:
    end.script = lambda body: Reply([b"ill"], 500, {"content-type": "text/plain"})
    with running(end, upstream={"breaker_failures": 1, "breaker_rest_s": 20, "retries": 0}) as gate:
        assert gate.chat("hi").status_code == 502
        for model, stream in (("tacit/llm", False), ("tacit/llm", True), ("tacit/auto", False)):
            refused = gate.chat("hi", model, stream=stream)
            said(refused, 503, "open_circuit")
            assert 15 <= int(refused.headers["retry-after"]) <= 25
    assert len(end.received) == 1


def test_an_open_circuit_rebuilds_itself() -> None:
    error = CircuitOpen(2.5)
    again = type(error)(*error.args)
    assert (again.reason, again.wait_s) == ("open_circuit", 2.5)
    assert problem_of(again).retry_after == 3 and problem_of(CircuitOpen(0.0)).retry_after == 1


def test_no_remedy_quotes_the_request(end: Upstream) -> None:
    odd = {"model": "tacit/local", "messages": [user("hi")], "n": ANNA, "tools": ANNA}
    with running(end, local=Scripted()) as gate:
        assert "Kowalska" not in gate.post("/v1/chat/completions", odd).text
        assert "Kowalska" not in json.dumps(gate.post("/v1/chat/completions", odd | {"stream": ANNA}).json())
