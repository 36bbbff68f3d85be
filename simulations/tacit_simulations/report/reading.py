"""``result.json`` read once into frozen facts, so that no chart ever touches an untyped bag.

Every part but ``scenario`` and ``rounds`` may be missing or null: a timing-only run has no evaluation, a run without
privacy has no budget. A part that is there but has the wrong type is refused with the place and the value.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tacit_privacy.errors import BadInput

Json = Mapping[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Turnout:
    """Devices asked and what became of them; counts of devices."""

    sampled: int
    completed: int
    dropped: Mapping[str, int]

    @property
    def lost(self) -> int:
        return sum(self.dropped.values())

    @property
    def unexplained(self) -> int:
        """Asked, neither completed nor dropped for a stated reason."""
        return max(0, self.sampled - self.completed - self.lost)


@dataclass(frozen=True, slots=True)
class Round:
    """One round; seconds are virtual, energy in joules, money in the currency of the fleet's prices."""

    number: int
    turnout: Turnout
    tiers: Mapping[str, Turnout]
    virtual_start: float | None
    virtual_seconds: float | None
    loss: float | None
    metric: float | None
    epsilon: float | None
    bytes_up: float | None
    bytes_down: float | None
    energy_j: float | None
    money: float | None
    noise_to_clip: float | None
    clipped_share: float | None
    staleness: float | None  # mean age of the updates used, in server steps
    staleness_max: float | None


@dataclass(frozen=True, slots=True)
class Bound:
    """One upper bound on epsilon and what must be true for it to hold."""

    assumption: str
    adjacency: str
    epsilon: float | None
    accountant: str


@dataclass(frozen=True, slots=True)
class ExampleLevel:
    """What devices spent on a second guarantee, for single examples; over ``devices`` that spent any."""

    adjacency: str
    delta: float | None
    epsilon_max: float | None
    epsilon_median: float | None
    devices: int | None
    noise_source: str


@dataclass(frozen=True, slots=True)
class Empirical:
    """What canaries showed of a run; figures are None where too few of them took part."""

    planned: int | None
    asked: int | None
    estimate: float | None
    low: float | None
    high: float | None
    confidence: float | None
    guesses: int | None
    correct: int | None


@dataclass(frozen=True, slots=True)
class Privacy:
    """What was promised and what was spent; ``epsilon`` None or infinite means no guarantee."""

    unit: str
    adjacency: str
    delta: float | None
    epsilon: float | None
    epsilon_cap: float | None
    noise_multiplier: float | None
    clip_norm: float | None
    noise_source: str
    bounds: tuple[Bound, ...]
    empirical_lower_bound: float | None
    empirical: Empirical | None
    example_level: ExampleLevel | None

    @property
    def guaranteed(self) -> bool:
        return self.epsilon is not None and math.isfinite(self.epsilon)


@dataclass(frozen=True, slots=True)
class Point:
    """One evaluation of a model after ``round`` rounds."""

    round: int
    loss: float | None
    metric: float | None


@dataclass(frozen=True, slots=True)
class Score:
    """How well one model did, at the end and (where it was watched) on the way."""

    loss: float | None
    metric: float | None
    curve: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class TierScore:
    """Task metric on the devices of one tier."""

    devices: int | None
    federated_private: float | None
    personalised: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures that only a simulator can see."""

    metric_name: str
    scores: Mapping[str, Score]
    per_tier: Mapping[str, TierScore]
    panel: int | None  # devices that were to be scored, and that were
    panel_scored: int | None


@dataclass(frozen=True, slots=True)
class Fleet:
    """The emulated population; availability is the share reachable at each hour of a day."""

    devices: int | None
    tiers: Mapping[str, int]
    availability_by_hour: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """A whole result.json."""

    scenario: str
    seed: int | None
    devices: int | None
    rounds: tuple[Round, ...]
    privacy: Privacy | None
    evaluation: Evaluation | None
    fleet: Fleet | None
    config: Json
    versions: Json
    wall_seconds: float | None
    trainings_per_second: float | None
    stopped: str | None

    @property
    def buffered(self) -> bool:
        """Whether rounds overlapped: then a round counts the devices that settled in it, whenever they were asked."""
        federation = self.config.get("federation")
        return isinstance(federation, Mapping) and federation.get("policy") == "buffered"


SCORES = ("untrained", "local_only", "centralised", "federated", "federated_private", "personalised")


def read(result: Json) -> Run:
    """``result`` as facts. Raises BadInput, naming the place, where a value has the wrong type."""
    root = mapping({"result": result}, "result", "")
    stated = number(root, "devices", "result")
    fleet = _fleet(mapping(root, "fleet", "result"))
    return Run(
        scenario=text(root, "scenario", "result") or "unnamed",
        seed=whole(root, "seed", "result"),
        devices=int(stated) if stated is not None else (fleet.devices if fleet else None),
        rounds=tuple(rows(root, "rounds", "result", _round)),
        privacy=_privacy(mapping(root, "privacy", "result")),
        evaluation=_evaluation(mapping(root, "evaluation", "result")),
        fleet=fleet,
        config=mapping(root, "config", "result"),
        versions=mapping(root, "versions", "result"),
        wall_seconds=number(root, "wall_seconds", "result"),
        trainings_per_second=number(root, "client_trainings_per_second", "result"),
        stopped=text(root, "stopped", "result") or None,
    )


def _round(row: Json, where: str, position: int) -> Round:
    ordinal = whole(row, "round", where)
    figures = {name: number(row, name, where) for name in _ROUND_FIGURES}
    tiers = mapping(row, "tiers", where)
    return Round(
        number=position if ordinal is None else ordinal,
        turnout=_turnout(row, where),
        tiers={str(tier): _turnout(mapping(tiers, tier, f"{where}.tiers"), f"{where}.tiers.{tier}") for tier in tiers},
        **figures,
    )


_ROUND_FIGURES = (
    "virtual_start",
    "virtual_seconds",
    "loss",
    "metric",
    "epsilon",
    "bytes_up",
    "bytes_down",
    "energy_j",
    "money",
    "noise_to_clip",
    "clipped_share",
    "staleness",
    "staleness_max",
)


def _turnout(row: Json, where: str) -> Turnout:
    return Turnout(
        sampled=whole(row, "sampled", where) or 0,
        completed=whole(row, "completed", where) or 0,
        dropped=counts(row, "dropped", where),
    )


def _privacy(row: Json) -> Privacy | None:
    where = "result.privacy"
    if not row:
        return None
    return Privacy(
        unit=text(row, "unit", where) or "device",
        adjacency=text(row, "adjacency", where) or "not named",
        delta=number(row, "delta", where),
        epsilon=number(row, "epsilon", where),
        epsilon_cap=number(row, "epsilon_cap", where),
        noise_multiplier=number(row, "noise_multiplier", where),
        clip_norm=number(row, "clip_norm", where),
        noise_source=text(row, "noise_source", where) or "not stated",
        bounds=tuple(rows(row, "bounds", where, _bound)),
        empirical_lower_bound=number(row, "empirical_lower_bound", where),
        empirical=_empirical(mapping(row, "empirical", where)),
        example_level=_example_level(mapping(row, "example_level", where)),
    )


def _empirical(row: Json) -> Empirical | None:
    where = "result.privacy.empirical"
    if not row:
        return None
    one_run = mapping(row, "one_run", where)
    return Empirical(
        planned=whole(row, "planned", where),
        asked=whole(row, "asked", where),
        estimate=number(row, "estimate", where),
        low=number(row, "estimate_low", where),
        high=number(row, "estimate_high", where),
        confidence=number(row, "confidence", where),
        guesses=whole(one_run, "guesses", f"{where}.one_run"),
        correct=whole(one_run, "correct", f"{where}.one_run"),
    )


def _example_level(row: Json) -> ExampleLevel | None:
    where = "result.privacy.example_level"
    if not row:
        return None
    return ExampleLevel(
        adjacency=text(row, "adjacency", where) or "not named",
        delta=number(row, "delta", where),
        epsilon_max=number(row, "epsilon_max", where),
        epsilon_median=number(row, "epsilon_median", where),
        devices=whole(row, "devices", where),
        noise_source=text(row, "noise_source", where) or "not stated",
    )


def _bound(row: Json, where: str, position: int) -> Bound:
    return Bound(
        assumption=text(row, "assumption", where),
        adjacency=text(row, "adjacency", where),
        epsilon=number(row, "epsilon", where),
        accountant=text(row, "accountant", where),
    )


def _evaluation(row: Json) -> Evaluation | None:
    where = "result.evaluation"
    if not row:
        return None
    tiers, panel = mapping(row, "per_tier", where), mapping(row, "panel", where)
    return Evaluation(
        metric_name=text(row, "metric_name", where) or "metric",
        scores={key: _score(mapping(row, key, where), f"{where}.{key}") for key in SCORES if row.get(key)},
        per_tier={
            str(tier): _tier_score(mapping(tiers, tier, f"{where}.per_tier"), f"{where}.per_tier.{tier}")
            for tier in tiers
        },
        panel=whole(panel, "devices", f"{where}.panel"),
        panel_scored=whole(panel, "scored", f"{where}.panel"),
    )


def _score(row: Json, where: str) -> Score:
    return Score(
        loss=number(row, "loss", where),
        metric=number(row, "metric", where),
        curve=tuple(rows(row, "curve", where, _point)),
    )


def _point(row: Json, where: str, position: int) -> Point:
    ordinal = whole(row, "round", where)
    return Point(position if ordinal is None else ordinal, number(row, "loss", where), number(row, "metric", where))


def _tier_score(row: Json, where: str) -> TierScore:
    return TierScore(
        devices=whole(row, "devices", where),
        federated_private=_metric(row, "federated_private", where),
        personalised=_metric(row, "personalised", where),
    )


def _metric(row: Json, key: str, where: str) -> float | None:
    """A tier's score stands alone or inside ``{"loss", "metric"}``."""
    value = row.get(key)
    return number(value, "metric", f"{where}.{key}") if isinstance(value, Mapping) else number(row, key, where)


def _fleet(row: Json) -> Fleet | None:
    where = "result.fleet"
    if not row:
        return None
    hours = row.get("availability_by_hour") or []
    if not isinstance(hours, Sequence) or len(hours) not in (0, 24):
        raise _wrong(f"{where}.availability_by_hour", hours, "a list of 24 shares, one for each hour")
    by_hour = {str(hour): share for hour, share in enumerate(hours)}
    shares = (number(by_hour, hour, f"{where}.availability_by_hour") for hour in by_hour)
    return Fleet(
        devices=whole(row, "devices", where),
        tiers=counts(row, "tiers", where),
        availability_by_hour=tuple(0.0 if share is None else share for share in shares),
    )


def mapping(row: Json, key: str, where: str) -> Json:
    """``row[key]`` as a mapping; missing or null reads as empty."""
    value = row.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _wrong(f"{where}.{key}" if where else key, value, "an object")
    return value


def rows(row: Json, key: str, where: str, build: Callable[[Json, str, int], T]) -> list[T]:
    """``row[key]`` as a list of objects, each handed to ``build(object, place, position from 1)``."""
    value = row.get(key)
    if value is None:
        return []
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _wrong(f"{where}.{key}", value, "a list of objects")
    built = []
    for index, item in enumerate(value):
        place = f"{where}.{key}[{index}]"
        if not isinstance(item, Mapping):
            raise _wrong(place, item, "an object")
        built.append(build(item, place, index + 1))
    return built


def number(row: Json, key: str, where: str) -> float | None:
    """``row[key]`` as a float; null, missing and NaN read as None, infinity stays (an unbounded epsilon)."""
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(f"{where}.{key}", value, "a number or null")
    return None if math.isnan(value) else float(value)


def whole(row: Json, key: str, where: str) -> int | None:
    """``row[key]`` as an integer."""
    value = number(row, key, where)
    if value is None:
        return None
    if not math.isfinite(value) or value != int(value):
        raise _wrong(f"{where}.{key}", value, "a whole number")
    return int(value)


def counts(row: Json, key: str, where: str) -> dict[str, int]:
    """``row[key]`` as counts by name, zeros left out."""
    inner = mapping(row, key, where)
    found = {str(name): whole(inner, name, f"{where}.{key}") or 0 for name in inner}
    return {name: count for name, count in found.items() if count}


def text(row: Json, key: str, where: str) -> str:
    """``row[key]`` as text; missing or null reads as empty."""
    value = row.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _wrong(f"{where}.{key}", value, "text")
    return value


def _wrong(place: str, value: object, wanted: str) -> BadInput:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return BadInput(f"{place} is {shown}, not {wanted}; give the result.json that `tacit simulate` wrote")
