"""The errands and the pair that answers them: frozen, honest about who is named, and the same text for both models."""

import itertools
from collections import Counter
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tacit_privacy.pii.pseudonyms.grammar import parse
from tacit_privacy.randomness import stream
from tacit_simulations.data.errands import almanac, corpus, frozen
from tacit_simulations.data.errands.asking import FAMILIES, NOTHING, SHARES, Asker
from tacit_simulations.pretraining import pair, train

QUESTIONS = [question for home in range(60) for question in Asker(3, home).ask(20)]


def test_the_task_is_the_one_that_was_frozen() -> None:
    rows = frozen.rows()
    assert len(rows) == 1000 and frozen.digest_of(rows) == frozen.DIGEST
    assert len({row["id"] for row in rows}) == 1000


def test_training_and_tuning_ask_nothing_that_is_measured() -> None:
    """Questions about a household's notes and errands; a look-up has no household, and commands are few and short."""
    own = [q.prompt for q in frozen.questions() if q.family in ("note", "errand")]
    read = {prompt for prompt, _ in corpus.pairs(0, 400)} | {q.prompt for q in frozen.questions(frozen.TUNING_SEED)}
    assert len([prompt for prompt in own if prompt in read]) < 0.01 * len(own)


def test_families_come_in_their_shares() -> None:
    counts = Counter(question.family for question in QUESTIONS)
    for family, share in zip(FAMILIES, SHARES, strict=True):
        assert counts[family] / len(QUESTIONS) == pytest.approx(share, abs=0.04)


def test_an_answer_follows_from_the_almanac_and_the_notes() -> None:
    facts = {name: subject.facts for subject in almanac.subjects() for name in [subject.name]}
    for question in QUESTIONS:
        if question.family == "lookup":
            (subject,) = [name for name in facts if f"the {name}" in question.prompt]
            assert question.answer in facts[subject].values() and question.general != NOTHING
        if question.family == "errand":
            person = question.answer.split(" to ")[-1]
            (note,) = [n for n in question.prompt.split(". ")[0].split(", ") if n.startswith(person)]
            assert question.hint in facts[note.split(" the ")[1]].values()
            assert question.answer == f"send {question.hint} to {person}"
        if question.family == "note":
            assert question.answer in question.prompt and question.general == NOTHING


def test_every_person_is_a_unit_and_no_general_question_names_one() -> None:
    for question in QUESTIONS:
        for span in question.spans:
            assert question.prompt[span.start : span.end].strip()
        for unit in question.units:
            assert unit in question.prompt and unit not in question.general and unit not in question.hint
        if question.family in ("note", "errand"):
            assert len(question.units) == 2


def test_a_renamed_question_is_the_same_question_of_other_people() -> None:
    rng = stream(5, "renaming")
    for question in QUESTIONS:
        other = corpus.renamed(question, rng)
        assert not [unit for unit in question.units if unit in other.prompt.split() or unit in other.answer.split()]
        assert len(other.prompt.split()) == len(question.prompt.split()) - sum(
            question.prompt.count(unit) * unit.count(" ") for unit in question.units
        )
        new = {word.strip(",.") for word in other.answer.split()} - {
            word.strip(",.") for word in question.answer.split()
        }
        assert all(word in other.prompt.casefold() for word in map(str.casefold, new))


def test_a_masked_question_holds_placeholders_and_no_name() -> None:
    rng = stream(1, "masks")
    for question in QUESTIONS:
        masked = corpus.masked(question, rng)
        assert not [unit for unit in question.units if unit in masked.prompt or unit in masked.answer]
        for word in masked.answer.split():
            if "_" in word:
                assert parse(word) is not None and word in masked.prompt


def test_popular_subjects_are_asked_for_more() -> None:
    shares = np.diff(almanac.cumulative(), prepend=0.0)
    assert (np.diff(shares) < 0).all() and almanac.cumulative()[-1] == pytest.approx(1.0)
    rng = stream(5, "draws")
    drawn = Counter(almanac.draw(rng).name for _ in range(4000))
    first = almanac.subjects()[0].name
    assert drawn.most_common(1)[0][0] == first and drawn[first] / 4000 == pytest.approx(shares[0], abs=0.02)


def test_only_answers_are_targets() -> None:
    tokenizer = train.train_tokenizer((p for pair_ in corpus.pairs(0, 30) for p in pair_), 400)
    rows = pair.ErrandRows(tokenizer)
    inputs, labels = rows.batch(3)
    assert inputs.shape == labels.shape == (pair.ROWS, pair.LENGTH)
    counted = labels != -100
    assert 0.1 < counted.float().mean() < 0.6 and torch.equal(inputs[counted], labels[counted])
    again, _ = pair.ErrandRows(tokenizer).batch(3)
    assert torch.equal(inputs, again) and not torch.equal(inputs, rows.batch(4)[0])


def test_no_errand_is_cut_and_rows_are_full() -> None:
    """A model learns to copy a name only where question and answer stand in one row."""
    with as_file(files("tacit_clients") / "slm" / "nano") as folder:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    act, end = tokenizer.convert_tokens_to_ids(["<|act|>", "<|end|>"])
    rows = pair.ErrandRows(tokenizer)
    known = {(tuple(prompt), tuple(answer)) for number in range(4) for prompt, answer in rows._errands(number)}
    for number in range(4):
        inputs, _ = rows.batch(number)
        assert (inputs != end).float().mean() > 0.75
        for row in inputs.tolist():
            for is_end, piece in itertools.groupby(row, lambda token: token == end):
                said = list(piece)
                if not is_end:
                    at = said.index(act)
                    assert (tuple(said[:at]), tuple(said[at + 1 :])) in known


def test_a_grown_model_begins_where_the_small_one_is() -> None:
    with as_file(files("tacit_clients") / "slm" / "nano") as folder:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        nano = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    size = train.Size(hidden=256, layers=5, heads=8, intermediate=768)
    ids = tokenizer("turn on the kitchen light<|act|> light on kitchen", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        before, after, fresh = (
            float(model(input_ids=ids, labels=ids).loss)
            for model in (nano, pair.grown(nano, size), train.build_model(size))
        )
    assert after == pytest.approx(before, abs=0.3) and fresh > before + 2


@pytest.mark.parametrize("which", ["small", "large"])
def test_a_pair_model_is_written_whole_and_served_as_its_card_says(
    tmp_path: Path, which: pair.Which, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair, "ROWS", 2)
    before = torch.get_num_threads()
    size = train.Size(hidden=160, layers=5, heads=5, intermediate=400)
    pair.train_pair(tmp_path, which, 2, False, 1, lambda line: None, size)
    torch.set_num_threads(before)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert AutoModelForCausalLM.from_pretrained(tmp_path).config.vocab_size == 2048
    assert bool(tokenizer.chat_template) == (which == "large")
    card = (tmp_path / "README.md").read_text()
    assert f"pair-{which}" in card and str(tmp_path) not in card
    if which == "large":
        said = tokenizer.apply_chat_template([{"role": "user", "content": "what opens the fan"}], tokenize=False)
        assert said == "what opens the fan<|act|>"
