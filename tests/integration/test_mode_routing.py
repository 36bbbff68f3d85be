"""tacit/routing: policy, predictor, check; what decided is told, and nothing leaves before something has."""

import contextlib
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from gateways import ANNA, Running, Scripted, Told, Word, running
from upstreams import Upstream, echo

from tacit_clients.modes.judging import Judge, as_it_leaves, damage_of
from tacit_clients.modes.local import LocalMode
from tacit_clients.modes.routing import RoutingMode, RoutingSettings
from tacit_clients.routing.predictor import Decision
from tacit_clients.routing.signals import Damage
from tacit_clients.slm.answers import LocalUnusable
from tacit_privacy.pii.entities import Entity


@dataclass
class Guessing:
    """A predictor that escalates prompts about physics, but those whose point is masked."""

    looked: list[tuple[float | None, Damage | None]] = field(default_factory=list)
    threshold: float = 0.5

    def with_threshold(self, threshold: float) -> "Guessing":
        return Guessing(self.looked, threshold)

    def decide(self, prompt: str, *, confidence: float | None = None, damage: Damage | None = None) -> Decision:
        self.looked.append((confidence, damage))
        wanted = "physics" in prompt or (confidence is not None and confidence < 0.5)
        critical = damage is not None and damage.critical is True
        score = 0.9 if wanted else 0.1
        return Decision(score, score >= self.threshold and not critical, "klingon" in prompt, 0.5, 0.9, 0.1)


class Wordless(Scripted):
    """Tells no probabilities, and says the next of its words each time it is asked."""

    async def stream(self, messages: list[dict[str, Any]], **settings: Any) -> AsyncGenerator[Word]:
        self.asked.append(messages)
        yield Word(self.words[(len(self.asked) - 1) % len(self.words)])
        yield Word("", "stop", None, Told(5))


@contextlib.contextmanager
def routed(end: Upstream, local: Any, predictor: Any = None, **settings: Any) -> Iterator[Running]:
    end.script = echo
    end.received.clear()
    with running(end, None, local) as gate:
        mode = None if local is None else LocalMode(local)
        chosen = RoutingSettings.model_validate({"predictor": None if predictor is None else "given", **settings})
        gate.gateway.modes.add(RoutingMode(gate.gateway.egress, mode, chosen, predictor))
        yield gate


def told(gate: Running, text: str, **more: Any) -> dict[str, Any]:
    row = gate.chat(text, model="tacit/routing", **more).raise_for_status().json()
    return {**row["tacit"], "text": row["choices"][0]["message"]["content"]}


def test_a_sure_answer_stays(end: Upstream) -> None:
    with routed(end, Scripted(logprob=-0.01), Guessing()) as gate:
        got = told(gate, "turn on the light")
    assert (got["answered_by"], got["reason"], got["escalated"]) == ("local", "sure", False)
    assert got["text"] == "from the device" and got["local_out"] == 4 and not end.received


def test_an_unsure_answer_is_asked_for_elsewhere(end: Upstream) -> None:
    with routed(end, Scripted(logprob=-2.0), Guessing()) as gate:
        got = told(gate, f"write to {ANNA}")
    assert (got["answered_by"], got["reason"], got["escalated"]) == ("llm", "unsure", True)
    assert got["text"] == f"write to {ANNA}" and ANNA.encode() not in end.everything
    assert got["confidence"] < 0.2


def test_what_the_predictor_gives_away_is_never_tried_here(end: Upstream) -> None:
    local = Scripted(logprob=-0.01)
    with routed(end, local, Guessing()) as gate:
        got = told(gate, "a question of physics")
    assert (got["answered_by"], got["reason"]) == ("llm", "predicted") and not local.asked


def test_what_redaction_takes_is_looked_at_before_anything_leaves(end: Upstream) -> None:
    guess = Guessing()
    with routed(end, Scripted(logprob=-0.01), guess) as gate:
        got = told(gate, f"physics of {ANNA}")
    assert got["answered_by"] == "llm"  # a person is not what an answer turns on
    assert [damage is not None for _, damage in guess.looked] == [False, True]
    assert guess.looked[1][1] == Damage(len(ANNA) / len(f"physics of {ANNA}"), False, {"PERSON": 1})


@pytest.mark.parametrize(
    ("prompt", "masked", "critical"),
    [
        ("I live in Torvale. What is the weather in Torvale?", [("LOCATION", 42, 49)], True),
        ("I live in Torvale. Write a poem about spring.", [("LOCATION", 10, 17)], False),
        ("Who is Anna?", [("PERSON", 7, 11)], False),
        ("Explain in simple terms to a friend from Torvale how rain comes about.", [("LOCATION", 41, 48)], False),
        ("", [], False),
    ],
)
def test_damage_is_critical_where_the_question_is_about_what_is_masked(
    prompt: str, masked: list[tuple[str, int, int]], critical: bool
) -> None:
    assert all(prompt[start:end] for _, start, end in masked)
    found = damage_of(prompt, [Entity(start, end, type, 0.9) for type, start, end in masked])
    assert found.critical is critical and 0 <= found.masked_share < 1
    assert sum(found.counts.values()) == len(masked)


def test_critical_damage_keeps_a_prompt_here(end: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    async def taken(self: Judge, prompt: str) -> list[Entity]:
        return [Entity(11, 18, "LOCATION", 0.9)]

    monkeypatch.setattr(Judge, "masked", taken)
    with routed(end, Scripted(logprob=-0.01), Guessing()) as gate:
        got = told(gate, "physics of a place")
    assert got["answered_by"] == "local" and got["flags"] == ["redaction_damage"] and not end.received


@pytest.mark.parametrize(
    ("unlike", "answered_by", "reason"),
    [("decide", "local", "sure"), ("escalate", "llm", "out_of_scope"), ("local", "local", "out_of_scope")],
)
def test_a_prompt_of_another_kind_is_flagged(end: Upstream, unlike: str, answered_by: str, reason: str) -> None:
    with routed(end, Scripted(logprob=-0.01), Guessing(), out_of_scope=unlike) as gate:
        got = told(gate, "say it in klingon")
    assert (got["answered_by"], got["reason"]) == (answered_by, reason) and "out_of_scope" in got["flags"]


def test_a_client_can_keep_its_request_here(end: Upstream) -> None:
    with routed(end, Scripted(logprob=-9.0), Guessing()) as gate:
        got = told(gate, "a question of physics", metadata={"tacit": "local"})
        assert (got["answered_by"], got["reason"]) == ("local", "policy")
        refused = gate.chat("look", "tacit/routing", metadata={"tacit": "local"}, tools=[{"type": "function"}])
        assert refused.status_code == 400
    with routed(end, None) as gate:
        refused = gate.chat("a question", "tacit/routing", metadata={"tacit": "local"})
        assert refused.status_code == 400 and "stay on the device" in refused.text
    assert not end.received


def test_without_probabilities_it_asks_itself_again(end: Upstream) -> None:
    steady, wavering = Wordless(["tuesday"]), Wordless(["monday", "tuesday", "friday"])
    with routed(end, steady) as gate:
        got = told(gate, "which day")
    assert (got["answered_by"], got["reason"], got["confidence"]) == ("local", "consistent", 1.0)
    assert len(steady.asked) == 6  # the probe, the answer, and four samples
    with routed(end, wavering) as gate:
        got = told(gate, "which day")
    assert (got["answered_by"], got["reason"]) == ("llm", "inconsistent") and got["confidence"] < 0.75


@pytest.mark.parametrize(("verdict", "answered_by"), [("yes", "local"), ("no", "llm"), ("perhaps", "llm")])
def test_it_may_ask_the_local_model_for_a_verdict(end: Upstream, verdict: str, answered_by: str) -> None:
    local = Wordless(["tuesday", verdict])
    with routed(end, local, check="question") as gate:
        got = told(gate, "which day")
    assert got["answered_by"] == answered_by
    assert "tuesday" in local.asked[1][0]["content"] and "which day" in local.asked[1][0]["content"]


def test_the_predictor_may_judge_the_answer_too(end: Upstream) -> None:
    guess = Guessing()
    with routed(end, Scripted(logprob=-0.01), guess, check="predictor") as gate:
        assert told(gate, "turn on the light")["answered_by"] == "local"
    with routed(end, Scripted(logprob=-3.0), guess, check="predictor") as gate:
        assert told(gate, "turn on the light")["reason"] == "predicted"
    assert [confidence is not None for confidence, _ in guess.looked] == [False, True] * 2


def test_the_owner_may_set_another_threshold(end: Upstream) -> None:
    for threshold, answered_by in ((0.95, "local"), (0.85, "llm"), (0.05, "llm")):
        with routed(end, Scripted(logprob=-0.01), Guessing(), threshold=threshold) as gate:
            assert told(gate, "a question of physics")["answered_by"] == answered_by
    with routed(end, Scripted(logprob=-0.01), Guessing(), threshold=0.05) as gate:
        assert told(gate, "turn on the light")["answered_by"] == "llm"


def test_a_longer_prompt_has_to_promise_more(end: Upstream) -> None:
    """0.4 between score and threshold, at 0.05 a token of four characters: 32 characters may be asked, no more."""
    short, long = "a question of physics", "a question of physics, and all that it may touch"
    for prompt, answered_by in ((short, "llm"), (long, "local")):
        with routed(end, Scripted(logprob=-0.01), Guessing(), token_price=0.05) as gate:
            got = told(gate, prompt)
            assert got["answered_by"] == answered_by and not got["flags"]
        assert bool(end.received) == (answered_by == "llm")
        with routed(end, Scripted(logprob=-3.0), Guessing(), token_price=0.05, check="predictor") as gate:
            assert told(gate, prompt)["answered_by"] == answered_by


def test_what_masking_adds_is_paid_for_too() -> None:
    text = f"write to {ANNA} and {ANNA}"
    found = [Entity(9, 9 + len(ANNA), "EMAIL_ADDRESS", 0.9), Entity(len(text) - len(ANNA), len(text), "PERSON", 0.9)]
    leaves = as_it_leaves(text, found)
    assert ANNA not in leaves and leaves.startswith("write to EMAIL_ADDRESS_") and " and PERSON_" in leaves
    assert as_it_leaves(text, []) == text


@pytest.mark.parametrize("settings", [{"threshold": 0.5}, {"token_price": 0.01}])
def test_without_a_predictor_there_is_nothing_to_set(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="of a predictor"):
        RoutingSettings.model_validate(settings)


def test_whatever_fails_there_is_an_answer(end: Upstream) -> None:
    gone = "http://127.0.0.1:9/v1"
    with running(gone, None, Scripted(logprob=-3.0)) as gate:
        got = told(gate, "which day")
    assert got["answered_by"] == "local" and got["flags"] == ["offline"]
    broken = Scripted()
    broken.fails = LocalUnusable("it cannot be loaded")
    with routed(end, broken) as gate:
        got = told(gate, "which day")
    assert (got["answered_by"], got["reason"]) == ("llm", "local_unusable")
    with routed(end, None) as gate:
        assert told(gate, "which day")["reason"] == "no_local_model"


def test_a_stream_says_what_a_whole_answer_says(end: Upstream) -> None:
    for logprob, text in ((-0.01, "from the device"), (-3.0, f"write to {ANNA}")):
        with routed(end, Scripted(logprob=logprob)) as gate:
            body = {"model": "tacit/routing", "messages": [{"role": "user", "content": f"write to {ANNA}"}]}
            assert gate.stream(body).text() == text == told(gate, f"write to {ANNA}")["text"]
