"""The adapter as a flat vector: ranks are prefixes, averages are exact, swapping leaves no trace."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from peft import PeftModel

from tacit_clients.slm.adapters import AdaptedModel, build_spec, check_fits, initial_vector
from tacit_clients.slm.models import NANO, LanguageModel, load, single_thread
from tacit_clients.training.examples import Example, Task
from tacit_clients.training.local import evaluate, train
from tacit_clients.training.personal import evaluate_personal, personal_spec, train_personal
from tacit_privacy.adapter_folder import save_adapter
from tacit_privacy.contract import AdapterSpec, LocalTraining
from tacit_privacy.errors import BadInput
from tacit_privacy.randomness import stream

Vector = NDArray[np.float32]
Method = Literal["ffa", "lora"]
RANK, TARGETS = 4, ("q_proj", "v_proj")
IDS = torch.arange(40).reshape(2, 20)
DATA = [Example(f"turn the {thing} on", f"{thing}.on()") for thing in ("lamp", "radio", "fan", "oven")]
seeds = st.integers(0, 2**16)
ranks = st.integers(1, RANK)


@pytest.fixture(scope="module")
def nano() -> LanguageModel:
    single_thread()
    return load(NANO)


@pytest.fixture(scope="module")
def other() -> LanguageModel:
    """A second copy, for tests that bring adapters of their own: a model carries one at a time."""
    return load(NANO)


@pytest.fixture(scope="module", params=["ffa", "lora"])
def adapted(request: pytest.FixtureRequest, nano: LanguageModel) -> Iterator[AdaptedModel]:
    model = AdaptedModel(nano, build_spec(nano, request.param, RANK, 8.0, 7, TARGETS))
    yield model
    model.remove()


def vector_of(spec: AdapterSpec, rank: int, seed: int) -> Vector:
    return stream(seed, "vector").normal(0, 0.1, spec.prefix(rank)).astype(np.float32)


@torch.no_grad()
def answer(adapted: AdaptedModel) -> torch.Tensor:
    return adapted.model.logits(IDS)


@given(seed=seeds, rank=ranks, other=ranks)
@settings(max_examples=20, deadline=None)
def test_swapping_restores_bytes(adapted: AdaptedModel, seed: int, rank: int, other: int) -> None:
    first, second = vector_of(adapted.spec, rank, seed), vector_of(adapted.spec, other, seed + 1)
    adapted.load_vector(first, rank)
    before = answer(adapted)
    assert adapted.read_vector(rank).tobytes() == first.tobytes()
    adapted.load_vector(second, other)
    answer(adapted)
    adapted.load_vector(first, rank)
    assert adapted.read_vector(rank).tobytes() == first.tobytes()
    assert torch.equal(answer(adapted), before)


@given(seed=seeds, rank=ranks)
@settings(max_examples=20, deadline=None)
def test_a_lower_rank_is_a_prefix(adapted: AdaptedModel, seed: int, rank: int) -> None:
    """The vector of a lower rank, filled up with zeros, is the same adapter at full rank."""
    short = vector_of(adapted.spec, rank, seed)
    adapted.load_vector(short, rank)
    low = answer(adapted)
    full = np.zeros(adapted.spec.dimension, dtype=np.float32)
    full[: len(short)] = short
    adapted.load_vector(full, RANK)
    torch.testing.assert_close(answer(adapted), low, rtol=1e-4, atol=1e-4)
    assert adapted.read_vector(rank).tobytes() == short.tobytes()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("method", ["ffa", "lora"])
def test_training_at_a_rank_is_training_the_adapter_of_that_rank(
    other: LanguageModel, method: Method, rank: int, optimizer: str
) -> None:
    training = LocalTraining.model_validate({"optimizer": optimizer, "learning_rate": 0.01, "epochs": 3})
    deltas = []
    for size in (RANK, rank):  # a device keeps the scale alpha / rank of the shared spec
        adapted = AdaptedModel(other, build_spec(other, method, size, 8.0 * size / RANK, 7, TARGETS))
        start = initial_vector(adapted.spec)[: adapted.spec.prefix(rank)]
        deltas.append(train(adapted, DATA, Task.INSTRUCT, start, rank, training, np.random.default_rng(0)).delta)
        beyond = adapted.read_vector(size)[adapted.spec.prefix(rank) :]
        adapted.remove()
        assert not beyond.any()
    assert deltas[0].shape == deltas[1].shape
    np.testing.assert_allclose(deltas[0], deltas[1], rtol=1e-3, atol=1e-5)


@given(seed=seeds, mixed=st.lists(ranks, min_size=2, max_size=5))
@settings(max_examples=15, deadline=None)
def test_ffa_average_of_vectors_is_the_average_of_weights(adapted: AdaptedModel, seed: int, mixed: list[int]) -> None:
    """Exact for devices of any ranks together; for plain LoRA it is not, which is why FFA is the default."""
    total, weights = np.zeros(adapted.spec.dimension), None
    for number, rank in enumerate(mixed):
        vector = vector_of(adapted.spec, rank, seed + number)
        total[: len(vector)] += vector / len(mixed)
        adapted.load_vector(vector, rank)
        found = [delta / len(mixed) for delta in deltas_of(adapted)]
        weights = found if weights is None else [a + b for a, b in zip(weights, found, strict=True)]
    adapted.load_vector(total.astype(np.float32), RANK)
    pairs = list(zip(deltas_of(adapted), weights or [], strict=True))
    if adapted.spec.method == "lora":
        assert max(float((mean - exact).abs().max()) for mean, exact in pairs) > 1e-4
        return
    for mean, exact in pairs:
        torch.testing.assert_close(mean, exact, rtol=1e-5, atol=1e-6)


def deltas_of(adapted: AdaptedModel) -> list[torch.Tensor]:
    """What every adapted module adds to its weight, (rows, columns) each, by peft's own arithmetic."""
    found: list[Any] = [adapted.network.get_submodule(module.name) for module in adapted.spec.linear]
    return [layer.get_delta_weight("shared").detach().clone() for layer in found]


def test_an_initial_adapter_changes_nothing(nano: LanguageModel, adapted: AdaptedModel) -> None:
    adapted.clear()
    with_adapter = answer(adapted)
    adapted.load_vector(vector_of(adapted.spec, RANK, 0), RANK)
    assert not torch.equal(answer(adapted), with_adapter)
    assert torch.equal(with_adapter, bare_answer())


def bare_answer() -> torch.Tensor:
    with torch.no_grad():
        return load(NANO).logits(IDS)


def test_removing_gives_the_model_back() -> None:
    model = load(NANO)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    adapted = AdaptedModel(model, build_spec(model, "ffa", 2, 4.0, 0, TARGETS))
    start = initial_vector(adapted.spec)
    train(adapted, DATA, Task.LANGUAGE, start, 2, LocalTraining(), np.random.default_rng(0))
    train_personal(adapted, start, 2, DATA, Task.LANGUAGE, 2, LocalTraining(), np.random.default_rng(0))
    adapted.remove()
    after = model.network.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("labels", [0, 3])
def test_the_personal_adapter_leaves_the_shared_one_alone(other: LanguageModel, labels: int) -> None:
    task = Task.CLASSIFY if labels else Task.INSTRUCT
    data = [Example(e.prompt, e.target, label=i % 3) for i, e in enumerate(DATA)]
    adapted = AdaptedModel(other, build_spec(other, "ffa", RANK, 8.0, 7, TARGETS, labels), labels)
    shared = vector_of(adapted.spec, 2, 3)
    adapted.load_vector(shared, 2)
    alone = evaluate(adapted, data, task, 48)
    training = LocalTraining(learning_rate=0.02, epochs=10)
    vector = train_personal(adapted, shared, 2, data, task, 3, training, np.random.default_rng(0))
    assert vector.shape == (personal_spec(adapted.spec, 3).dimension,)
    assert adapted.read_vector(2).tobytes() == shared.tobytes()
    assert evaluate_personal(adapted, data, task, 48).loss < alone.loss
    assert evaluate(adapted, data, task, 48) == alone  # switched off again
    adapted.drop_personal()
    assert evaluate(adapted, data, task, 48) == alone
    with pytest.raises(BadInput, match="no personal"):
        adapted.flat("personal")
    adapted.remove()


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft 0.21 on transformers 5
@given(seed=seeds)
@settings(max_examples=2, deadline=None)
def test_a_saved_adapter_is_the_same_in_peft(
    tmp_path_factory: pytest.TempPathFactory, adapted: AdaptedModel, seed: int
) -> None:
    folder: Path = tmp_path_factory.mktemp("adapter") / "adapter"
    vector = vector_of(adapted.spec, RANK, seed)
    save_adapter(folder, adapted.spec, vector)
    adapted.load_vector(vector, RANK)
    other = PeftModel.from_pretrained(load(NANO).network, str(folder))
    with torch.no_grad():
        torch.testing.assert_close(other(input_ids=IDS).logits, answer(adapted), rtol=1e-5, atol=1e-5)


def test_a_wrong_vector_or_spec_is_refused(nano: LanguageModel, adapted: AdaptedModel) -> None:
    spec = adapted.spec
    with pytest.raises(BadInput, match="does not fit rank"):
        adapted.load_vector(np.zeros(spec.prefix(2), dtype=np.float32), 3)
    with pytest.raises(BadInput, match="does not fit rank"):
        adapted.load_vector(np.zeros(spec.dimension + spec.width, dtype=np.float32), RANK + 1)
    with pytest.raises(BadInput, match="already carries"):
        AdaptedModel(nano, spec)
    with pytest.raises(BadInput, match="resident"):
        check_fits(nano, spec.model_copy(update={"model": "another"}))
    wider = spec.linear[0].model_copy(update={"rows": spec.linear[0].rows + 1})
    with pytest.raises(BadInput, match="shape"):
        check_fits(nano, spec.model_copy(update={"linear": (wider, *spec.linear[1:])}))
    with pytest.raises(BadInput, match="no module"):
        build_spec(nano, "ffa", 1, 1.0, 0, ("no_such_proj",))
    with pytest.raises(BadInput, match="not a linear"):
        build_spec(nano, "ffa", 1, 1.0, 0, ("input_layernorm",))


def test_targets_are_names_endings_or_patterns(nano: LanguageModel) -> None:
    ending = build_spec(nano, "ffa", 1, 1.0, 0, ("q_proj",))
    last = build_spec(nano, "ffa", 1, 1.0, 0, (f"*layers.{nano.layers - 1}.*_proj",))
    assert len(ending.linear) == nano.layers
    assert {m.name.rsplit(".", 1)[1] for m in last.linear} >= {"q_proj", "v_proj", "down_proj"}
    assert build_spec(nano, "ffa", 1, 1.0, 0, (ending.linear[0].name,)).linear == ending.linear[:1]
