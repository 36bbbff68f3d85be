"""The whole comparison: every mode and baseline on the same questions, one at a time, and what is told of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tacit_clients.gateway.app import masks_anything
from tacit_clients.gateway.settings import GatewaySettings
from tacit_clients.modes.local import Generator
from tacit_privacy.errors import BadInput
from tacit_privacy.pii.entities import Detector
from tacit_privacy.pii.policy import RedactionPolicy
from tacit_simulations.evaluation.modes import baselines, measures, profiles, rows
from tacit_simulations.evaluation.modes.asking import KEEP_ALL, Asking, Outcome, ask, house, names
from tacit_simulations.evaluation.modes.measures import Pool
from tacit_simulations.evaluation.modes.pareto import fronts
from tacit_simulations.evaluation.modes.sweeps import SWEEPS, Run, Sweep, runs_of
from tacit_simulations.evaluation.modes.tasks import Task
from tacit_simulations.fleet.network import Network

LOCAL, LLM = "local", "llm"
_NOBODY = "http://127.0.0.1:9/v1"  # the discard port, where nothing listens
Tell = Callable[[str], None]
Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is compared, and how. ``changes`` are dotted settings of the gateway for every mode."""

    dataset: str
    tasks: Sequence[Task]
    settings: GatewaySettings  # as every mode has them; a run changes its knob
    change: Callable[[Mapping[str, Any]], GatewaySettings]
    policy: RedactionPolicy
    local: Generator
    parameters: int  # of the small model
    places: Sequence[profiles.Place] = ()
    modes: Sequence[str] | None = None  # None: all that the gateway has
    sweep: bool = True
    sweeps: Mapping[str, Sweep] = field(default_factory=lambda: SWEEPS)
    asking: Asking = field(default_factory=Asking)
    prices: rows.Prices = field(default_factory=rows.Prices)
    remote: profiles.Remote = field(default_factory=profiles.Remote)
    traces: Path | None = None
    outage_questions: int = 8
    start: Sequence[float] | None = None  # of each task, 1 where the local model was right before it was taught


@dataclass(frozen=True)
class Measured:
    """A run's answers, and those of the first questions while the large model was gone."""

    run: Run
    baseline: str | None
    pool: Pool
    outage: Sequence[Outcome]


@dataclass(frozen=True)
class _Detectors:
    """Built once for all gateways: the recogniser takes a second to load."""

    found: Detector | None
    patterns: Detector | None

    @classmethod
    def of(cls, policy: RedactionPolicy) -> "_Detectors":
        if not masks_anything(policy):
            return cls(None, None)
        from tacit_privacy.pii.detection.detector import build_detector, pattern_detector

        found = build_detector(policy)
        found.detect(["warm"])  # what its runtime sets up at the first text is no question's
        return cls(found, pattern_detector(policy))


async def evaluate(plan: Plan, tell: Tell) -> dict[str, Any]:
    """Everything that ``tacit bench modes --json`` prints but the names of the models. Raises BadInput."""
    network = profiles.network_of(plan.traces, plan.asking.seed)  # first: a folder without traces costs nobody an hour
    return compared(plan, await measured(plan, tell), network)


async def measured(plan: Plan, tell: Tell) -> list[Measured]:
    """Every answer: the baselines first, then each mode with each value of its knob. Raises BadInput."""
    asked = _Asked(plan, tell, _Detectors.of(plan.policy))
    chosen = await asked.choose()
    local, llm = await asked.answers(Run(LOCAL)), await asked.answers(Run(LLM))
    raw = await asked.answers(Run(LLM), KEEP_ALL)
    found = [
        Measured(Run(LOCAL), baselines.ALWAYS_LOCAL, Pool.of(local), await asked.outage(LOCAL)),
        Measured(Run(LLM), baselines.ALWAYS_REDACTED, Pool.of(llm), await asked.outage(LLM)),
        Measured(Run(LLM), baselines.ALWAYS_RAW, Pool.of(raw), ()),
        *drawn(plan.tasks, local, llm),
    ]
    for run in runs_of([mode for mode in chosen if mode not in (LOCAL, LLM)], plan.sweep, plan.sweeps):
        found.append(Measured(run, None, Pool.of(await asked.answers(run)), await asked.outage(run.mode)))
    return found


def compared(plan: Plan, found: Sequence[Measured], network: Network) -> dict[str, Any]:
    """What the answers come to. ``found`` holds the baselines that ask one model."""
    alone = {each.baseline: each.pool for each in found if not each.run.knob}
    local, llm, raw = (
        alone[name] for name in (baselines.ALWAYS_LOCAL, baselines.ALWAYS_REDACTED, baselines.ALWAYS_RAW)
    )
    slm = local.per_question(measures.right)
    against = rows.Reference(
        slm=slm,
        start=slm if plan.start is None else np.array(plan.start, dtype=np.float64),
        llm=llm.per_question(measures.right),
        raw=raw.per_question(measures.right),
        raw_tokens=raw.total(lambda o: o.whole.llm_in + o.whole.llm_out),
    )
    curves = _curves(found, against)
    told = [row for each in found for row in _rows(plan, each, against, curves.get(each.run.mode), network)]
    here = [row for row in told if row["device_profile"] == rows.HERE]
    return {
        "dataset": plan.dataset,
        "n": len(plan.tasks),
        "rows": told,
        "baselines": _summary(found),
        "pareto": fronts(here),
    }


class _Asked:
    """Puts the questions."""

    def __init__(self, plan: Plan, tell: Tell, detectors: _Detectors) -> None:
        self._plan, self._tell, self._detectors = plan, tell, detectors
        self._outages: dict[str, list[Outcome]] = {}

    async def choose(self) -> list[str]:
        """The modes to run, in the gateway's order. Raises BadInput for one that it does not have."""
        plan = self._plan
        async with house(plan.settings, KEEP_ALL, plan.local, plan.asking) as at:
            there = names(at.gateway)
        for mode in plan.modes or ():
            if mode not in there:
                raise BadInput(f"the gateway has no mode {mode}; it has {', '.join(there)}")
        chosen = [mode for mode in there if plan.modes is None or mode in plan.modes]
        for run in runs_of(chosen, plan.sweep, plan.sweeps):
            plan.change(run.changes)  # a value that the settings refuse is told before anything is asked
        return chosen

    async def answers(self, run: Run, policy: RedactionPolicy | None = None) -> list[Outcome]:
        """One answer to every question."""
        plan = self._plan
        self._tell(f"{run}{'' if policy is None else ', raw'}: {len(plan.tasks)} questions")
        return await self._put(plan.change(run.changes), run.mode, plan.tasks, policy)

    async def outage(self, mode: str) -> list[Outcome]:
        """Answers to the first questions while nobody listens at the upstream's address, once for each mode."""
        plan = self._plan
        tasks = plan.tasks[: plan.outage_questions]
        if tasks and mode not in self._outages:
            self._tell(f"{mode} without the large model: {len(tasks)} questions")
            gone = plan.settings.upstream.model_copy(update={"url": _NOBODY, "retries": 0})
            settings = plan.settings.model_copy(update={"upstream": gone})
            self._outages[mode] = await self._put(settings, mode, tasks, None)
        return self._outages.get(mode, [])

    async def _put(
        self, settings: GatewaySettings, mode: str, tasks: Sequence[Task], policy: RedactionPolicy | None
    ) -> list[Outcome]:
        plan, found = self._plan, self._detectors if policy is None else _Detectors(None, None)
        policy = plan.policy if policy is None else policy
        async with house(settings, policy, plan.local, plan.asking, found.found, found.patterns) as at:
            return [await ask(at, mode, task) for task in tasks]


def drawn(tasks: Sequence[Task], local: Sequence[Outcome], llm: Sequence[Outcome]) -> list[Measured]:
    """The rows that need no run of their own."""
    found = []
    for share in baselines.SHARES:
        pools = (
            (baselines.RANDOM, baselines.random(local, llm, share)),
            (baselines.LENGTH, baselines.length(tasks, local, llm, share)),
        )
        found += [Measured(Run(name, "share", share), name, pool, ()) for name, pool in pools]
    return sorted(found, key=lambda each: each.run.mode == baselines.LENGTH)


@dataclass(frozen=True, slots=True)
class _Curve:
    apgr: float | None
    cpt20: float | None
    cpt50: float | None
    cpt80: float | None
    curve_from: str


def _curves(found: Sequence[Measured], against: rows.Reference) -> dict[str, _Curve]:
    """By mode: from the values of its knob where it has two or more, else from its confidences where it tells all."""
    slm, llm = float(against.slm.mean()), float(against.llm.mean())
    points: dict[str, list[tuple[float, float]]] = {}
    told: dict[str, list[tuple[float, float]]] = {}
    for each in found:
        if each.run.knob:
            point = each.pool.mean(measures.escalated), each.pool.mean(measures.right)
            points.setdefault(each.run.mode, []).append(point)
        confidence = each.pool.values(lambda o: np.nan if o.confidence is None else o.confidence)
        if each.baseline is None and np.isfinite(confidence).all():
            told[each.run.mode] = measures.confidence_curve(confidence, against.slm, against.llm)
    swept = {mode: some for mode, some in points.items() if len(some) > 1}
    return {
        mode: _Curve(
            apgr=measures.area_recovered(some, slm, llm),
            cpt20=measures.calls_to_recover(some, 0.2, slm, llm),
            cpt50=measures.calls_to_recover(some, 0.5, slm, llm),
            cpt80=measures.calls_to_recover(some, 0.8, slm, llm),
            curve_from="sweep" if mode in swept else "confidence",
        )
        for mode, some in (told | swept).items()
    }


def _rows(plan: Plan, each: Measured, against: rows.Reference, curve: _Curve | None, network: Network) -> list[Row]:
    """One for this machine, and one for each device profile."""
    pool, seed = each.pool, plan.asking.seed
    quality = rows.quality(pool, against, seed)
    if curve is not None:
        quality = replace(quality, **asdict(curve))
    shared = (
        quality,
        rows.routing(pool, against),
        rows.latency(pool),
        rows.cost(pool, against, plan.prices, plan.parameters),
        rows.privacy(pool),
        rows.redaction(pool),
        rows.robustness(each.outage),
        rows.families(pool),
    )
    about = rows.identity(each.run, each.baseline, seed, plan.dataset, pool.n)
    told = [rows.flat((about, *shared, rows.Device()))]
    for place in plan.places:
        whole = profiles.emulate(pool, place, plan.parameters, network, plan.remote)
        first = profiles.emulate(pool, place, plan.parameters, network, plan.remote, first=True)
        there = replace(about, device_profile=place.device.name, link=place.link.name, emulated=True)
        told.append(rows.flat((there, *shared, rows.device(pool, whole, first))))
    return told


def _summary(found: Sequence[Measured]) -> dict[str, Any]:
    """The baselines in short: quality of each, and of random and length over shares of questions escalated."""
    told: dict[str, Any] = {}
    for each in found:
        if each.baseline is None:
            continue
        quality = each.pool.mean(measures.right)
        if each.run.knob:
            told.setdefault(each.baseline, []).append({"share": each.run.value, "quality": quality})
        else:
            tokens = each.pool.mean(lambda o: o.whole.llm_in + o.whole.llm_out)
            told[each.baseline] = {"quality": quality, "llm_tokens": float(np.round(tokens, 6))}
    return told
