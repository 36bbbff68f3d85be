"""Train a router: choose how much to listen to words, get honest scores out of fold, calibrate, set the threshold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from tacit_clients.routing import folds, heads
from tacit_clients.routing.calibration import calibrate, threshold_for_rate, threshold_for_risk
from tacit_clients.routing.examples import Example, answers, helps
from tacit_clients.routing.familiarity import Familiarity
from tacit_clients.routing.heads import Penalty
from tacit_clients.routing.predictor import Predictor
from tacit_clients.routing.spec import Design, Spec, describe_all
from tacit_privacy.errors import BadInput

FOLDS: Final = 5
HELD_OUT: Final = 4  # with a risk bound one of so many examples is kept for it alone
GRAMS: Final = (None, 0.003, 0.001)  # penalties of n-grams that are tried; None: no n-grams

Vector = NDArray[np.float64]


class RouterSettings(BaseModel, frozen=True, extra="forbid"):
    """How a router is trained. What is ``None`` is found by cross-validation or not wanted."""

    target_rate: float = Field(default=0.5, ge=0, le=1)  # share of prompts to escalate, where no risk is bounded
    risk: float | None = Field(default=None, gt=0, lt=1)  # most P(answered locally, small wrong, large right)
    scope_level: float = Field(default=0.05, ge=0, lt=1)  # share of ordinary queries that may be called out of scope
    penalty: float = Field(default=0.2, gt=0)  # of features
    gram_penalty: float | None = Field(default=None, gt=0)  # of n-grams; None: one of GRAMS, chosen
    bits: int = Field(default=13, ge=0, le=16)  # 2 tables of 2**bits buckets; 0: no n-grams
    seed: int = Field(default=0, ge=0)  # of folds and of what is kept aside


@dataclass(frozen=True, slots=True)
class Fit:
    """``scores``: each training example's probability by weights that had not seen it, in the order of the examples."""

    predictor: Predictor
    scores: Vector
    gram_penalty: float | None  # what was chosen; None: no n-grams


def fit(examples: Sequence[Example], settings: RouterSettings | None = None, spec: Spec | None = None) -> Fit:
    """Train on ``examples``, at least 2; with ``spec`` on its features and scales. Raises BadInput.

    Where examples have groups, how much words may say is chosen with whole groups left out: what only tells subjects
    apart then earns nothing. That is for prompts to come of other groups; where they will be of the same ones, leave
    ``group`` out. Calibration and threshold come from scores out of fold over mixed parts, and belong to
    prompts exchangeable with the examples. With ``settings.risk`` the threshold comes from examples that nothing else
    was learned from, so that its guarantee is exact.
    """
    chosen = settings or RouterSettings()
    if len(examples) < 2:
        raise BadInput(f"{len(examples)} examples to train a router on; it takes at least 2")
    rng = np.random.default_rng(chosen.seed)
    if chosen.risk is None:
        return _fit(examples, chosen, spec, rng)
    order = rng.permutation(len(examples))
    kept = max(1, len(examples) // HELD_OUT)
    aside = [examples[index] for index in order[:kept]]
    found = _fit([examples[index] for index in order[kept:]] or aside, chosen, spec, rng)
    scores = np.array([found.predictor.score(each.prompt, each.signals) for each in aside])
    bounded = found.predictor.with_threshold(threshold_for_risk(scores, helps(aside), chosen.risk))
    return Fit(bounded, np.array([bounded.score(each.prompt, each.signals) for each in examples]), found.gram_penalty)


def _fit(examples: Sequence[Example], settings: RouterSettings, given: Spec | None, rng: np.random.Generator) -> Fit:
    prompts = [each.prompt for each in examples]
    described = describe_all(prompts)
    spec = Spec.of(described, settings.bits) if given is None else given
    design = spec.design(prompts, [each.signals for each in examples], described)
    right = answers(examples)
    parts = folds.mixed([tuple(row) for row in right], min(FOLDS, len(examples)), rng)
    penalty = _choose(design, right, _selection(examples, parts, rng), settings)
    if penalty is None:
        spec, design = spec.without_grams(), design.without_grams()
    cost = Penalty(settings.penalty, penalty or 1.0)
    gains = out_of_fold(design, right, parts, cost)
    calibration = calibrate(gains, helps(examples))
    scores = calibration.probability(gains)
    predictor = Predictor(
        spec=spec,
        weights=heads.train(design, right, cost).astype(np.float32),
        calibration=calibration,
        threshold=threshold_for_rate(scores, settings.target_rate),
        familiarity=Familiarity.of(prompts, rng),
        scope_level=settings.scope_level,
    )
    return Fit(predictor, scores, penalty)


def _selection(examples: Sequence[Example], parts: folds.Folds, rng: np.random.Generator) -> folds.Folds:
    """Whole groups left out where every example has one and there are several."""
    groups = [each.group for each in examples if each.group is not None]
    if len(groups) < len(examples) or len(set(groups)) < FOLDS:
        return parts
    return folds.grouped(groups, FOLDS, rng)


def _choose(design: Design, right: Vector, parts: folds.Folds, settings: RouterSettings) -> float | None:
    """The penalty of n-grams under which left-out gains come closest to what was gained; None: without n-grams."""
    if design.grams is None or settings.gram_penalty is not None:
        return None if design.grams is None else settings.gram_penalty
    gained = right[:, 0] - right[:, 1]
    errors = []
    for penalty in GRAMS:
        tried = design.without_grams() if penalty is None else design
        gains = out_of_fold(tried, right, parts, Penalty(settings.penalty, penalty or 1.0))
        errors.append(float(np.mean((gained - gains) ** 2)))
    return GRAMS[int(np.argmin(errors))]


def out_of_fold(design: Design, right: Vector, parts: folds.Folds, penalty: Penalty) -> Vector:
    """Each row's gain by weights trained on the other parts, (n,)."""
    gains = np.zeros(len(design))
    for part in np.unique(parts):
        inside, outside = np.flatnonzero(parts == part), np.flatnonzero(parts != part)
        if not len(outside):
            outside = inside
        weights = heads.train(design.rows(outside), right[outside], penalty)
        gains[inside] = heads.gain(heads.probabilities(design.rows(inside), weights))
    return gains
