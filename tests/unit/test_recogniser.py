"""The recogniser that ships: its files are those of its card, offsets are the text's own, no text is too odd."""

import hashlib
import json
import re
import subprocess
import sys
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit_privacy.errors import BadInput
from tacit_privacy.pii.detection.recogniser import Recogniser
from tacit_privacy.pii.detection.recogniser.decode import entities
from tacit_privacy.pii.detection.recogniser.features import LABELS, SHAPES, TYPES, Pieces, shape
from tacit_privacy.pii.detection.recogniser.model import CORES, OVERLAP, WINDOW, _windows

WEIGHTS = Path(str(files("tacit_privacy"))) / "pii" / "detection" / "recogniser" / "weights"
LETTER = (
    "Dear Mr. Adewale,\n\nI am writing for my mother, Ioana Petrescu-Vlad, 71, who lives at 14 Harbour Row, Whitby "
    "YO21 3PU. Ioana was treated at Saint Brigid Hospital and works with Northlight Robotics Ltd."
    "\n\nKind regards,\nSorin Petrescu"
)


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser.shipped()


def test_the_files_are_those_that_the_card_states() -> None:
    card = (WEIGHTS / "README.md").read_text(encoding="utf-8")
    stated = dict(re.findall(r"^\| ([\w.]+) \| ([0-9a-f]{64}) \|$", card, re.MULTILINE))
    assert {"model.onnx", "tokenizer.json", "labels.json"} <= stated.keys()
    for name in ("model.onnx", "tokenizer.json", "labels.json"):
        assert hashlib.sha256((WEIGHTS / name).read_bytes()).hexdigest() == stated[name]
    assert sum(file.stat().st_size for file in WEIGHTS.iterdir()) < 30e6
    assert "all-MiniLM-L6-v2" in card and "Apache-2.0" in card


def test_the_labels_are_those_it_was_trained_with() -> None:
    assert json.loads((WEIGHTS / "labels.json").read_text()) == list(LABELS)


def test_a_letter(recogniser: Recogniser) -> None:
    (found,) = recogniser.detect([LETTER])
    seen = {(LETTER[entity.start : entity.end], entity.type) for entity in found}
    assert {
        ("Adewale", "PERSON"),
        ("Ioana Petrescu-Vlad", "PERSON"),
        ("Ioana", "PERSON"),
        ("Sorin Petrescu", "PERSON"),
    } <= seen
    assert {kind for _, kind in seen} >= {"PERSON", "ADDRESS", "ORGANIZATION"}


def test_a_request_that_names_nobody(recogniser: Recogniser) -> None:
    texts = ["set a timer for ten minutes", "Explain how photosynthesis works in simple terms.", "def main(): return 0"]
    assert recogniser.detect(texts) == [[], [], []]


def test_texts_beside_each_other_change_nothing(recogniser: Recogniser) -> None:
    """Whatever else is read at once, a text has the entities that it has alone (scores up to the last bits)."""
    texts = [LETTER, "call Tunde", "", "Wrocław", LETTER * 3]
    together = recogniser.detect(texts)
    for text, found in zip(texts, together, strict=True):
        (alone,) = recogniser.detect([text])
        assert [(e.start, e.end, e.type) for e in alone] == [(e.start, e.end, e.type) for e in found]


def test_a_name_far_into_a_long_text_is_found(recogniser: Recogniser) -> None:
    filler = "The committee read the minutes and agreed on the next steps. " * 120
    text = f"{filler}Please ask Sorin Petrescu about it. {filler}"
    (found,) = recogniser.detect([text])
    assert any(text[entity.start : entity.end] == "Sorin Petrescu" for entity in found)


@given(size=st.integers(0, 3 * WINDOW + 50))
def test_windows_cover_every_piece_and_share_what_they_should(size: int) -> None:
    parts = _windows(size)
    assert (parts[0][0], parts[-1][1]) == (0, size) if size else not parts
    assert all(0 < end - start <= WINDOW for start, end in parts)
    for (start, end), (following, _) in pairwise(parts):
        assert end - following == OVERLAP and end - start == WINDOW


@pytest.mark.parametrize("cores", ["1", "2", "64"])
def test_cores_change_nothing(recogniser: Recogniser, monkeypatch: pytest.MonkeyPatch, cores: str) -> None:
    filler = "The committee read the minutes and agreed with Tunde Afolabi on the next steps. " * 40
    monkeypatch.delenv(CORES, raising=False)
    whole = recogniser.detect([filler])
    monkeypatch.setenv(CORES, cores)
    assert recogniser.detect([filler]) == whole != [[]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=80) | st.text(alphabet="\ud800\udfffA\u200b\u0301 \n7", max_size=30), max_size=4))
def test_any_text_gives_sorted_spans_apart(texts: list[str]) -> None:
    for text, found in zip(texts, Recogniser.shipped().detect(texts), strict=True):
        ends = 0
        for entity in found:
            assert ends <= entity.start < entity.end <= len(text)
            assert entity.type in TYPES and 0 <= entity.score <= 1
            ends = entity.end


def test_thresholds_only_ever_take_away() -> None:
    wide, narrow = Recogniser.shipped(threshold=0.1), Recogniser.shipped(threshold=0.9)
    covered = {place for entity in wide.detect([LETTER])[0] for place in range(entity.start, entity.end)}
    kept = {place for entity in narrow.detect([LETTER])[0] for place in range(entity.start, entity.end)}
    assert kept and kept <= covered


def test_decoding_by_hand() -> None:
    """Three words, the second of two pieces: "Ana Maria" begins at the first, the third is its own entity."""
    read = Pieces(
        ids=np.zeros(4, dtype=np.int64),
        shapes=np.zeros(4, dtype=np.int64),
        words=np.array([0, 1, 1, 2]),
        starts=np.array([0, 4, 6, 10]),
        ends=np.array([3, 6, 9, 14]),
    )
    scores = np.full((4, len(LABELS)), -9.0, dtype=np.float32)
    scores[0, LABELS.index("B-PERSON")] = scores[1:3, LABELS.index("I-PERSON")] = 0.0
    scores[3, LABELS.index("B-PERSON")] = 0.0
    found = entities(read, scores, {}, 0.5)
    assert [(e.start, e.end, e.type) for e in found] == [(0, 9, "PERSON"), (10, 14, "PERSON")]
    assert entities(read, scores, {"PERSON": 1.0}, 0.5) == []


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("tom", "lower"),
        ("Tom", "title"),
        ("TOM", "upper"),
        ("T", "initial"),
        ("McTom", "mixed"),
        ("42", "digits"),
        ("B12", "alphanumeric"),
        ("--", "sign"),
        ("王", "caseless"),
        ("", "sign"),
    ],
)
def test_shapes(word: str, kind: str) -> None:
    assert SHAPES[shape(word)] == kind


def test_a_folder_without_the_graph_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"model\.onnx"):
        Recogniser.open(tmp_path)


def test_no_torch_is_loaded() -> None:
    code = (
        "import sys; from tacit_privacy.pii.detection.recogniser import Recogniser; "
        "Recogniser.shipped().detect(['Ana Diaz']); print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False False"
