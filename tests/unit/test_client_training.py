"""Local training: every task learns, sums are what they claim to be, and single examples are protected where asked."""

import math
import subprocess
import sys
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tacit_clients.slm.adapters import AdaptedModel, build_spec, initial_vector
from tacit_clients.slm.models import NANO, LanguageModel, load, single_thread
from tacit_clients.training.batches import collate, encode_all, training_batches
from tacit_clients.training.example_dp import ExampleSpent, total_epsilon
from tacit_clients.training.examples import Example, Task
from tacit_clients.training.local import LocalResult, evaluate, train
from tacit_clients.training.objective import loss_of, outputs, training_loss
from tacit_privacy.accounting.poisson import epsilon_poisson
from tacit_privacy.contract import LEVELS, ExampleDp, LocalTraining
from tacit_privacy.errors import BadInput, NonFiniteUpdate
from tacit_privacy.mechanisms.noise import SeededNoise
from tacit_privacy.randomness import stream

COMMANDS = [
    Example("lights off in the kitchen", "light.off(kitchen)", label=0),
    Example("warm up the bathroom please", "heat.on(bathroom)", label=1),
    Example("call grandma", "call(grandma)", label=2),
    Example("switch the kitchen lights off", "light.off(kitchen)", label=0),
    Example("heating on in the bathroom", "heat.on(bathroom)", label=1),
    Example("phone grandma now", "call(grandma)", label=2),
]
QUIET = 1e-9  # a noise multiplier that leaves only the grid's rounding


@pytest.fixture(scope="module")
def nano() -> LanguageModel:
    single_thread()
    return load(NANO)


@pytest.fixture(scope="module")
def adapted(nano: LanguageModel) -> Iterator[AdaptedModel]:
    """Three labels, so that one model serves every task here."""
    model = AdaptedModel(nano, build_spec(nano, "ffa", 4, 8.0, 0, ("q_proj", "v_proj"), labels=3), labels=3)
    yield model
    model.remove()


def run(
    adapted: AdaptedModel, data: Sequence[Example], task: Task, training: LocalTraining, seed: int = 0
) -> LocalResult:
    start = initial_vector(adapted.spec)
    noise = SeededNoise(seed, "test")
    return train(adapted, data, task, start, adapted.spec.rank, training, stream(seed, "order"), noise=noise)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("task", list(Task))
def test_every_task_learns(adapted: AdaptedModel, task: Task, optimizer: str) -> None:
    adapted.clear()
    before = evaluate(adapted, COMMANDS, task, 48)
    rate = 0.5 if optimizer == "sgd" else 0.02
    training = LocalTraining.model_validate({"optimizer": optimizer, "learning_rate": rate, "epochs": 12})
    result = run(adapted, COMMANDS, task, training)
    after = evaluate(adapted, COMMANDS, task, 48)  # the trained adapter is still loaded
    assert after.loss < 0.8 * before.loss
    assert after.metric >= before.metric
    assert result.loss_last < result.loss_first
    assert (result.steps, result.examples) == (12, len(COMMANDS))


def test_an_answer_is_right_only_when_greedy_decoding_writes_it() -> None:
    model = load(NANO)
    adapted = AdaptedModel(model, build_spec(model, "lora", 8, 16.0, 0, ("*_proj",)))
    training = LocalTraining(optimizer="adamw", learning_rate=0.01, epochs=60)
    run(adapted, COMMANDS[:3], Task.INSTRUCT, training)
    assert evaluate(adapted, COMMANDS[:3], Task.INSTRUCT, 48).metric == 1.0
    for example in COMMANDS[:3]:
        (row,) = encode_all(adapted.model.tokenizer, [example], Task.INSTRUCT, 48)
        begin, ids = row.encoded.target_start, list(row.encoded.ids)
        written = ids[:begin]
        while len(written) < len(ids):
            hidden = adapted.model.logits(torch.tensor([written]))
            written.append(int(hidden[0, -1].argmax()))
        assert written == ids


@pytest.mark.parametrize("task", [Task.INSTRUCT, Task.LANGUAGE])
def test_the_fused_loss_is_cross_entropy(adapted: AdaptedModel, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacit_clients.training.objective._CHUNK", 5 * adapted.model.vocabulary)  # several chunks
    rng = np.random.default_rng(0)
    vector = rng.normal(0, 0.05, adapted.spec.dimension).astype(np.float32)
    adapted.load_vector(vector, 4)
    adapted.train_only("shared")
    parameters = adapted.flat().parameters[2:]  # but for the head, which has no part in these tasks
    batch = collate(encode_all(adapted.model.tokenizer, COMMANDS, task, 48))
    fused, plain = training_loss(adapted, batch, task), loss_of(outputs(adapted, batch, task))
    assert fused.item() == pytest.approx(plain.item(), rel=1e-5)
    pairs = zip(torch.autograd.grad(fused, parameters), torch.autograd.grad(plain, parameters), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("task", list(Task))
def test_padding_changes_no_loss(adapted: AdaptedModel, task: Task) -> None:
    adapted.load_vector(stream(1, "v").normal(0, 0.05, adapted.spec.dimension).astype(np.float32), 4)
    rows = encode_all(adapted.model.tokenizer, COMMANDS, task, 48)
    together = training_loss(adapted, collate(rows), task, per_example=True)
    alone = sum(training_loss(adapted, collate([row]), task, per_example=True).item() for row in rows)
    assert together.item() == pytest.approx(alone, rel=1e-4)


def test_accumulation_is_a_larger_batch(adapted: AdaptedModel) -> None:
    large = LocalTraining(optimizer="sgd", learning_rate=0.1, batch_size=6)
    small = LocalTraining(optimizer="sgd", learning_rate=0.1, batch_size=2, accumulation=3)
    one, other = (run(adapted, COMMANDS, Task.CLASSIFY, training) for training in (large, small))
    assert one.steps == other.steps == 1
    np.testing.assert_allclose(one.delta, other.delta, rtol=1e-4, atol=1e-6)


@given(steps=st.integers(0, 5), epochs=st.integers(1, 3), batch=st.integers(1, 7), accumulation=st.integers(1, 3))
@settings(max_examples=12, deadline=None)
def test_steps_are_epochs_up_to_the_limit(
    adapted: AdaptedModel, steps: int, epochs: int, batch: int, accumulation: int
) -> None:
    training = LocalTraining(
        optimizer="sgd", epochs=epochs, max_steps=steps, batch_size=batch, accumulation=accumulation
    )
    whole = epochs * math.ceil(math.ceil(len(COMMANDS) / batch) / accumulation)
    result = run(adapted, COMMANDS, Task.CLASSIFY, training)
    assert result.steps == (min(whole, steps) if steps else whole)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_cosine_schedule_falls_over_the_steps_that_there_are(adapted: AdaptedModel, optimizer: str) -> None:
    """One step is a whole one; the last of many is nearly none."""

    def moved(steps: int, schedule: str) -> NDArray[np.float32]:
        training = LocalTraining.model_validate({"optimizer": optimizer, "batch_size": 64, "epochs": steps})
        changed = training.model_copy(update={"schedule": schedule})
        return run(adapted, COMMANDS, Task.INSTRUCT, changed).delta

    np.testing.assert_array_equal(moved(1, "cosine"), moved(1, "constant"))
    assert 0.2 < np.linalg.norm(moved(8, "cosine")) / np.linalg.norm(moved(8, "constant")) < 0.9


@given(count=st.integers(1, 70), size=st.integers(1, 9), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_an_epoch_sees_every_example_once(nano: LanguageModel, count: int, size: int, seed: int) -> None:
    data = [Example(f"{'very ' * (i % 7)}loud {i}") for i in range(count)]
    rows = encode_all(nano.tokenizer, data, Task.LANGUAGE, 48)
    batches = list(training_batches(rows, size, np.random.default_rng(seed)))
    assert sorted(id(row) for batch in batches for row in batch) == sorted(id(row) for row in rows)
    assert max(len(batch) for batch in batches) <= size
    assert len(batches) == -(-count // size)


def test_a_lost_loss_stops_cleanly(adapted: AdaptedModel) -> None:
    with pytest.raises(NonFiniteUpdate, match="learning_rate"):
        run(adapted, COMMANDS, Task.INSTRUCT, LocalTraining(optimizer="sgd", learning_rate=1e38, epochs=5))


def test_nothing_to_learn_is_bad_input(adapted: AdaptedModel) -> None:
    with pytest.raises(BadInput, match="no example"):
        run(adapted, [], Task.LANGUAGE, LocalTraining())


def test_a_classifier_needs_labels(nano: LanguageModel, adapted: AdaptedModel) -> None:
    spec = adapted.spec.model_copy(update={"dense": ()})
    with pytest.raises(BadInput, match="labels"):
        AdaptedModel(nano, spec, labels=3)


_SCRIPT = """
import hashlib, numpy as np
from tacit_clients.slm.adapters import AdaptedModel, build_spec, initial_vector
from tacit_clients.slm.models import load, single_thread
from tacit_clients.training.examples import Example, Task
from tacit_clients.training.local import train
from tacit_privacy.contract import LocalTraining
single_thread()
model = load("tacit-nano")
adapted = AdaptedModel(model, build_spec(model, "ffa", 4, 8.0, 0, ("q_proj", "v_proj")))
data = [Example(f"turn lamp {i} on", f"lamp.on({i})") for i in range(5)]
def once(rank, data):
    start = initial_vector(adapted.spec)[: adapted.spec.prefix(rank)]
    return train(adapted, data, Task.INSTRUCT, start, rank, LocalTraining(epochs=2), np.random.default_rng(0)).delta
DISTURB
print(hashlib.sha256(once(4, data).tobytes()).hexdigest())
"""


def test_same_arguments_same_bytes_in_any_process() -> None:
    """Also after the resident model served another device with another rank."""
    digests = []
    for disturbance in ("", "once(2, data[:3])"):
        script = _SCRIPT.replace("DISTURB", disturbance)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        digests.append(done.stdout)
    assert digests[0] == digests[1] != ""


def private(expected: int, clip: float = 1e3, noise: float = QUIET, epochs: int = 1) -> LocalTraining:
    settings_ = ExampleDp(noise_multiplier=noise, clip_norm=clip, expected_batch=expected)
    return LocalTraining(optimizer="sgd", learning_rate=1.0, batch_size=2, epochs=epochs, example_dp=settings_)


def slope(adapted: AdaptedModel, example: Example, task: Task) -> NDArray[np.float32]:
    """The gradient of one example on its own, as minus the delta of one plain SGD step with rate 1."""
    return -run(adapted, [example], task, LocalTraining(optimizer="sgd", learning_rate=1.0)).delta


@pytest.mark.parametrize("task", [Task.INSTRUCT, Task.CLASSIFY])
@pytest.mark.parametrize("clip", [1e3, 0.05])
def test_private_step_sums_clipped_gradients_of_single_examples(adapted: AdaptedModel, task: Task, clip: float) -> None:
    expected = np.zeros(adapted.spec.dimension)
    for example in COMMANDS:
        one = slope(adapted, example, task).astype(np.float64)
        expected += one * min(1.0, clip / float(np.linalg.norm(one)))
    result = run(adapted, COMMANDS, task, private(len(COMMANDS), clip))
    truncation = len(COMMANDS) * clip / LEVELS  # of every example to the grid
    tolerance = 1e-5 * float(np.linalg.norm(expected)) + truncation
    np.testing.assert_allclose(result.delta * len(COMMANDS), -expected, atol=tolerance, rtol=2e-3)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_divisor_never_tells_how_few_examples_there_are(adapted: AdaptedModel, count: int) -> None:
    """Equal examples pull with their number; a divisor taken from the data would hide it and break the guarantee."""
    one = run(adapted, COMMANDS[:1], Task.CLASSIFY, private(8)).delta
    several = run(adapted, COMMANDS[:1] * count, Task.CLASSIFY, private(8)).delta
    np.testing.assert_allclose(several, count * one, rtol=1e-3, atol=1e-6)


def test_one_example_moves_a_private_step_by_at_most_its_clip(adapted: AdaptedModel) -> None:
    clip, expected = 0.1, 3
    with_it = run(adapted, COMMANDS[:3], Task.INSTRUCT, private(expected, clip)).delta
    without = run(adapted, COMMANDS[:2], Task.INSTRUCT, private(expected, clip)).delta
    assert np.linalg.norm(with_it - without) <= clip / expected * (1 + 1e-5)


def test_private_training_states_what_it_spent(adapted: AdaptedModel) -> None:
    result = run(adapted, COMMANDS, Task.CLASSIFY, private(3, 1.0, noise=1.0, epochs=4))
    assert result.spent == ExampleSpent(noise_multiplier=1.0, rate=0.5, steps=8, delta=1e-5)
    assert result.spent.epsilon == pytest.approx(epsilon_poisson(1.0, 0.5, 8, 1e-5))
    assert total_epsilon([result.spent] * 2, 1e-5) == pytest.approx(epsilon_poisson(1.0, 0.5, 16, 1e-5), rel=1e-3)
    assert total_epsilon([], 1e-5) == 0.0


def test_private_noise_has_the_size_it_claims(adapted: AdaptedModel) -> None:
    """One step on one example: what is left without the gradient is Gaussian with std z * clip / expected batch."""
    quiet = run(adapted, COMMANDS[:1], Task.CLASSIFY, private(4, 0.5)).delta
    loud = run(adapted, COMMANDS[:1], Task.CLASSIFY, private(4, 0.5, noise=2.0)).delta
    assert np.std(loud - quiet) == pytest.approx(2.0 * 0.5 / 4, rel=0.05)


def test_plain_training_after_private_training_is_untouched(adapted: AdaptedModel) -> None:
    before = run(adapted, COMMANDS, Task.INSTRUCT, LocalTraining()).delta
    run(adapted, COMMANDS, Task.INSTRUCT, private(4, 1.0, noise=1.0))
    assert run(adapted, COMMANDS, Task.INSTRUCT, LocalTraining()).delta.tobytes() == before.tobytes()
