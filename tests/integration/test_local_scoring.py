"""How likely the packaged model, really loaded, finds an answer: one number by every road, bounded and cancellable."""

import asyncio
import math
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit_clients.slm.generation import LocalModel
from tacit_clients.slm.models import NANO, LanguageModel, load, single_thread
from tacit_clients.slm.prompting import encode
from tacit_clients.training.examples import Example, Task
from tacit_privacy.errors import BadInput, Busy, EngineFailed, PromptTooLong

T = TypeVar("T")
ASKED = ("turn the kitchen lamp on", "play some jazz in the garden", "what is the weather in Oslo tomorrow")
OTHERS = ("", "no", "light.on(place='kitchen')", "music.play(place='kitchen')", "<|end|> and more", "żółć 王小明")


@pytest.fixture(scope="module")
def nano() -> LanguageModel:
    single_thread()
    return load(NANO)


@pytest.fixture(scope="module")
def local() -> Iterator[LocalModel]:
    model = LocalModel.open()
    run(model.ready())
    yield model
    run(model.close())


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 60))


def said(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def score(model: LocalModel, prompt: str, answer: str) -> float:
    found = run(model.score(said(prompt), answer))
    assert found is not None
    return found


def stepwise(model: LanguageModel, prompt: str, answer: str) -> float:
    """The oracle: the row as training encodes it, each of its tokens by a forward pass of its own, without a cache."""
    row = encode(model.tokenizer, Example(prompt, answer), Task.INSTRUCT, 256)
    steps = []
    for place in range(row.target_start, len(row.ids)):
        with torch.inference_mode():
            logits = model.logits(torch.tensor([row.ids[:place]]))[0, -1]
        steps.append(float(torch.log_softmax(logits, dim=-1)[row.ids[place]]))
    return math.fsum(steps) / len(steps)


@pytest.mark.parametrize("prompt", ASKED)
def test_a_score_is_the_sum_of_single_steps(local: LocalModel, nano: LanguageModel, prompt: str) -> None:
    greedy = run(local.answer(said(prompt))).text
    for answer in (greedy, "no", "light.on(place='kitchen')"):
        assert score(local, prompt, answer) == pytest.approx(stepwise(nano, prompt, answer), abs=1e-4)


def test_a_long_answer_is_read_in_parts_and_scores_the_same(local: LocalModel, nano: LanguageModel) -> None:
    answer = " ".join(["turn"] * 150)  # more tokens than are held at once
    assert score(local, ASKED[0], answer) == pytest.approx(stepwise(nano, ASKED[0], answer), abs=1e-4)


@pytest.mark.parametrize("prompt", ASKED)
def test_the_models_own_answer_is_as_likely_as_it_was_sure_and_no_other_is_likelier(
    local: LocalModel, prompt: str
) -> None:
    greedy = run(local.answer(said(prompt)))
    own = score(local, prompt, greedy.text)
    assert math.exp(own) == pytest.approx(greedy.confidence, abs=1e-4)
    others = {answer: score(local, prompt, answer) for answer in OTHERS if answer != greedy.text}
    assert all(own > each for each in others.values())
    assert max(others.values()) - min(others.values()) > 0.1


@given(answer=st.text(max_size=40))
@settings(max_examples=40, deadline=None)
def test_any_text_has_a_score_of_at_most_nothing(local: LocalModel, answer: str) -> None:
    assert -math.inf < score(local, ASKED[0], answer) <= 0


def test_what_does_not_fit_has_no_score(local: LocalModel) -> None:
    assert run(local.score(said(ASKED[0]), "lamp " * 2000)) is None
    short = LocalModel.open(longest=4)
    assert run(short.score(said(ASKED[0]), "lamp lamp lamp lamp")) is None
    assert run(short.score(said(ASKED[0]), "on")) is not None
    with pytest.raises(PromptTooLong):
        run(local.score(said("lamp " * 2000), "on"))
    with pytest.raises(BadInput):
        run(local.score([], "on"))
    run(short.close())


def test_lengths_count_prompt_answer_and_end(local: LocalModel, nano: LanguageModel) -> None:
    row = encode(nano.tokenizer, Example(ASKED[0], "light on"), Task.INSTRUCT, 256)
    assert run(local.length(said(ASKED[0]), "light on")) == len(row.ids)


def test_whoever_waits_no_more_gets_nothing_and_keeps_no_place() -> None:
    model = LocalModel.open(max_concurrent=1, queue=0)
    gone = threading.Event()
    gone.set()
    assert run(model.score(said(ASKED[0]), "on", cancelled=gone)) is None
    assert run(model.weigh(said(ASKED[0]), ["on"], [["on"]], cancelled=gone)) == []
    assert model.load == (0, 0)
    run(model.close())
    with pytest.raises(EngineFailed):
        run(model.score(said(ASKED[0]), "on"))


def test_scores_stand_in_the_same_queue_as_answers() -> None:
    async def ask() -> None:
        async with LocalModel.open(max_concurrent=1, queue=0) as model:
            await model.ready()
            stream = model.stream(said(ASKED[0]), temperature=10.0, max_tokens=400)
            await anext(stream)
            with pytest.raises(Busy):
                await model.score(said(ASKED[0]), "on")
            await stream.aclose()

    run(ask())


def test_a_task_that_is_cancelled_ends_its_work() -> None:
    async def ask() -> tuple[int, int]:
        async with LocalModel.open(max_concurrent=1, queue=1) as model:
            await model.ready()
            work = asyncio.create_task(model.score(said("lamp " * 60), "lamp " * 60))
            await asyncio.sleep(0)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
            while model.load != (0, 0):
                await asyncio.sleep(0.005)
            return model.load

    assert run(ask()) == (0, 0)


def test_weights_of_tokens_are_the_steps_of_the_answer(local: LocalModel, nano: LanguageModel) -> None:
    """The tokens that the model wrote, as texts: each is at its place the likeliest of all tokens."""
    greedy = run(local.answer(said(ASKED[0])))
    ids = nano.tokenizer(greedy.text, add_special_tokens=False)["input_ids"]
    texts = [str(nano.tokenizer.decode([token])) for token in ids]
    assert "".join(texts) == greedy.text or "".join(texts) == " " + greedy.text
    written = [texts[0].removeprefix(" "), *texts[1:]]
    candidates = [[text, " turn", "not a token of it"] for text in written]
    found = run(local.weigh(said(ASKED[0]), written, candidates))
    assert len(found) == len(written)
    assert all(right > other > -math.inf and none == -math.inf for right, other, none in found if right != other)
    ends = score(local, ASKED[0], greedy.text) * (len(written) + 1) - math.fsum(row[0] for row in found)
    assert -1.0 < ends <= 1e-3  # what is left is the end of the answer


def test_weights_end_before_what_is_no_token(local: LocalModel) -> None:
    found = run(local.weigh(said(ASKED[0]), ["turn", "not a token of it", " on"], [["a"]] * 3))
    assert len(found) == 2
    assert run(local.weigh(said(ASKED[0]), [], [[" on"]]))[0][0] < 0


def test_a_chat_model_scores_an_answer_after_its_template(nano: LanguageModel, tmp_path: Path) -> None:
    """Special tokens in the answer are text there too, and the prompt's form makes a difference."""
    nano.network.save_pretrained(str(tmp_path))
    nano.tokenizer.save_pretrained(str(tmp_path))
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    (tmp_path / "chat_template.jinja").write_text(template)

    async def ask() -> tuple[float | None, float | None, list[list[float]]]:
        async with LocalModel.open(tmp_path) as model:
            await model.ready()
            whole = await model.score(said(ASKED[0]), "on")
            cut = await model.score(said(ASKED[0]), "on<|end|>on")
            return whole, cut, await model.weigh(said(ASKED[0]), [" on"], [[" on"]])

    whole, cut, weights = run(ask())
    prompt = nano.tokenizer(f"user: {ASKED[0]}\n", add_special_tokens=False)["input_ids"]
    answer = [*nano.tokenizer("on", add_special_tokens=False)["input_ids"], nano.tokenizer.eos_token_id]
    steps = []
    for place in range(len(answer)):
        with torch.inference_mode():
            logits = nano.logits(torch.tensor([[*prompt, *answer[:place]]]))[0, -1]
        steps.append(float(torch.log_softmax(logits, dim=-1)[answer[place]]))
    assert whole == pytest.approx(math.fsum(steps) / len(steps), abs=1e-4)
    assert cut is not None and cut != whole
    assert len(answer) == 2 and weights == [[pytest.approx(steps[0], abs=1e-4)]]
