"""Models that this project did not make: converted llama2.c, BERT, GPT-2. They load, adapt and learn."""

import os
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from tiny import TINY
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from tacit_clients.slm.adapters import AdaptedModel, build_spec, initial_vector
from tacit_clients.slm.llama2c import convert
from tacit_clients.slm.models import Kind, LanguageModel, load, single_thread
from tacit_clients.training.examples import Example, Task
from tacit_clients.training.local import evaluate, train
from tacit_privacy.contract import ExampleDp, LocalTraining
from tacit_privacy.errors import BadInput
from tacit_privacy.ledger.verify import verify
from tacit_simulations.progress import Silent
from tacit_simulations.run import simulate
from tacit_simulations.scenario import load_scenario

SENTENCE = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
LABELLED = [
    Example(text, label=label)
    for label, texts in enumerate([("red", "dark red", "red red"), ("the sea", "sea", "a calm sea")])
    for text in texts
]
LEARNING = LocalTraining(learning_rate=0.02, epochs=15)


@pytest.fixture(scope="session")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(os.environ.get("TACIT_DATA", "")) / "stories260k"
    if not os.environ.get("TACIT_DATA") or not (root / "stories260K.bin").is_file():
        pytest.skip("needs stories260k under TACIT_DATA")
    return convert(root / "stories260K.bin", root / "tok512.bin", tmp_path_factory.mktemp("stories"))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    single_thread()


def characters(**special: str) -> PreTrainedTokenizerFast:
    """A tokenizer of single characters, enough for any architecture."""
    names = [*special.values(), *string.ascii_lowercase, " ", "."]
    model = models.WordLevel({name: i for i, name in enumerate(names)}, unk_token=names[0])
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)  # type: ignore[no-untyped-call]


def learn(model: LanguageModel, data: list[Example], task: Task, labels: int, **how: Any) -> tuple[float, float]:
    """Loss before and after local training."""
    adapted = AdaptedModel(model, build_spec(model, "ffa", 4, 8.0, 0, labels=labels), labels)
    before = evaluate(adapted, data, task, 48)
    training = LEARNING.model_copy(update=how)
    train(adapted, data, task, initial_vector(adapted.spec), 4, training, np.random.default_rng(0))
    after = evaluate(adapted, data, task, 48)
    adapted.remove()
    return before.loss, after.loss


def test_a_converted_checkpoint_knows_its_stories(stories: Path) -> None:
    model = load(str(stories))
    assert model.kind is Kind.CAUSAL
    assert 255_000 < model.parameters < 265_000
    ids = torch.tensor([model.tokenizer(SENTENCE)["input_ids"]])
    assert model.tokenizer.decode(ids[0], skip_special_tokens=True) == SENTENCE
    with torch.no_grad():
        logits = model.logits(ids)[0, :-1]
    assert torch.nn.functional.cross_entropy(logits, ids[0, 1:]).item() < 0.6  # uniform over 512 tokens: 6.24


def test_a_converted_checkpoint_writes_fluently(stories: Path) -> None:
    model = load(str(stories))
    ids = model.tokenizer("Once upon a time", return_tensors="pt")["input_ids"]
    for _ in range(30):
        with torch.no_grad():
            ids = torch.cat([ids, model.logits(ids)[:, -1:].argmax(-1)], dim=1)
    text = str(model.tokenizer.decode(ids[0], skip_special_tokens=True))
    assert text.startswith("Once upon a time, there was a little girl named")


@pytest.mark.parametrize("task", list(Task))
def test_a_converted_checkpoint_adapts(stories: Path, task: Task) -> None:
    data = [Example("turn the lamp on", "lamp.on()", 0), Example("turn the fan on", "fan.on()", 1)]
    before, after = learn(load(str(stories)), data, task, 2 if task is Task.CLASSIFY else 0)
    assert after < 0.8 * before


def test_truncated_or_foreign_files_are_refused(stories: Path, tmp_path: Path) -> None:
    whole = (Path(os.environ["TACIT_DATA"]) / "stories260k" / "stories260K.bin").read_bytes()
    words = Path(os.environ["TACIT_DATA"]) / "stories260k" / "tok512.bin"
    bad = tmp_path / "bad.bin"
    for data in (whole[:-4], whole + b"\0" * 4, b"\0" * 64, b""):
        bad.write_bytes(data)
        with pytest.raises(BadInput):
            convert(bad, words, tmp_path / "out")
    (tmp_path / "words.bin").write_bytes(words.read_bytes()[:100])
    bad.write_bytes(whole)
    with pytest.raises(BadInput, match="belong together"):
        convert(bad, tmp_path / "words.bin", tmp_path / "out")
    with pytest.raises(BadInput, match="cannot read"):
        convert(tmp_path / "missing.bin", words, tmp_path / "out")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    config = BertConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
    BertModel(config).save_pretrained(folder)
    characters(unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]").save_pretrained(folder)
    return load(str(folder))


def test_an_encoder_classifies(bert: LanguageModel) -> None:
    assert bert.kind is Kind.ENCODER
    before, after = learn(bert, LABELLED, Task.CLASSIFY, 2)
    assert after < 0.5 * before


def test_an_encoder_classifies_with_example_level_dp(bert: LanguageModel) -> None:
    private = ExampleDp(noise_multiplier=0.1, clip_norm=5.0, expected_batch=3)
    before, after = learn(bert, LABELLED, Task.CLASSIFY, 2, example_dp=private)
    assert after < 0.8 * before


def test_an_encoder_hears_no_padding(bert: LanguageModel) -> None:
    adapted = AdaptedModel(bert, build_spec(bert, "ffa", 2, 4.0, 0, labels=2), 2)
    adapted.load_vector(np.random.default_rng(0).normal(0, 0.1, adapted.spec.dimension).astype(np.float32), 2)
    together = evaluate(adapted, LABELLED, Task.CLASSIFY, 48)
    alone = [evaluate(adapted, [example], Task.CLASSIFY, 48).loss for example in LABELLED]
    adapted.remove()
    assert together.loss == pytest.approx(np.mean(alone), rel=1e-4)


def test_an_encoder_cannot_speak(bert: LanguageModel) -> None:
    with pytest.raises(BadInput, match="encoder"):
        learn(bert, LABELLED, Task.LANGUAGE, 0)


@pytest.fixture(scope="module")
def gpt2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Linear layers that store their weight the other way round (Conv1D), and rows wider than columns."""
    folder = tmp_path_factory.mktemp("gpt2")
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=64, n_embd=32, n_layer=2, n_head=4)).save_pretrained(folder)
    characters(unk_token="<unk>", bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def gpt2(gpt2_folder: Path) -> LanguageModel:
    return load(str(gpt2_folder))


def test_a_fleet_runs_on_a_model_of_ones_own(gpt2_folder: Path, tmp_path: Path) -> None:
    own = [
        f"model.name={gpt2_folder}",
        "adapter.targets=[]",
        "evaluation.devices=2",
        "evaluation.compare=['untrained']",
    ]
    out = tmp_path / "run"
    result = simulate(load_scenario("home-quick", [*TINY, *own]), out, resume=False, watch=Silent())
    assert result["model"]["name"] == str(gpt2_folder)
    assert all(row["released"] for row in result["rounds"])
    with (out / "ledger.jsonl").open() as lines:
        assert verify(lines, (out / "ledger.pub").read_text().strip()).problems == []
    assert (out / "report.html").stat().st_size > 10_000
    weights = load_file(out / "adapter" / "adapter_model.safetensors")
    assert any(name.endswith("c_attn.lora_B.weight") and values.any() for name, values in weights.items())


@pytest.mark.parametrize("task", list(Task))
def test_a_model_with_transposed_weights_learns(gpt2: LanguageModel, task: Task) -> None:
    data = [Example(e.prompt, "yes" if e.label else "no", e.label) for e in LABELLED]
    before, after = learn(gpt2, data, task, 2 if task is Task.CLASSIFY else 0)
    assert after < 0.97 * before  # weights are random and only two layers adapt
    spec = build_spec(gpt2, "ffa", 1, 1.0, 0)
    assert {(m.rows, m.columns) for m in spec.linear} == {(96, 32)}


def test_estimates_grow_with_what_they_depend_on(gpt2: LanguageModel) -> None:
    least = gpt2.training_bytes(100, 1, 8)
    assert least > 4 * gpt2.parameters
    assert gpt2.training_bytes(100, 8, 8) > least < gpt2.training_bytes(100, 1, 48)
    assert gpt2.training_flops(48) > gpt2.training_flops(8) > 4 * 2 * 12 * 32 * 32  # layers of 12 hidden^2 weights


@pytest.mark.parametrize("name", ["./no/such/folder", "/no/such/folder", "no-such-organisation/no-such-model"])
def test_a_missing_model_is_one_clear_sentence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BadInput) as error:
        load(name)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_that_holds_no_model_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="config"):
        load(str(tmp_path))
