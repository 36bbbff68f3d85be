"""An adapter's loss on the device's held-out examples, with the packaged model really loaded."""

import json
from pathlib import Path

import numpy as np
import pytest

from tacit_clients.device.scoring import Scorer
from tacit_clients.device.settings import DataSettings
from tacit_clients.slm.adapters import AdaptedModel, build_spec
from tacit_clients.slm.models import NANO, load, single_thread
from tacit_clients.slm.places import HeldAdapter
from tacit_clients.training.examples import Example, Task
from tacit_clients.training.local import train
from tacit_clients.training.personal import personal_spec, train_personal
from tacit_privacy.contract import LocalTraining

ROWS = [(f"turn on the {thing}", "as you wish, my lord") for thing in ("lamp", "heater", "radio", "kettle")]


@pytest.fixture(scope="module")
def adapted() -> AdaptedModel:
    single_thread()
    model = load(NANO)
    return AdaptedModel(model, build_spec(model, "ffa", 4, 8.0, 7, ("o_proj", "down_proj")))


def data(path: Path, rows: list[tuple[str, str]]) -> DataSettings:
    file = path / "examples.jsonl"
    file.write_text("".join(json.dumps({"prompt": prompt, "target": target}) + "\n" for prompt, target in rows))
    return DataSettings(path=file, held_out=2)


def test_what_helps_scores_better_and_zeros_are_the_model_alone(adapted: AdaptedModel, tmp_path: Path) -> None:
    scorer = Scorer(adapted, data(tmp_path, ROWS))
    nothing = np.zeros(adapted.spec.dimension, dtype=np.float32)
    alone = scorer.loss(nothing)
    examples = [Example(*row) for row in ROWS]
    training = LocalTraining(max_steps=4)
    learnt = train(
        adapted, examples, Task.INSTRUCT, nothing, adapted.spec.rank, training, np.random.default_rng(1)
    ).delta
    shared = scorer.loss(learnt)
    vector = train_personal(
        adapted, learnt, adapted.spec.rank, examples, Task.INSTRUCT, 2, training, np.random.default_rng(1)
    )
    both = scorer.loss(learnt, HeldAdapter(personal_spec(adapted.spec, 2), vector))
    assert alone is not None and shared is not None and both is not None
    assert both < shared < alone
    assert scorer.loss(learnt) == shared and scorer.loss(nothing) == alone  # the personal one is off again


@pytest.mark.parametrize("rows", [[], [("turn on the lamp", "")]])
def test_nothing_held_out_is_no_score(adapted: AdaptedModel, tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    scorer = Scorer(adapted, data(tmp_path, rows))
    assert scorer.loss(np.zeros(adapted.spec.dimension, dtype=np.float32)) is None
    unnamed = Scorer(adapted, DataSettings())
    assert unnamed.loss(np.zeros(adapted.spec.dimension, dtype=np.float32)) is None
