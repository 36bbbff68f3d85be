"""Recorded pairs of models: how answers are read and graded, and that nothing is fitted on what it is reported on."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit_clients.routing.spec import Design
from tacit_privacy.errors import BadInput
from tacit_simulations.evaluation.recorded import (
    RecordedCrowd,
    RecordedPair,
    cascade,
    features,
    learning,
    pairs,
    selection,
    votes,
)
from tacit_simulations.evaluation.recorded.reading import calculated, equations, last_number, read
from tacit_simulations.evaluation.routing import metrics

_DATA = os.environ.get("TACIT_DATA")
real = pytest.mark.skipif(not _DATA, reason="TACIT_DATA does not name the folder above the public sets")


def made_up(count: int = 120, seed: int = 0) -> RecordedPair:
    """A small model that is wrong wherever its arithmetic is, and right in three of four other answers."""
    rng = np.random.default_rng(seed)
    prompts, answers, right = [], [], []
    for row in range(count):
        first, second = (int(value) for value in rng.integers(2, 60, 2))
        slip = int(rng.random() < 0.4)
        prompts.append(f"Row {row}: how many are {first} and {second}?")
        answers.append(f"There are {first} + {second} = {first + second + 7 * slip}.\nA: {first + second + 7 * slip}")
        right.append(not slip and rng.random() < 0.75)
    slm = np.array(right, dtype=np.float64)
    llm = (rng.random(count) < 0.95).astype(np.float64)
    return RecordedPair("made up", tuple(prompts), slm, llm, tuple(answers), tuple(answers))


# --- reading


@pytest.mark.parametrize(
    ("text", "stated", "number", "whole"),
    [
        ('```json\n{\n  "reasoning": "3 + 4 = 7",\n  "answer": "$1,207"\n}\n```', "$1,207", 1207.0, True),
        ('{"reasoning": "so", "answer": "20 + 6 + 8 = 34"}', "20 + 6 + 8 = 34", 34.0, True),
        ('{"reasoning": "so", "answer": "2:00 pm"}', "2:00 pm", 2.0, True),
        ('{"reasoning": "we have 12 eggs", "answer": "unknown"}', "unknown", 12.0, True),
        ("She has 3 left.\nA: 3", "3", 3.0, True),
        ("He says a word.\n#### -1,000.50\n", "-1,000.50", -1000.5, True),
        ("The total is 41 and then we", None, 41.0, False),
        ("", None, None, False),
    ],
)
def test_what_an_answer_states(text: str, stated: str | None, number: float | None, whole: bool) -> None:
    found = read(text)
    assert (found.stated, found.number, found.whole) == (stated, number, whole)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("16 - 3 - 4 = 9", [(9, 9, False)]),
        ("16 (total eggs) - 3 (eaten) = 13 eggs", [(13, 13, False)]),
        ("9 eggs * $2/egg = $18.", [(18, 18, False)]),
        ("$<<16-3=13>>13 is 16 - 3 = <<16-3=13>>13", [(13, 13, False)]),
        ("1,200 \\times 3 = 3,500", [(3600, 3500, True)]),
        ("60 * 4/5 = 240/5 = 48", [(48, 48, False), (48, 48, False)]),
        ("20% of 50 = 10", [(10, 10, False)]),
        ("8 / 40 = 20%", [(0.2, 0.2, False)]),
        ("100 / 3 = 33.33", [(100 / 3, 33.33, False)]),
        ("100 / 3 = 33.1", [(100 / 3, 33.1, True)]),
        ("7 / 2 = 3", [(3.5, 3, False)]),
        ("2x + 30 = 110", []),
        ("R + 50 + 20 = 160", []),
        ("7x + 11x = 162", []),
        ("7 + 4 = 2y", []),
        ("7 + 4 = 2 * y", []),
        ("x = 4", []),
        ("9 = 9", []),
        ("5 / 0 = 0", []),
        ("2 ** 3 = 8; 7 // 2 = 3", []),
    ],
)
def test_written_arithmetic_is_computed_again(text: str, expected: list[tuple[float, float, bool]]) -> None:
    found = equations(text)
    assert [each.wrong for each in found] == [wrong for _, _, wrong in expected]
    assert [each.value for each in found] == pytest.approx([value for value, _, _ in expected])
    assert [each.result for each in found] == pytest.approx([result for _, result, _ in expected])


@given(first=st.integers(0, 10**6), second=st.integers(1, 10**6), sign=st.sampled_from("+-*/"), slip=st.integers(1, 99))
def test_a_true_equation_is_never_wrong_and_a_slip_always_is(first: int, second: int, sign: str, slip: int) -> None:
    value = {"+": first + second, "-": first - second, "*": first * second, "/": first / second}[sign]
    written = f"{value:.4f}" if sign == "/" else str(value)
    assert [each.wrong for each in equations(f"so {first:,} {sign} {second:,} = ${written} in all")] == [False]
    other = f"{value + slip:.4f}" if sign == "/" else str(value + slip)
    assert [each.wrong for each in equations(f"so {first:,} {sign} {second:,} = ${other} in all")] == [True]


@pytest.mark.parametrize(
    "text", ["__import__('os')", "a + 1", "1 if 1 else 2", "(1, 2)", "9" * 400 + "e9", "1 +", "5 (3)"]
)
def test_only_arithmetic_is_calculated(text: str) -> None:
    assert calculated(text) is None


@given(prompt=st.text(max_size=200), text=st.text(max_size=400))
def test_features_of_any_text_are_finite(prompt: str, text: str) -> None:
    found = features.describe(prompt, text)
    assert found.shape == (len(features.names()),)
    assert np.all(np.isfinite(found))


def test_flags_are_features_and_groups_hold_each_column_once() -> None:
    assert set(features.FLAGS) <= set(features.names())
    assert sorted(column for group in features.groups().values() for column in group) == list(
        range(len(features.names()))
    )
    wrong, right = features.flags(["How many are 2 and 2?"] * 2, ["2 + 2 = 5\nA: 5", "2 + 2 = 4\nA: 4"])
    assert wrong == 1 and right == 0


# --- pairs


def test_a_pair_refuses_what_does_not_fit_together() -> None:
    pair = made_up(10)
    with pytest.raises(BadInput, match="not as many"):
        replace(pair, slm=pair.slm[:5])
    with pytest.raises(BadInput, match="0 to 1"):
        replace(pair, llm=pair.llm + 1)
    with pytest.raises(BadInput, match="none of"):
        pairs.public_pairs(Path(__file__).parent)
    with pytest.raises(BadInput, match="no folder"):
        pairs.public_pairs(Path(__file__))


def test_grades_come_from_the_texts_and_not_from_the_recorded_verdict(tmp_path: Path) -> None:
    said = {"6b_finetuning": "2\nA: 2", "175b_finetuning": "3\nA: 3.0"}
    said |= {"6b_verification": "A: 1,003", "175b_verification": "no idea"}
    recorded = {key: {"solution": text, "is_correct": False} for key, text in said.items()}
    row = {"question": "?", "ground_truth": "1 + 2 = <<1+2=3>>3\nA: 3", **recorded}
    (tmp_path / "example_model_solutions.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    plain, verified = pairs.gsm8k_6b_175b(tmp_path)
    assert (plain.slm[0], plain.llm[0]) == (0, 1)
    assert (verified.slm[0], verified.llm[0]) == (0, 0)


@given(value=st.integers(-(10**9), 10**9))
def test_a_number_matches_itself_however_it_is_written(value: int) -> None:
    assert pairs.number_match(f"It is ${value:,}.", f"# {value}")
    assert pairs.number_match(f'{{"answer": "{value}.00"}}', f"A: {value:,}")
    assert not pairs.number_match(f"It is {value + 1}.", f"# {value}")
    assert last_number("nothing") is None


# --- fitting


def test_folds_keep_equal_questions_together() -> None:
    prompts = [f"question {row % 30}" for row in range(90)]
    parts = learning.by_question(prompts, [row % 2 for row in range(90)], np.random.default_rng(0))
    assert {len({parts[row], parts[row + 30], parts[row + 60]}) for row in range(30)} == {1}
    assert len(np.unique(parts)) == learning.FOLDS


def test_a_grade_never_reaches_its_own_probability() -> None:
    """Turning one part's grades around changes what other parts are told, and nothing in that part."""
    pair = made_up()
    parts = learning.parts_of(pair, np.random.default_rng(0))
    columns = features.describe_all(pair.prompts, pair.slm_answers or ())
    turned = replace(pair, slm=np.where(parts == 0, 1 - pair.slm, pair.slm))
    design = Design(columns, None)
    before, after = (learning.gain(design, each, parts, learning.ANSWERS) for each in (pair, turned))
    assert np.array_equal(before[parts == 0], after[parts == 0])
    assert not np.array_equal(before[parts != 0], after[parts != 0])
    probability = learning.calibrated(before, pair.helps, parts)
    again = learning.calibrated(before, np.where(parts == 0, ~pair.helps, pair.helps), parts)
    assert np.array_equal(probability[parts == 0], again[parts == 0])


# --- the real sets


@real
@pytest.mark.parametrize(
    ("name", "slm", "llm", "within"),
    [
        ("GPT-3 6B and 175B, finetuning", 0.2168, 0.3472, 1e-4),
        ("GPT-3 6B and 175B, verification", 0.3904, 0.5625, 1e-4),
        ("gemma-2-2b and gpt-4o", 0.516, 0.962, 0.013),  # a sum for an answer was graded wrong, and is right here
        ("Phi-3.5-mini and gpt-4o", 0.82, 0.962, 0.033),  # and so was text behind the JSON
        ("Llama-3.1-8B and Llama-3.1-70B", 0.84, 0.942, 0.001),
        ("Mixtral-8x7B and GPT-4, GSM8K", 0.6373, 0.8577, 1e-4),
    ],
)
def test_accuracies_are_those_that_were_published(name: str, slm: float, llm: float, within: float) -> None:
    found = {pair.name: pair for pair in pairs.public_pairs(Path(_DATA or ""))}
    if name not in found:
        pytest.skip(f"{name} is not in TACIT_DATA")
    assert found[name].slm.mean() == pytest.approx(slm, abs=within)
    assert found[name].llm.mean() == pytest.approx(llm, abs=within)


@real
def test_the_judge_s_reference_is_no_part_of_an_answer() -> None:
    pair = pairs.routellm_mtbench(Path(_DATA or "") / "routellm_mtbench")
    assert len(pair) == len(set(pair.prompts)) == 72
    for texts in (pair.prompts, pair.slm_answers or (), pair.llm_answers or ()):
        assert all(text and "Reference Answer" not in text for text in texts)


# --- cascade, choice of two, votes


def test_a_cascade_that_reads_the_answer_sees_the_slips_that_a_prompt_cannot_tell() -> None:
    report = cascade.evaluate(made_up(300), resamples=60)
    policies = report["policies"]
    assert policies["answer"]["apgr"] > policies["prompt"]["apgr"] + 0.1
    assert policies["flags, nothing learned"]["apgr"] > 0.6
    assert report["above"]["prompt"]["low"] > 0
    assert cascade.on_other_folds(made_up(300), [0])[0] == pytest.approx(report["above"]["prompt"]["value"])
    assert max(each["apgr"] for each in policies.values()) <= report["oracle"] + 1e-9
    assert report == cascade.evaluate(made_up(300), resamples=60)


def test_without_texts_a_pair_is_routed_by_its_prompt_and_its_subjects_are_left_out_whole() -> None:
    pair = made_up(200)
    bare = replace(pair, slm_answers=None, llm_answers=None, groups=tuple(f"{row % 7}" for row in range(200)))
    report = cascade.evaluate(bare, resamples=20)
    assert report["main"] == "prompt" and set(report["policies"]) == {"prompt", "length", cascade.UNSEEN}
    with pytest.raises(BadInput, match="no texts"):
        selection.evaluate(bare)


def test_grades_that_are_points_are_cascaded_too() -> None:
    pair = made_up(60)
    points = replace(pair, slm=pair.slm * 0.5 + 0.2, llm=pair.llm * 0.3 + 0.6)
    report = cascade.evaluate(points, resamples=20)
    assert report["main"] == cascade.VERIFIER and np.isfinite(report["policies"][cascade.VERIFIER]["apgr"])


def test_a_choice_lies_between_both_models_and_the_better_of_the_two() -> None:
    pair = made_up(200)
    other = made_up(200, seed=1)
    two = replace(pair, llm=other.slm, llm_answers=other.slm_answers)  # both slip, each where it likes
    report = selection.evaluate(two, resamples=60)
    rules = report["rules"]
    assert all(rule["accuracy"] <= report["best_of_two"] for rule in rules.values())
    for name in (selection.LEARNED, "fewer wrong equations", "fewer flags", "opinion pool"):
        assert rules[name]["above_llm"]["low"] > 0, name
    assert selection.paired(two.llm, two.llm, np.random.default_rng(0), 10).high == 0


def crowd_of(*said: Sequence[str], gold: Sequence[float]) -> RecordedCrowd:
    wanted = [str(int(number)) for number in gold]
    right = np.array([[float(text == last) for text, last in zip(each, wanted, strict=True)] for each in said])
    prompts = tuple(f"prompt {row}" for row in range(len(gold)))
    return RecordedCrowd(prompts, tuple("abcdefg"[: len(said)]), tuple(tuple(each) for each in said), right.T)


def test_votes_take_the_number_with_the_most_weight() -> None:
    said: votes.Numbers = [[1.0, 2.0, 2.0], [1.0, 2.0, 3.0], [None, None, 4.0], [None, 2.0, None], [None, None, None]]
    alike, trusted = np.ones((5, 3)), np.tile([0.5, 0.9, 0.7], (5, 1))
    found = votes.vote(said, alike, trusted)
    assert found.chosen.tolist() == [1, 1, 2, 1, 1]  # of equals the more trusted; no number is none to win with
    assert found.share.tolist() == pytest.approx([2 / 3, 1 / 3, 1 / 3, 1 / 3, 1 / 3])
    assert votes.vote(said, np.tile([5.0, 1.0, 1.0], (5, 1)), trusted).chosen.tolist() == [0, 0, 2, 1, 0]


def test_a_majority_of_models_that_err_apart_beats_each_of_them() -> None:
    rng, gold = np.random.default_rng(0), [float(value) for value in np.arange(100, 300)]
    said = [[str(int(number + (rng.random() < 0.3) * rng.integers(1, 900))) for number in gold] for _ in range(3)]
    crowd = crowd_of(*said, gold=gold)
    report = votes.evaluate(crowd, resamples=60)
    assert report["ways"]["majority"]["above_best"]["low"] > 0
    assert all(way["accuracy"] <= report["any_right"] for way in report["ways"].values())
    split = votes.split_votes(crowd, np.ones(200), resamples=20)["majority"]
    assert split["right_where_unanimous"] == 1 and split["accuracy_asking_where_split"] == 1
    assert set(cascade.transferred(crowd, "c")) == {"a", "b"}
    with pytest.raises(BadInput, match="no model z"):
        crowd.of(["z"])


def test_a_grade_may_rest_on_the_last_line() -> None:
    pair = RecordedPair(
        "two",
        ("How much?", "How many?"),
        np.zeros(2),
        np.zeros(2),
        ("First 6 * 5 = 30.\nShe pays $30 for the 5 lamps.", "So 7 - 4 = 3."),
        ("She pays 5.\nThat is for 30 lamps", "It is 7 - 4 = 4."),
    )
    found = pairs.regraded(pair, {"How much?": "A: 30", "How many?": "A: 4"})
    assert found.slm.tolist() == [1, 0] and found.llm.tolist() == [1, 1]
    with pytest.raises(BadInput, match="1 prompts"):
        pairs.regraded(pair, {"How much?": "A: 30"})


@real
def test_what_the_page_says_of_the_real_pairs() -> None:
    data = Path(_DATA or "")
    crowd = pairs.zeroeval_gsm(data / "zeroeval_gsm")
    small = crowd.of(("gemma-2-2b", "Phi-3.5-mini", "Qwen2-7B", "Llama-3.1-8B"))
    assert votes.evaluate(small, resamples=100)["ways"]["majority"]["above_best"]["low"] > 0
    pair = crowd.pair("gemma-2-2b", "gpt-4o")
    parts = learning.parts_of(pair, np.random.default_rng(0))
    described = features.describe_all(pair.prompts, pair.slm_answers or ())
    found = metrics.apgr(learning.gain(Design(described, None), pair, parts, learning.ANSWERS), pair.slm, pair.llm)
    assert found > metrics.apgr([len(prompt) for prompt in pair.prompts], pair.slm, pair.llm) + 0.05


@real
def test_the_large_model_was_right_more_often_than_it_was_graded() -> None:
    found = {pair.name: pair for pair in pairs.public_pairs(Path(_DATA or ""))}
    graded, again = (found[f"Mixtral-8x7B and GPT-4, GSM8K{more}"] for more in ("", " regraded"))
    assert again.llm.mean() > graded.llm.mean() + 0.05
    assert again.slm.mean() == pytest.approx(graded.slm.mean(), abs=0.01)
