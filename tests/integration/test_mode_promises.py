"""What holds in every mode: what a personal adapter knows stays, what must stay does, and somebody answers."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest
from gateways import Failing, Running, Scripted, Told, Word, running, user
from upstreams import Upstream, echo

from tacit_clients.modes.local import LocalMode
from tacit_clients.modes.pipeline import PipelineMode, PipelineSettings
from tacit_clients.modes.routing import RoutingMode, RoutingSettings
from tacit_clients.routing.predictor import Decision
from tacit_clients.slm.answers import LocalUnusable
from tacit_clients.slm.generation import LocalModel
from tacit_privacy.errors import EngineFailed, PromptTooLong

MODES = ("auto", "pipeline", "routing", "auxiliary", "distillation", "fusion")
NOBODY = "http://127.0.0.1:9/v1"
QUESTION = "How do I water a garden in summer?"
DIARY = "\n\n".join(["What is the letter about?", *(f"Paragraph {n}. " + "It was a long day. " * 30 for n in range(9))])


class Remembering(Scripted):
    """With its personal adapter it tells what it knows by heart; without, it says ``plainly``."""

    secret = "the hepatitis of my sister"

    def __init__(self, plainly: str) -> None:
        super().__init__()
        self.plainly = plainly

    async def form(self) -> str:
        return "chat"

    async def stream(self, messages: list[dict[str, Any]], **settings: Any) -> AsyncGenerator[Word]:
        self.asked.append(messages)
        yield Word(self.secret if settings["personal"] else self.plainly, None, self.logprob)
        yield Word("", "stop", self.logprob, Told(11))


@pytest.mark.parametrize(
    ("mode", "prompt", "plainly", "settings"),
    [
        ("auxiliary", QUESTION, "Which plants need water?", {"auxiliary": {"abstraction": "slm"}}),
        ("pipeline", QUESTION, "When is a garden watered?", {"pipeline": {"abstraction": True}}),
        ("pipeline", DIARY, "a long day", {"pipeline": {"documents": {"longer_than": 500, "finish": "llm"}}}),
    ],
)
def test_no_text_that_leaves_is_made_with_the_personal_adapter(
    end: Upstream, mode: str, prompt: str, plainly: str, settings: dict[str, Any]
) -> None:
    end.script = echo
    end.received.clear()
    with running(end, None, Remembering(plainly), modes=settings) as gate:
        gate.chat(prompt, model=f"tacit/{mode}").raise_for_status()
    assert plainly.encode() in end.everything and Remembering.secret.encode() not in end.everything


@pytest.mark.parametrize(
    "fails", [PromptTooLong(900, 256), EngineFailed("out of memory"), RuntimeError("a defect"), LocalUnusable("gone")]
)
@pytest.mark.parametrize("mode", MODES)
def test_the_large_model_answers_where_the_local_one_cannot(end: Upstream, mode: str, fails: Exception) -> None:
    end.script = echo
    end.received.clear()
    local = Scripted()
    local.fails = fails
    with running(end, None, local) as gate:
        told = gate.chat(QUESTION, model=f"tacit/{mode}").raise_for_status().json()["tacit"]
    assert told["answered_by"] == "llm" and told["escalated"]
    assert mode == "pipeline" or "fallback_local" in told["flags"]  # which asks the large one first


@pytest.mark.parametrize("mode", [*MODES, "llm"])
def test_what_a_client_marks_as_local_leaves_in_no_mode(end: Upstream, mode: str) -> None:
    end.script = echo
    end.received.clear()
    with running(end, None, Scripted(logprob=-5.0)) as gate:
        answer = gate.chat(QUESTION, model=f"tacit/{mode}", metadata={"tacit": "local"})
        assert answer.raise_for_status().json()["choices"][0]["message"]["content"] == "from the device"
        told = answer.json()["tacit"]
    assert told["answered_by"] == "local" and not told["escalated"] and not end.received


class Always:
    """A predictor that would ask the large model every time."""

    threshold = 0.5

    def with_threshold(self, threshold: float) -> "Always":
        return self

    def decide(self, prompt: str, **known: Any) -> Decision:
        return Decision(0.9, True, False, 0.5, 0.9, 0.1)


@contextlib.contextmanager
def blind(end: Upstream, **settings: Any) -> Iterator[Running]:
    """A gateway whose detector fails; its router would ask the large model."""
    end.script = echo
    end.received.clear()
    local = Scripted(logprob=-5.0)
    with running(end, None, local, Failing()) as gate:
        chosen = RoutingSettings.model_validate({"predictor": Path("given"), **settings})
        gate.gateway.modes.add(RoutingMode(gate.gateway.egress, LocalMode(local), chosen, Always()))  # type: ignore[arg-type]
        yield gate


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("settings", [{}, {"token_price": 0.01, "check": "predictor"}])
def test_an_error_of_the_gate_means_a_local_answer(end: Upstream, mode: str, settings: dict[str, Any]) -> None:
    with blind(end, **settings) as gate:
        told = gate.chat(QUESTION, model=f"tacit/{mode}").raise_for_status().json()["tacit"]
    assert told["answered_by"] == "local" and not told["escalated"] and not end.received


def test_a_long_prompt_is_read_in_pieces_where_nobody_else_can(end: Upstream) -> None:
    """With the model that ships, whose context is shorter than the prompt, and no large one."""
    prompt = "the lamp is on and the garden is wet. " * 60 + "\n\nWhat is wet?"
    local = LocalModel.open()
    for aggregate in (False, True):
        with running(NOBODY, None, local, upstream={"retries": 0}) as gate:
            mode = PipelineMode(gate.gateway.egress, LocalMode(local), PipelineSettings(aggregate=aggregate))
            gate.gateway.modes.add(mode)
            told = gate.chat(prompt, model="tacit/pipeline").raise_for_status().json()["tacit"]
        assert told["answered_by"] == "local" and {"document", "offline"} <= set(told["flags"]), aggregate
    with running(NOBODY, None, local, upstream={"retries": 0}) as gate:
        refused = gate.post("/v1/chat/completions", {"model": "tacit/routing", "messages": [user(prompt)]})
    asyncio.run(local.close())
    assert refused.status_code in (502, 503) and "tokens" not in refused.text
