"""Plug-ins: real spaCy, a real (tiny, untrained) transformer, Presidio classes, and how each fails."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tacit_privacy.errors import BadInput, MissingExtra, TextRefused
from tacit_privacy.pii.detection.detector import build_detector
from tacit_privacy.pii.detection.plugins import PluginDetector, load, pieces
from tacit_privacy.pii.entities import Detector
from tacit_privacy.pii.policy import Plugin, RedactionPolicy


def detector(**plugin: object) -> Detector:
    return build_detector(RedactionPolicy.model_validate({"detection": {"recogniser": "none", "plugins": [plugin]}}))


def found(detector: Detector, text: str) -> list[tuple[str, str]]:
    return [(entity.type, text[entity.start : entity.end]) for entity in detector.detect([text])[0]]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A blank English pipeline whose entity ruler knows two names, saved as people save their own."""
    spacy = pytest.importorskip("spacy", reason="spacy is not installed")
    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "PER", "pattern": "Zbigniew Nowak"}, {"label": "FAC", "pattern": "Wawel"}])
    folder = tmp_path_factory.mktemp("spacy") / "pipeline"
    nlp.to_disk(folder)
    return str(folder)


def test_spacy_finds_what_its_labels_are_mapped_to(pipeline: str) -> None:
    text = "Ask Zbigniew Nowak about Wawel. Mail z@example.com; Nowak knows."
    mapped = detector(kind="spacy", model=pipeline, labels={"PER": "PERSON"})
    assert found(mapped, text) == [
        ("PERSON", "Zbigniew Nowak"),
        ("EMAIL_ADDRESS", "z@example.com"),
        ("PERSON", "Nowak"),
    ]


def test_spacy_without_a_mapping_keeps_its_labels(pipeline: str) -> None:
    assert found(detector(kind="spacy", model=pipeline), "Zbigniew Nowak, Wawel") == [
        ("PER", "Zbigniew Nowak"),
        ("FAC", "Wawel"),
    ]


def test_spacy_reads_texts_longer_than_its_limit_and_any_string(pipeline: str) -> None:
    text = "word " * 205_000 + "Zbigniew Nowak \ud800 \x00"
    assert found(detector(kind="spacy", model=pipeline, labels={"PER": "PERSON"}), text) == [
        ("PERSON", "Zbigniew Nowak")
    ]


def test_spacy_forgets_the_words_it_read(pipeline: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import spacy

    nlp = spacy.load(pipeline)
    monkeypatch.setattr(spacy, "load", lambda path: nlp)
    reader = load(Plugin(kind="spacy", model=pipeline))
    reader.detect(["warm up"])
    before = len(nlp.vocab.strings)
    for turn in range(200):
        reader.detect([f"canary{turn} was here"])
    assert len(nlp.vocab.strings) == before


def test_a_spacy_model_that_is_not_there() -> None:
    pytest.importorskip("spacy", reason="spacy is not installed")
    with pytest.raises(BadInput, match="no_such_model"):
        detector(kind="spacy", model="no_such_model")


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A one-layer BERT that calls every word a name: weights zero, its bias says so."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    folder = tmp_path_factory.mktemp("bert")
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"abcdefghijklmnopqrstuvwxyz",
        *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"),
    ]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    transformers.BertTokenizerFast(vocab={word: index for index, word in enumerate(vocabulary)}).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=512,
        id2label={0: "O", 1: "NAME"},
        label2id={"O": 0, "NAME": 1},
    )
    model = transformers.BertForTokenClassification(config)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([0.0, 3.0]))
    model.save_pretrained(folder)
    return str(folder)


def test_a_transformer_tags_words_with_offsets_and_scores(tagger: str) -> None:
    loaded = load(Plugin(kind="transformers", model=tagger, labels={"NAME": "PERSON"}))
    (entities,) = loaded.detect(["  zofia nowak"])
    assert [(entity.start, entity.end, entity.type) for entity in entities] == [(2, 13, "PERSON")]
    assert entities[0].score == pytest.approx(0.9526, abs=1e-3)


def test_a_transformer_below_its_threshold_says_nothing(tagger: str) -> None:
    assert load(Plugin(kind="transformers", model=tagger, threshold=0.99)).detect(["zofia nowak"]) == [[]]


def test_a_transformer_reads_more_than_its_positions(tagger: str) -> None:
    loaded = load(Plugin(kind="transformers", model=tagger))
    text = "zofia nowak " * 400
    (entities,) = loaded.detect([text])
    covered = {at for entity in entities for at in range(entity.start, entity.end)}
    assert {at for at, char in enumerate(text) if char != " "} <= covered


def test_a_transformer_reads_a_word_with_more_letters_than_it_has_positions(tagger: str) -> None:
    (entities,) = load(Plugin(kind="transformers", model=tagger)).detect(["z" * 90 + " " + "王" * 3000])
    assert entities[0].start == 0


PRESIDIO = r"""
from presidio_analyzer import Pattern, PatternRecognizer

class Badge(PatternRecognizer):
    def __init__(self):
        super().__init__("BADGE", patterns=[Pattern("badge", r"\bB-[0-9]{4}\b", 0.9)])

class Broken(Badge):
    def analyze(self, text, entities, nlp_artifacts=None, regex_flags=None):
        raise RuntimeError("cannot read: " + text)

class Shout:
    pass
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "badges_of_ours.py").write_text(PRESIDIO, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "badges_of_ours", raising=False)
    return "badges_of_ours"


def test_a_presidio_class_is_called_through_its_interface(module: str) -> None:
    badges = detector(kind="presidio", model=f"{module}:Badge", labels={"BADGE": "ID"})
    assert found(badges, "badge B-4711 lost") == [("ID", "B-4711")]


def test_a_failing_plug_in_refuses_the_text_and_does_not_quote_it(module: str) -> None:
    broken = detector(kind="presidio", model=f"{module}:Broken")
    with pytest.raises(TextRefused, match="detection_failed") as caught:
        broken.detect(["Zbigniew Canary"])
    assert "anary" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(("model", "said"), [(":Shout", "no recogniser"), (":Nowhere", "cannot load")])
def test_a_class_that_is_none(module: str, model: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        detector(kind="presidio", model=module + model)


def test_a_presidio_plug_in_brings_no_torch(module: str, tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {json.dumps(str(tmp_path))})
from tacit_privacy.pii.detection.plugins import load
from tacit_privacy.pii.policy import Plugin
(found,) = load(Plugin(kind="presidio", model="{module}:Badge")).detect(["B-4711"])
assert found[0].type == "BADGE", found
assert not {{"torch", "spacy", "transformers"}} & set(sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr


def test_gliner_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gliner", None)
    with pytest.raises(MissingExtra, match="pip install gliner"):
        detector(kind="gliner", model="some/model", labels={"person": "PERSON"})


def test_gliner_is_asked_for_its_labels_by_its_public_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    """GLiNER is not installed here: what stands in for it has the signature of its documentation, and no more."""
    asked: list[tuple[list[str], float]] = []

    class GLiNER:
        @classmethod
        def from_pretrained(cls, model: str) -> "GLiNER":
            return cls()

        def predict_entities(self, text: str, labels: list[str], *, threshold: float) -> list[dict[str, object]]:
            asked.append((labels, threshold))
            at = text.find("Zofia")
            return [{"start": at, "end": at + 5, "text": "Zofia", "label": "person", "score": 0.7}]

    stand_in = ModuleType("gliner")
    stand_in.GLiNER = GLiNER  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gliner", stand_in)
    zofia = detector(kind="gliner", model="m", labels={"person": "PERSON"}, threshold=0.6)
    assert found(zofia, "I met Zofia") == [("PERSON", "Zofia")]
    assert asked == [(["person"], 0.6)]


def test_spans_outside_their_piece_are_dropped() -> None:
    plugin = Plugin(kind="gliner", model="m", labels={"x": "PERSON"})
    wild = PluginDetector(
        plugin, lambda texts: [[(-1, 2, "x", 1.0), (1, 99, "x", 1.0), (1, 1, "x", 1.0)] for _ in texts]
    )
    assert wild.detect(["text"]) == [[]]


def test_pieces_are_the_text_cut_at_spaces() -> None:
    text = "one two three " * 50
    cut = list(pieces(text, 40))
    assert "".join(piece for _, piece in cut) == text
    assert all(len(piece) <= 40 and piece.endswith(" ") for _, piece in cut)
    assert all(text[at : at + len(piece)] == piece for at, piece in cut)
