"""A fleet that learns from what it had to ask: batches answer as the gateway does, and no name is in any buffer."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from tacit_clients.distilling.threshold import NOBODY, Tried, safe_threshold, threshold_for
from tacit_clients.slm.generation import LocalModel
from tacit_clients.slm.models import load
from tacit_privacy.randomness import stream
from tacit_simulations.data.errands.asking import Asker
from tacit_simulations.evaluation.batched import answers
from tacit_simulations.evaluation.distillation import study
from tacit_simulations.evaluation.distillation.fleet import (
    Fleet,
    escalations,
    taught_by,
    tried,
    unsure_of,
    write_buffers,
)
from tacit_simulations.evaluation.distillation.students import before_and_after

COMMANDS, NOTES = (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0)


def test_answers_in_batches_are_those_of_the_local_model() -> None:
    prompts = [question.prompt for question in Asker(9, 0).ask(20)] + ["on", "what is this about in the end"]

    async def one_by_one() -> list[tuple[str, float, str]]:
        async with LocalModel.open("tacit-nano", max_concurrent=1) as model:
            asked = [[{"role": "user", "content": prompt}] for prompt in prompts]
            said = [await model.answer(messages, max_tokens=24) for messages in asked]
            return [(answer.text, answer.confidence, answer.finish) for answer in said]

    batched = answers(load("tacit-nano"), prompts, most_tokens=24, batch=5)
    for (text, confidence, finish), said in zip(asyncio.run(one_by_one()), batched, strict=True):
        assert said.text == text.strip()
        assert said.confidence == (pytest.approx(confidence, abs=1e-4) if finish == "stop" else 0.0)


def test_a_fleet_sends_no_name_and_reads_its_answers_with_names() -> None:
    asked = Fleet(3, 6, 10, NOTES).ask()
    assert len(asked) == 60
    missed = [each for each in asked for unit in each.question.units if unit in each.redacted]
    assert len(missed) < 0.05 * len(asked)  # the recogniser finds nearly all of them
    hidden = [each for each in asked if each not in missed]
    whose = next(each for each in hidden if each.question.answer in each.question.units)
    placeholder = next(word for word in whose.redacted.replace(",", " ").replace(".", " ").split() if "PERSON_" in word)
    assert whose.right(whose.question.answer.upper()) and not whose.right("somebody else")
    assert placeholder not in whose.question.prompt


def test_the_student_reads_the_same_few_placeholders_in_every_prompt() -> None:
    """As tacit/distillation shows them; what it writes is restored by the names of the prompt at hand."""
    asked = Fleet(3, 6, 10, NOTES).ask()
    tokens = [re.findall(r"PERSON_\w+", each.seen) for each in asked]
    assert len({token for found in tokens for token in found}) <= 3 < len({each.redacted for each in asked})
    whose = next(
        each
        for each, found in zip(asked, tokens, strict=True)
        if len(set(found)) == 2 and each.question.answer in each.question.units
    )
    by_name = {name: whose.right_here(name) for name in re.findall(r"PERSON_\w+", whose.seen)}
    assert sorted(by_name.values()) == [False, True]
    issued = next(name for name in re.findall(r"PERSON_\w+", whose.redacted) if whose.right(name))
    right = next(name for name, good in by_name.items() if good)
    assert whose.lesson(f"it is {issued}") == (whose.seen, f"it is {right}")
    assert whose.lesson(" ") is None


def test_an_answer_with_a_name_that_the_prompt_lacks_is_no_lesson() -> None:
    asked = Fleet(3, 1, 12, NOTES).ask()
    named = [re.findall(r"PERSON_\w+", each.redacted) for each in asked]
    first, others = asked[0], set().union(*map(set, named[1:])) - set(named[0])
    assert others and first.lesson(named[0][0]) is not None and first.lesson(min(others)) is None


def test_what_is_kept_and_what_is_escalated_follow_the_threshold(tmp_path: Path) -> None:
    model = load("tacit-nano")
    asked = Fleet(3, 4, 12, COMMANDS).ask()
    found, teacher = tried(model, asked), [True] * len(asked)
    never, always = (escalations(found, teacher, threshold) for threshold in (0.0, 1.1))
    assert never.rate == 0 and unsure_of(model, asked, 0.0) == [] and never.right == never.right_alone
    assert always.rate == 1 and unsure_of(model, asked, 1.1) == asked and always.right == always.teacher == 1.0
    assert always.right_kept is None and never.right_kept == never.right_alone
    some, unsure = escalations(found, teacher, 0.9), unsure_of(model, asked, 0.9)
    assert 0 < some.rate < 1 and some.right_alone <= some.right <= 1 and some.rate == len(unsure) / len(asked)
    rows = write_buffers(tmp_path / "rows.jsonl", unsure, [each.question.answer for each in unsure[:-1]] + [""])
    kept = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert rows == len(kept) == len(unsure) - 1  # an empty answer teaches nothing
    assert [row["text"] for row in kept] == [each.seen for each in unsure[:-1]]


def test_a_threshold_that_keeps_quality_is_the_lowest_that_does() -> None:
    found = [
        Tried(0.9, True),
        Tried(0.8, False),
        Tried(0.7, True),
        Tried(0.7, True),
        Tried(0.6, True),
        Tried(0.5, False),
    ]
    assert threshold_for(found, 0.8) == 0.6  # four of five
    assert threshold_for(found, 0.75) == 0.6 and threshold_for(found, 0.6) == 0.5
    assert threshold_for(found, 1.0) == 0.9
    assert threshold_for([Tried(0.9, False)], 0.5) == threshold_for([], 0.5) == NOBODY
    together = [Tried(0.9, True), Tried(0.9, False)]
    assert threshold_for(together, 0.9) == NOBODY  # those as sure are kept together or not at all


def test_rounds_are_private_and_each_is_measured(tmp_path: Path) -> None:
    overrides = ("fleet.devices=24", "federation.cohort=8", "federation.rounds=2", 'runtime.engine="inline"')
    chosen = study.FleetStudy(
        teacher="tacit-nano", questions=16, least=2, test_households=2, kept_right=0.6, overrides=overrides
    )
    lines: list[str] = []
    found = study.run(chosen, tmp_path, lines.append)
    assert [row["round"] for row in found["rounds"]] == [0, 1, 2]
    assert 0 < found["privacy"]["epsilon"] <= 8.0 and found["buffered"] > 24
    assert found["rounds"][0] != found["rounds"][2]  # the rounds changed the student
    assert all(row["asked"] == row["held"]["asked"] == 32 for row in found["rounds"])
    assert (tmp_path / "buffers.jsonl").is_file() and any("round 2" in line for line in lines)


def test_the_large_models_answers_come_in_order() -> None:
    model = load("tacit-nano")
    asked = Fleet(5, 2, 6, COMMANDS).ask()
    alone = [taught_by(model, [each], lambda line: None)[0] for each in asked]
    assert taught_by(model, asked, lambda line: None) == alone


def test_a_student_learns_what_it_is_taught(tmp_path: Path) -> None:
    """Some forty answers, many times over: the student gives them back, and its adapter is a folder that serves."""
    asked = Fleet(6, 2, 20, COMMANDS).ask()
    pairs = [(each.seen, each.question.answer) for each in asked]
    said = [each.question.answer for each in asked]
    row = before_and_after("tacit-nano", said, asked, pairs * 6, 4, tmp_path / "student")
    assert row["teacher"]["all"] == 1.0 and row["after"]["all"] > max(0.8, row["before"]["all"])
    assert row["kept"] == row["after"]["all"] and set(row["after"]) == {"all", "command"}
    assert (tmp_path / "student" / "adapter_config.json").is_file()


def test_a_safe_threshold_keeps_its_promise_and_needs_enough_to_go_by() -> None:
    """Simulated students whose answers are right as often as they are sure: 400 sets of held-out questions each."""
    rng = stream(11, "safe-threshold")
    for count, kept_right in ((60, 0.8), (400, 0.9)):
        broken, used = 0, 0
        for _ in range(400):
            sure = rng.uniform(0.5, 1.0, count)
            found = [Tried(float(s), bool(rng.random() < s)) for s in sure]
            threshold = safe_threshold(found, kept_right)
            if threshold != NOBODY:
                used += 1
                broken += (threshold + 1) / 2 < kept_right  # the mean of what is kept, all questions of that kind
        assert used > 100 and broken / 400 <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5
    certain = [Tried(0.99, True)] * 28
    assert safe_threshold(certain, 0.9) == NOBODY and safe_threshold([*certain, Tried(0.98, True)], 0.9) == 0.98
    assert safe_threshold([], 0.9) == safe_threshold(certain, 1.0) == NOBODY
