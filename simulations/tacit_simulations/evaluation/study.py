"""Learning beside the private run: untrained, centralised, local only, federated, personalised. All on one panel.

The panel is a set of devices spread evenly over the fleet; every model is scored on the panel's own test examples.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tacit_clients.slm.adapters import initial_vector
from tacit_clients.training.examples import Example, ExampleSource
from tacit_clients.training.local import NOTHING, Score, evaluate, train
from tacit_clients.training.personal import evaluate_personal, train_personal
from tacit_privacy.contract import LocalTraining
from tacit_privacy.errors import BadInput, EngineFailed
from tacit_privacy.randomness import stream
from tacit_simulations.canaries import Canaries
from tacit_simulations.devices import DeviceSetup, resident
from tacit_simulations.engines import Engine, Failed
from tacit_simulations.scenario import EvaluationConfig, Scenario

Vector = NDArray[np.float32]
_HELD_OUT_CHUNK = 128  # examples scored by one job: the same batches whatever the engine


def check_source(source: ExampleSource, settings: EvaluationConfig, canaries: Canaries) -> None:
    """Raise BadInput where the data cannot be scored as the settings ask."""
    if settings.devices and not panel_of(source, settings.devices, canaries):
        raise BadInput(
            "no device of the panel has examples to be scored on; raise data.test_fraction, "
            "give devices more examples, make fewer of them canaries, or set evaluation.devices = 0"
        )
    if settings.held_out and not source.held_out():
        raise BadInput(
            f"evaluation.held_out is {settings.held_out}, but this data keeps no examples from all devices; set it to 0"
        )


def panel_of(source: ExampleSource, wanted: int, canaries: Canaries) -> list[int]:
    """At most ``wanted`` devices, spread evenly over those of the fleet that learn, that have test examples."""
    learners = canaries.others
    spread = np.unique(np.linspace(0, len(learners) - 1, min(wanted, len(learners))).astype(int))
    return [int(device) for device in learners[spread] if source.device(int(device)).test]


@dataclass(frozen=True)
class Study:
    """Scores models for one scenario through an engine.

    A panel device whose scoring hangs or crashes is tried once more and then left out of everything that follows:
    ``left_out`` is shared by all studies of a run.
    """

    scenario: Scenario
    setup: DeviceSetup
    engine: Engine
    left_out: set[int] = field(default_factory=set)

    @cached_property
    def panel(self) -> list[int]:
        """Devices that everything is scored on."""
        return panel_of(self.setup.source(), self.scenario.evaluation.devices, self.canaries)

    @cached_property
    def canaries(self) -> Canaries:
        """Devices whose data nothing was learnt from."""
        return Canaries(self.scenario.seed, self.setup.devices, self.scenario.privacy.canaries)

    def curve_point(self, vector: Vector) -> Score:
        """Score of a shared adapter on as much of the panel as a curve needs."""
        enough = max(1, self.scenario.evaluation.curve_examples // max(1, self._tests_per_device()))
        job = partial(score_shared, self.setup, vector, self._length)
        scores: dict[int, Score] = {}
        while not scores:
            scores = self._score(job, self._remaining()[:enough])
        return add(list(scores.values()))

    def shared(self, vector: Vector) -> dict[int, Score]:
        """Score of a shared adapter on every panel device."""
        return self._score_panel(partial(score_shared, self.setup, vector, self._length))

    def held_out(self, vector: Vector) -> Score:
        """Score of a shared adapter on examples of no device."""
        count = min(self.scenario.evaluation.held_out, len(self.setup.source().held_out()))
        starts = range(0, count, _HELD_OUT_CHUNK)
        job = partial(score_held_out, self.setup, vector, self._length, count)
        return add(self._map(job, list(starts)))

    def centralised(self, devices: Sequence[int]) -> Vector:
        """One adapter trained on the pooled data of ``devices``, as if there were no privacy to keep."""
        settings = self.scenario.evaluation
        training = self.scenario.training.model_copy(
            update={
                "epochs": settings.centralised_epochs,
                "batch_size": settings.centralised_batch,
                "learning_rate": settings.centralised_learning_rate,
                "optimizer": "adamw",
                "schedule": "cosine",
                "max_steps": 0,
                "accumulation": 1,
                "example_dp": None,
            }
        )
        passes = len(devices) * settings.centralised_epochs  # as patient as with so many devices one after the other
        job = partial(train_centralised, self.setup, training)
        return self._map(job, [list(devices)], patience=passes)[0]  # type: ignore[no-any-return]

    def local_only(self) -> dict[int, Score]:
        """Every panel device alone: trained from the untouched model on its own data."""
        job = partial(score_alone, self.setup, self.scenario.evaluation.personal, self._length)
        return self._score_panel(job)

    def personalised(self, shared: Vector) -> dict[int, Score]:
        """Every panel device with a personal adapter on top of the shared one."""
        settings = self.scenario.evaluation
        job = partial(score_personal, self.setup, shared, settings.personal, settings.personal_rank, self._length)
        return self._score_panel(job)

    @property
    def _length(self) -> int:
        return self.scenario.training.max_length

    def _tests_per_device(self) -> int:
        return len(self.setup.source().device(self.panel[0]).test)

    def _remaining(self) -> list[int]:
        """Panel devices that have not been left out. Raises EngineFailed where there is none."""
        found = [device for device in self.panel if device not in self.left_out]
        if not found:
            raise EngineFailed(
                f"none of the {len(self.panel)} panel devices could be scored, each was tried twice; "
                "raise runtime.device_timeout_s or look at the model, then --resume"
            )
        return found

    def _score_panel(self, job: Any) -> dict[int, Score]:
        scores = self._score(job, self._remaining())
        self._remaining()
        return scores

    def _score(self, job: Any, devices: Sequence[int]) -> dict[int, Score]:
        """Scores by device, without those that failed twice."""
        results = dict(zip(devices, self._tried(job, devices), strict=True))
        self.left_out.update(device for device, result in results.items() if isinstance(result, Failed))
        return {device: result for device, result in results.items() if not isinstance(result, Failed)}

    def _tried(self, job: Any, items: Sequence[Any], patience: float = 1.0) -> list[Any]:
        """Results in order. What failed is run once more: a worker may have died of something else."""
        results = self.engine.map(job, items, patience)
        again = [place for place, result in enumerate(results) if isinstance(result, Failed)]
        if again:
            second = self.engine.map(job, [items[place] for place in again], patience)
            for place, result in zip(again, second, strict=True):
                results[place] = result
        return results

    def _map(self, job: Any, items: Sequence[Any], patience: float = 1.0) -> list[Any]:
        """Results of work that is no device's. Raises EngineFailed where some of it failed twice."""
        results = self._tried(job, items, patience)
        for result in results:
            if isinstance(result, Failed):
                raise EngineFailed(
                    f"an evaluation {result.reason} twice ({result.kind or 'no exception'}); "
                    "raise runtime.device_timeout_s or leave it out of evaluation"
                )
        return results


def add(scores: Sequence[Score]) -> Score:
    return sum(scores, NOTHING)


def score_shared(setup: DeviceSetup, vector: Vector, length: int, device: int) -> Score:
    here = resident(setup)
    here.adapted.load_vector(vector, setup.spec.rank)
    return evaluate(here.adapted, here.source.device(device).test, here.source.task, length)


def score_held_out(setup: DeviceSetup, vector: Vector, length: int, count: int, start: int) -> Score:
    here = resident(setup)
    here.adapted.load_vector(vector, setup.spec.rank)
    examples = here.source.held_out()[start : min(start + _HELD_OUT_CHUNK, count)]
    return evaluate(here.adapted, examples, here.source.task, length)


def train_centralised(setup: DeviceSetup, training: LocalTraining, devices: Sequence[int]) -> Vector:
    here = resident(setup)
    pooled: list[Example] = [example for device in devices for example in here.source.device(device).train]
    start, rng = initial_vector(setup.spec), stream(setup.seed, "centralised")
    return start + train(here.adapted, pooled, here.source.task, start, setup.spec.rank, training, rng).delta


def score_alone(setup: DeviceSetup, training: LocalTraining, length: int, device: int) -> Score:
    here = resident(setup)
    data, start, rank = here.source.device(device), initial_vector(setup.spec), setup.spec.rank
    rng = stream(setup.seed, "alone", device)
    train(here.adapted, data.train, here.source.task, start, rank, training, rng)  # leaves what it learnt loaded
    return evaluate(here.adapted, data.test, here.source.task, length)


def score_personal(
    setup: DeviceSetup, shared: Vector, training: LocalTraining, rank: int, length: int, device: int
) -> Score:
    here = resident(setup)
    data, rng = here.source.device(device), stream(setup.seed, "personal", device)
    train_personal(here.adapted, shared, setup.spec.rank, data.train, here.source.task, rank, training, rng)
    return evaluate_personal(here.adapted, data.test, here.source.task, length)
