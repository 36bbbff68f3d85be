"""How the recogniser is made: marks become spans, unmarked types prove nothing, the graph says what the net says."""

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

from tacit_privacy.errors import BadInput
from tacit_privacy.pii.detection.recogniser import Recogniser
from tacit_privacy.pii.detection.recogniser.features import LABELS, TYPES, pieces
from tacit_privacy.randomness import stream
from tacit_simulations.pretraining.recogniser import texts, train, variety
from tacit_simulations.pretraining.recogniser.export import export
from tacit_simulations.pretraining.recogniser.tagger import Tagger

TOKENIZER = Path(str(files("tacit_privacy"))) / "pii" / "detection" / "recogniser" / "weights" / "tokenizer.json"
SENTENCES = [
    "ask [[PERSON|Ngozi Eze]] of [[ORGANIZATION|Brightwater Dental]] about [[LOCATION|Enugu]]",
    "[[TITLE|Dr.]] [[PERSON|Eze]], [[AGE|61]], lives at [[ADDRESS|5 Mill Lane, Ely CB6 2AA]]",
    "the meeting moved to the small room",
]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of sixteen dimensions with the real vocabulary, as a folder."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=30522, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes(TOKENIZER.read_bytes())
    return folder


@pytest.fixture
def examples() -> list[texts.Example]:
    return [texts.Example(*texts.marked(one), frozenset(TYPES), "mine") for one in SENTENCES]


def test_marks_become_spans() -> None:
    text, spans = texts.marked(SENTENCES[0])
    assert text == "ask Ngozi Eze of Brightwater Dental about Enugu"
    assert [(text[start:end], kind) for start, end, kind in spans] == [
        ("Ngozi Eze", "PERSON"),
        ("Brightwater Dental", "ORGANIZATION"),
        ("Enugu", "LOCATION"),
    ]
    with pytest.raises(BadInput, match="SPELL"):
        texts.marked("[[SPELL|x]]")


def test_the_corpus_is_whole() -> None:
    """Every document parses; no mark is left over; a quarter or so names nobody."""
    read = list(texts.written())
    assert len(read) > 1500
    assert not [example.source for example in read if "[[" in example.text and "|" in example.text.split("[[")[1][:20]]
    for example in read:
        for start, end, _ in example.spans:
            assert example.text[start:end].strip()
    assert 0.15 < sum(not example.spans for example in read) / len(read) < 0.45


def test_no_template_is_on_both_sides() -> None:
    assert texts.template("Call {{first_name}} in {{city}}!") == texts.template("call {{PERSON}} in {{GPE}}")
    both = [texts.held_out(f"template number {number} for {{{{x}}}}") for number in range(400)]
    assert 0.3 < np.mean(both) < 0.5 or len(set(both)) == 1  # digits are no part of a template
    assert texts.held_out("a {{b}} c") == texts.held_out("A {{PERSON}} c.")


def test_what_a_source_does_not_mark_proves_nothing() -> None:
    """An unmarked word of a source that marks no ages may be an age: no loss. Of one that marks them, a loss."""
    scores = torch.full((1, 1, len(LABELS)), -20.0)
    scores[0, 0, LABELS.index("B-AGE")] = 20.0
    outside = torch.zeros((1, 1), dtype=torch.long)
    hidden = torch.tensor([[label.endswith("AGE") for label in LABELS]])
    assert train.loss_of(scores, outside, hidden).item() == pytest.approx(0.0, abs=1e-4)
    assert train.loss_of(scores, outside, torch.zeros_like(hidden)).item() > 10


def test_labels_follow_spans(examples: list[texts.Example]) -> None:
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    for example, read in zip(examples, pieces(tokenizer, [e.text for e in examples]), strict=True):
        labels = train.labelled(read, example)
        for index, label in enumerate(labels):
            inside = [kind for start, end, kind in example.spans if start <= read.starts[index] < end]
            assert (LABELS[label] == "O") == (not inside)
            assert not inside or LABELS[label][2:] == inside[0]


def test_names_are_swapped_alike_and_spans_stay_right(examples: list[texts.Example]) -> None:
    names = variety.Names.of(examples)
    for number in range(50):
        for example in examples:
            other = variety.varied(example, names, stream(3, "test", number))
            assert [kind for *_, kind in other.spans] == [kind for *_, kind in example.spans]
            assert all(other.text[start:end].strip() for start, end, _ in other.spans)
    twice = texts.Example(*texts.marked("[[PERSON|Ngozi Eze]] and [[PERSON|Ngozi]]"), frozenset(TYPES), "mine")
    swapped = variety.swapped(twice, names, stream(3, "swap", 1))
    (first, last, _), (again, end, _) = swapped.spans
    assert swapped.text[first:last].split()[0] == swapped.text[again:end]


def test_training_goes_on_where_it_stopped(encoder: Path, tmp_path: Path, examples: list[texts.Example]) -> None:
    """Whole, and stopped after one epoch: the same weights."""

    def fit(out: Path, epochs: int, resume: bool) -> Tagger:
        return train.fit(out, encoder, examples * 4, epochs, 1, resume, lambda line: None)

    whole = fit(tmp_path / "whole", 2, False)
    state = torch.load(tmp_path / "whole" / "checkpoint.pt", weights_only=True)
    assert state["step"] == 2
    again = fit(tmp_path / "whole", 2, True)
    for ours, theirs in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_graph_says_what_the_network_says(encoder: Path, tmp_path: Path) -> None:
    torch.manual_seed(2)
    tagger = Tagger(encoder).eval()
    export(tagger, encoder, tmp_path)
    assert json.loads((tmp_path / "labels.json").read_text()) == list(LABELS)
    recogniser = Recogniser.open(tmp_path)
    read = pieces(
        Tokenizer.from_file(str(TOKENIZER)), ["Ngozi Eze of Brightwater", "and a longer one, of Ely, that is padded"]
    )
    found = recogniser.scores(read)
    for one, scores in zip(read, found, strict=True):
        ids = torch.tensor([[101, *one.ids, 102]])
        shapes = torch.tensor([[0, *one.shapes, 0]])
        with torch.no_grad():
            wanted = tagger(ids, shapes, torch.ones_like(ids))[0, 1:-1].numpy()
        assert np.abs(scores - wanted).max() < 0.1 * np.abs(wanted).max() + 0.05  # seven bits


def test_an_encoder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"tokenizer\.json"):
        train.train(tmp_path / "out", tmp_path, None, 1, 1, False, lambda line: None)
