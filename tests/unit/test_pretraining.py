"""How tacit-nano is made: it reads nothing that is evaluated on, a killed training goes on as if nothing had happened,
and its card says what it read.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tacit_clients.slm
from tacit_privacy.errors import BadInput
from tacit_simulations.data.config import DataConfig
from tacit_simulations.data.home import grammar
from tacit_simulations.data.loaders import load as load_columns
from tacit_simulations.pretraining import corpus
from tacit_simulations.pretraining import train as training
from tacit_simulations.scenario import load_scenario, named_scenarios

EVALUATED = {"banking77", "clinc150", "nus_sms", "tinyshakespeare"}  # folders under TACIT_DATA
TINY = training.Size(hidden=16, layers=1, heads=2, intermediate=16, vocabulary=320)
STEPS = 5


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder as TACIT_DATA names one: the open sets, and beside them every set that is evaluated on."""
    rows = [{"data": [{"text": "play the "}, {"text": f"song number {i}"}]} for i in range(40)]
    write(tmp_path / "snips" / "PlayMusic" / "train_PlayMusic_full.json", json.dumps({"PlayMusic": rows}))
    write(tmp_path / "snips" / "PlayMusic" / "validate_PlayMusic.json", json.dumps({"PlayMusic": [secret()]}))
    booked = [{"userInput": {"text": f"a table for {i}"}} for i in range(20)]
    write(tmp_path / "restaurant8k" / "train_0.json", json.dumps(booked))
    write(tmp_path / "restaurant8k" / "test.json", json.dumps([{"userInput": {"text": "forbidden"}}]))
    for name in EVALUATED:
        for file in ("train.csv", "train_0.json", "train_x_full.json", "data_full.json", "input.txt"):
            write(tmp_path / name / file, "forbidden")
    return tmp_path


def secret() -> dict[str, list[dict[str, str]]]:
    return {"data": [{"text": "forbidden"}]}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Steps of eight rows, and as many torch threads afterwards as before."""
    monkeypatch.setattr(training, "BATCH", 8)
    monkeypatch.setattr(training, "HOMES_PER_STEP", 2)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_corpus_reads_the_training_parts_of_the_open_sets_alone(data: Path) -> None:
    texts, read = corpus.open_texts(data)
    assert len(texts) == 60 and "play the song number 3" in texts and "a table for 7" in texts
    assert not [text for text in texts if "forbidden" in text]
    names = {"snips/PlayMusic/train_PlayMusic_full.json", "restaurant8k/train_0.json"}
    assert read == {name: hashlib.sha256((data / name).read_bytes()).hexdigest() for name in names}
    assert corpus.open_texts(None) == ([], {})


def test_no_set_that_a_scenario_evaluates_on_may_be_read() -> None:
    kinds = {load_scenario(name).data.kind for name in named_scenarios()} - {"home"}
    assert kinds == {"banking77", "clinc150", "sms", "shakespeare"}
    for entry in corpus.OPEN_SETS:
        assert not [word for word in kinds | EVALUATED if word in entry.name + entry.pattern]
        assert entry.licence in {"CC0 1.0", "CC BY 4.0"}  # a licence that lets a model be shipped


@pytest.mark.skipif(not os.environ.get("TACIT_DATA"), reason="TACIT_DATA names no folder with the public sets")
@pytest.mark.parametrize("kind", ["banking77", "clinc150", "sms", "shakespeare"])
def test_what_was_read_shares_nothing_with_what_is_evaluated_on(kind: str) -> None:
    texts = {text.lower().strip() for text in corpus.open_texts(Path(os.environ["TACIT_DATA"]))[0]}
    assert len(texts) > 10_000
    columns = load_columns(DataConfig.model_validate({"kind": kind}))
    scored = [*columns.texts, *(columns.test.texts if columns.test else [])]
    both = [text for text in scored if len(text.split()) > 4 and text.lower().strip() in texts]
    assert len(both) < 1e-3 * len(scored)  # two people may word a short request alike


def test_pretraining_homes_are_of_no_scenario() -> None:
    assert corpus.PRETRAINING_SEED not in {load_scenario(name).seed for name in named_scenarios()}
    new = [intent.action for intent in grammar.INTENTS if intent.fleet_only]
    said = list(corpus.home_pairs(0, 60))
    assert len(said) == 60 * 24
    heads = {action.split("{")[0].strip() for action in new} - {""}
    assert heads and not [action for _, action in said if action.startswith(tuple(heads))]
    assert list(corpus.home_pairs(30, 2)) == said[30 * 24 : 32 * 24]  # a step needs no step before it


def test_a_broken_open_set_is_one_sentence(data: Path) -> None:
    (data / "restaurant8k" / "train_0.json").write_text("[{")
    with pytest.raises(BadInput, match=r"train_0\.json is not JSON"):
        corpus.open_texts(data)


def train(out: Path, data: Path | None, resume: bool = False) -> dict[str, bytes]:
    training.train(out, STEPS, data, resume, TINY, 1, lambda line: None)
    return {name: (out / name).read_bytes() for name in ("model.safetensors", "tokenizer.json", "README.md")}


def test_a_killed_training_ends_with_the_same_weights(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after a checkpoint, between two, and while the next one is being written."""
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 2)
    whole = train(tmp_path / "whole", data)
    for step, in_save in ((3, False), (4, True)):
        out = tmp_path / f"cut{step}"
        with monkeypatch.context() as patched:
            patched.setattr(torch, "save" if in_save else "from_numpy", killed_at(step, in_save))
            with pytest.raises(KeyboardInterrupt):
                train(out, data)
        assert int(torch.load(out / "checkpoint.pt", weights_only=True)["step"]) == 2
        assert not (out / "model.safetensors").exists()
        assert train(out, data, resume=True) == whole


def killed_at(step: int, in_save: bool) -> Callable[..., Any]:
    """Rows are asked for once a step and checkpoints saved every other: the last of them is where the kill comes."""
    before: Callable[..., Any] = torch.save if in_save else torch.from_numpy
    calls = [0]

    def call(*args: Any) -> Any:
        calls[0] += 1
        if in_save and calls[0] * 2 == step:
            args[1].write_bytes(b"half")
            raise KeyboardInterrupt
        if not in_save and calls[0] == step + 1:
            raise KeyboardInterrupt
        return before(*args)

    return call


def test_a_damaged_checkpoint_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 2)
    train(tmp_path, None)
    good = (tmp_path / "checkpoint.pt").read_bytes()
    for content in (b"", good[: len(good) // 2], b"junk" * 100):
        (tmp_path / "checkpoint.pt").write_bytes(content)
        with pytest.raises(BadInput, match=r"cannot go on from .*checkpoint\.pt") as refused:
            train(tmp_path, None, resume=True)
        assert "\n" not in str(refused.value)


def test_rows_depend_on_their_number_alone(data: Path) -> None:
    texts, _ = corpus.open_texts(data)
    tokenizer = training.train_tokenizer(iter(texts + [p for pair in corpus.home_pairs(0, 20) for p in pair]), 320)
    rows, again = training.Rows(tokenizer, texts), training.Rows(tokenizer, texts)
    rows.step(0)
    np.testing.assert_array_equal(rows.step(3), again.step(3))
    assert rows.step(3).shape == (training.BATCH, training.BLOCK + 1)
    assert not np.array_equal(rows.step(3), rows.step(4))


def test_the_learning_rate_warms_up_and_falls() -> None:
    rates = [training.learning_rate(step, 1000) for step in range(1000)]
    assert np.argmax(rates) == pytest.approx(50, abs=2)
    assert (np.diff(rates[60:]) < 0).all()
    assert rates[-1] == pytest.approx(3e-3 / 20, rel=0.01)


def table(card: str, heading: str) -> dict[str, str]:
    """First and second column of the table under a heading."""
    part = card.split(f"## {heading}")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("|")][2:]
    return {row[0]: row[1] for row in rows}


def test_the_card_lists_licences_and_digests(tmp_path: Path, data: Path) -> None:
    train(tmp_path / "out", data)
    card = (tmp_path / "out" / "README.md").read_text()
    licences = table(card, "Training data")
    assert licences["snips, training part"] == "CC0 1.0"
    assert licences["restaurant8k, training part"] == "CC BY 4.0"
    assert [licence for name, licence in licences.items() if "homes" in name] == ["Apache-2.0"]
    folders = {name: tmp_path / "out" for name in ("config.json", "model.safetensors", "tokenizer.json")}
    folders |= dict.fromkeys(("snips/PlayMusic/train_PlayMusic_full.json", "restaurant8k/train_0.json"), data)
    digests = table(card, "Files")
    assert set(digests) == set(folders)
    for name, folder in folders.items():
        assert digests[name] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert str(tmp_path) not in card


def test_a_card_names_no_set_that_was_not_read(tmp_path: Path) -> None:
    train(tmp_path, None)
    licences = table((tmp_path / "README.md").read_text(), "Training data")
    assert len(licences) == 1 and "homes" in next(iter(licences))


def test_the_card_that_ships_is_of_the_weights_that_ship() -> None:
    folder = Path(str(files(tacit_clients.slm) / "nano"))
    card = (folder / "README.md").read_text()
    digests = table(card, "Files")
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert digests[name] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    read = set(digests) - {"config.json", "model.safetensors", "tokenizer.json"}
    allowed = tuple(entry.name for entry in corpus.OPEN_SETS)
    assert read and all(name.startswith(allowed) for name in read)
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in digests.values())
    for entry in corpus.OPEN_SETS:
        assert f"| {entry.name}, training part | {entry.licence} |" in card


def test_the_card_that_ships_says_what_a_new_card_would(tmp_path: Path, data: Path) -> None:
    train(tmp_path / "out", data)
    shipped = Path(str(files(tacit_clients.slm) / "nano" / "README.md")).read_text()
    assert prose(shipped) == prose((tmp_path / "out" / "README.md").read_text())


def prose(card: str) -> str:
    """A card without its tables and numbers."""
    return re.sub(r"[\d,]+", "#", "\n".join(line for line in card.splitlines() if not line.startswith("|")))
