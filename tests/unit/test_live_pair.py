"""The live pair in the repository: what its card says, and that it knows what it is there for."""

import hashlib
import re
from pathlib import Path

import pytest

from tacit_clients.slm.models import load
from tacit_simulations.data.errands import frozen
from tacit_simulations.evaluation.batched import answers
from tacit_simulations.pair import LARGE, SMALL

MOST_BYTES = 40_000_000


@pytest.fixture(params=["small", "large"])
def folder(request: pytest.FixtureRequest) -> Path:
    found = SMALL if request.param == "small" else LARGE
    assert found is not None, "a clone has the pair in simulations/pair"
    return found


def test_the_card_names_the_very_files(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    told = dict(re.findall(r"\| (\S+) \| ([0-9a-f]{64}) \|", card))
    assert set(told) == {"config.json", "model.safetensors", "tokenizer.json"}
    for name, digest in told.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    parameters = load(str(folder)).parameters
    assert f"{parameters:,} parameters" in card


def test_both_are_small_enough_to_be_cloned() -> None:
    assert SMALL is not None and LARGE is not None
    assert sum(file.stat().st_size for at in (SMALL, LARGE) for file in at.iterdir()) <= MOST_BYTES


def test_the_large_one_knows_more() -> None:
    """On some of the households that knobs are chosen on."""
    assert SMALL is not None and LARGE is not None
    questions = list(frozen.questions(frozen.TUNING_SEED, 30))
    prompts = [question.prompt for question in questions]
    right = [
        sum(said.text.casefold() == question.answer.casefold() for said, question in zip(found, questions, strict=True))
        for found in (answers(load(str(at)), prompts) for at in (SMALL, LARGE))
    ]
    assert right[1] > right[0] + 0.1 * len(questions)
