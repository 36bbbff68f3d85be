"""Planted values and injected faults: whatever breaks, no value comes out where it must not.

``TACIT_FAULTS`` says how many faults are injected; a thousand take a few minutes.
"""

import json
import os
import random
import sqlite3
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from gateways import Listed, Running, Scripted, memory_log, policy_of, running, settings_of, user
from upstreams import Body, Reply, Upstream, chunk, echo, stream, streamed_text, upstream

from tacit_clients.gateway import security
from tacit_clients.gateway.errors import problem_of
from tacit_privacy.errors import TextRefused
from tacit_privacy.pii.entities import Entity
from tacit_privacy.pii.policy import RedactionPolicy
from tacit_privacy.pii.vault.store import Vault

FAULTS = int(os.environ.get("TACIT_FAULTS", "60"))
CANARIES = ("Zyanya Quetzalxochitl", "zyanya.q@canary.example", "+48 601 234 567", "Ignác Hřebíček")
PIECES = ("zyanya", "quetzalxochitl", "canary.example", "601 234 567", "601234567", "hřebíček")
PROMPT = "Tell {0} at {1} or {2} that {3} called."

Fault = Any


def held(text: str | bytes) -> list[str]:
    """The planted values in ``text``, also where JSON or percent escaped them."""
    raw = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    shown = raw.casefold()
    for escaped, plain in (("\\u0159", "ř"), ("\\u00ed", "í"), ("\\u010d", "č"), ("%20", " ")):
        shown = shown.replace(escaped, plain)
    return [piece for piece in PIECES if piece in shown]


class Moody:
    """A detector, patterns or vault part that fails as the test says, quoting what it was given."""

    def __init__(self, policy: RedactionPolicy) -> None:
        self._listed = Listed(policy, (CANARIES[0], CANARIES[3]))
        self.fault = ""

    def detect(self, texts: Sequence[str]) -> list[list[Entity]]:
        if self.fault == "raises":
            raise ValueError(f"no idea of {list(texts)}")
        if self.fault == "recursion":
            raise RecursionError(str(list(texts)))
        if self.fault == "memory":
            raise MemoryError(str(list(texts)))
        if self.fault == "misses":
            return [[] for _ in texts]
        if self.fault == "short":
            return []
        if self.fault == "wild":
            return [[Entity(5, 10**6, "PERSON", 0.9)] for _ in texts]
        return self._listed.detect(texts)


def broken_json(body: Body) -> Reply:
    return Reply([b'{"choices": [{"message": {"content": "' + json.dumps(body["messages"]).encode() + b"}]"])


def as_text(body: Body) -> Reply:
    return Reply([json.dumps(body).encode()], headers={"content-type": "text/plain"})


def as_error(body: Body) -> Reply:
    return Reply(
        [json.dumps({"error": {"message": json.dumps(body)}}).encode()], 400 + random.choice((0, 1, 4, 22, 29))
    )


def as_500(body: Body) -> Reply:
    return Reply([json.dumps(body).encode()], random.choice((500, 502, 503, 504, 529)))


def redirected(body: Body) -> Reply:
    return Reply([], 307, {"location": "http://127.0.0.1:9/steal"})


def cut(body: Body) -> Reply:
    reply = echo(body)
    kept = reply.parts[: random.randrange(len(reply.parts) + 1)]
    return Reply(kept, headers=reply.headers, broken=True)


def odd_types(body: Body) -> Reply:
    odd: Any = random.choice([None, 7, [], {}, [{"index": -1}], [{"index": 0, "delta": 3, "message": 3}], "text"])
    row = {"choices": odd, "text": json.dumps(body)}
    return stream(row) if body.get("stream") else Reply([json.dumps(row).encode()])


def unfinished(body: Body) -> Reply:
    return stream(chunk({"content": json.dumps(body["messages"])}), done=random.random() < 0.5)


def garbage(body: Body) -> Reply:
    raw = random.randbytes(200)
    return Reply([raw], headers={"content-type": "text/event-stream" if body.get("stream") else "application/json"})


def late(body: Body) -> Reply:
    return Reply(before_s=0.3)


def stalled(body: Body) -> Reply:
    return streamed_text(json.dumps(body["messages"]), 40, between_s=0.3)


def well(body: Body) -> Reply:
    return echo(body)


SCRIPTS = (broken_json, as_text, as_error, as_500, redirected, cut, odd_types, unfinished, garbage, late, stalled, well)
MOODS = ("", "", "", "raises", "recursion", "memory", "short", "wild")
VAULT_FAULTS = ("", "", "", "seal", "conversation", "known_names", "find", "alias")


class Shaky:
    """A vault of which one call fails now and then; SQLite's errors may quote a statement."""

    def __init__(self, vault: Vault) -> None:
        self._vault, self.fault = vault, ""

    def __getattr__(self, name: str) -> Any:
        if name == self.fault:

            def fail(*arguments: Any, **named: Any) -> Any:
                raise sqlite3.OperationalError(f"disk I/O error in {arguments} {CANARIES}")

            return fail
        return getattr(self._vault, name)


@pytest.fixture
def chains(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every error that reaches the outermost handler, with its causes and contexts, as a traceback would show them."""
    seen: list[str] = []
    original = problem_of

    def noted(error: BaseException) -> Any:
        seen.append("".join(traceback.format_exception(error)))
        return original(error)

    monkeypatch.setattr(security, "problem_of", noted)
    return seen


@pytest.fixture
def end() -> Iterator[Upstream]:
    with upstream() as found:
        yield found


def one_request(gate: Running, dice: random.Random) -> str:
    """Ask in one of the ways in which clients ask; what came back."""
    text = PROMPT.format(*CANARIES)
    stream = dice.random() < 0.5
    model = dice.choice(("tacit/llm", "tacit/auto"))
    if dice.random() < 0.3:
        return gate.post("/v1/responses", {"model": model, "stream": stream, "input": text}).text
    messages = [{"role": "system", "content": text}, user(text)]
    if dice.random() < 0.3:
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": json.dumps({"q": text})}}
        messages += [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": text},
        ]
    return gate.post("/v1/chat/completions", {"model": model, "stream": stream, "messages": messages}).text


def test_no_planted_value_comes_out_whatever_breaks(end: Upstream, chains: list[str]) -> None:
    dice = random.Random(4)
    random.seed(4)
    policy = policy_of()
    moody, shaky = Moody(policy), Shaky(Vault.ephemeral())
    local = Scripted(("no ", "idea"), logprob=-3.0)
    quick = {"first_byte_s": 0.1, "connect_s": 0.1, "idle_s": 0.1, "total_s": 0.2, "retries": 1, "retry_after_s": 0.1}
    errors = 0
    with running(end, policy, local, moody, shaky, upstream=quick) as gate:  # type: ignore[arg-type]
        for number in range(FAULTS):
            end.script = SCRIPTS[number % len(SCRIPTS)]
            moody.fault, shaky.fault = dice.choice(MOODS), dice.choice(VAULT_FAULTS)
            local.fails = RuntimeError(f"{CANARIES}") if dice.random() < 0.1 else None
            shown = one_request(gate, dice)
            if '"error"' in shown:
                errors += 1
                parts = [
                    json.dumps(json.loads(line)["error"])
                    for line in shown.split("\n")
                    if '"error":{' in line.replace(" ", "") and line.startswith("{")
                ]
                assert not any(held(part) for part in parts), end.script
        log, metrics = gate.log, gate.metrics()
    assert not held(end.everything) and not held(log) and not held(metrics)
    assert not any(held(chain) for chain in chains)
    assert errors > FAULTS / 8  # the faults were felt
    assert len(end.received) > FAULTS / 10  # and much left, redacted


def test_a_missing_detection_is_caught_by_the_last_look(end: Upstream) -> None:
    policy = policy_of(on_error="refuse")
    moody = Moody(policy)
    with running(end, policy, detector=moody) as gate:
        head = {"x_tacit_conversation": "one"}
        body = {"model": "tacit/llm", "messages": [user(PROMPT.format(*CANARIES))]}
        assert gate.post("/v1/chat/completions", body, **head).status_code == 200
        moody.fault = "misses"
        fresh = {"model": "tacit/llm", "messages": [user(f"{CANARIES[1]} once more")]}
        assert gate.post("/v1/chat/completions", fresh).json()["error"]["code"] == "pattern"
        gate.post("/v1/chat/completions", body, **head)
    assert not held(end.everything)


def test_an_unrecorded_body_does_not_leave(end: Upstream) -> None:
    shaky = Shaky(Vault.ephemeral())
    with running(end, policy_of(on_error="refuse"), vault=shaky) as gate:  # type: ignore[arg-type]
        shaky.fault = "seal"
        assert gate.chat("hi").json()["error"]["code"] == "not_recorded"
    assert end.received == []


def test_what_the_gate_raises_has_no_past(end: Upstream) -> None:
    """No cause and no context: those of the gate's errors hold the text."""
    policy = policy_of()
    moody = Moody(policy)
    with running(end, policy, detector=moody) as gate:
        for mood in ("raises", "recursion", "memory", "short"):
            moody.fault = mood
            body = {"messages": [user(PROMPT.format(*CANARIES))]}
            with pytest.raises(TextRefused) as caught:
                gate.gateway.egress.gate.draft(body, None, False)
            assert caught.value.__cause__ is None and caught.value.__context__ is None
            assert not held("".join(map(str, caught.value.args)))


def test_the_log_takes_no_text_even_if_it_is_given_some() -> None:
    log, output = memory_log()
    log.info("request", text=CANARIES[0], reason=CANARIES[1], mode="llm", count=CANARIES[2], masked=3)
    assert not held(output.getvalue())
    assert json.loads(output.getvalue()) == {
        "event": "request",
        "level": "info",
        "reason": "?",
        "mode": "llm",
        "masked": 3,
    }


def test_settings_and_parts_do_not_print_secrets() -> None:
    settings = settings_of(
        "http://127.0.0.1:9/v1", upstream={"key": "sk-canary.example"}, server={"token": "canary.example"}
    )
    assert not held(repr(settings)) and not held(settings.model_dump_json())
