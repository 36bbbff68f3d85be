"""One row a run and device profile: every figure of the metric vector that can be had here, flat, under fixed names.

docs/evaluation.md explains every field; a test holds it to that.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from tacit_simulations.evaluation.modes import measures
from tacit_simulations.evaluation.modes.asking import Outcome
from tacit_simulations.evaluation.modes.measures import Pool, escalated, quantile, right
from tacit_simulations.evaluation.modes.profiles import Emulated
from tacit_simulations.evaluation.modes.sweeps import Run

HERE = "here"  # the device profile of what was measured on this machine


@dataclass(frozen=True, slots=True)
class Prices:
    """Of the large model, a million tokens, in whatever currency."""

    into: float = 0.0
    out: float = 0.0

    def of(self, outcome: Outcome) -> float:
        return (outcome.whole.llm_in * self.into + outcome.whole.llm_out * self.out) / 1e6


@dataclass(frozen=True, eq=False)
class Reference:
    """What rows are measured against: always-local and always-LLM, redacted and raw, on the same questions."""

    slm: measures.F64  # (n,) 1 where always-local is right
    start: measures.F64  # (n,) from which gaps are measured: the same, or the local model before it was taught
    llm: measures.F64  # (n,) redacted
    raw: measures.F64  # (n,)
    raw_tokens: float  # of the large model, over all questions


@dataclass(frozen=True, slots=True)
class Identity:
    """Which run on what."""

    mode: str
    baseline: str | None
    knob: str | None
    value: Any
    seed: int
    dataset: str
    device_profile: str
    link: str | None
    emulated: bool
    questions: int


@dataclass(frozen=True, slots=True)
class Quality:
    """How well it answered, and how far that closes the gap between the two models."""

    quality: float
    quality_low: float
    quality_high: float
    failed: float
    failures: dict[str, float]
    pgr: float | None
    pgr_raw: float | None
    pgr_raw_low: float | None
    pgr_raw_high: float | None
    apgr: float | None = None
    cpt20: float | None = None
    cpt50: float | None = None
    cpt80: float | None = None
    curve_from: str | None = None


@dataclass(frozen=True, slots=True)
class Routing:
    """When it asked the large model, and when it should have."""

    escalation_rate: float
    over_escalation: float
    under_escalation: float
    both_wrong_waste: float
    confidence_ece: float | None


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds on this machine, one question at a time, of questions that were answered; null where none was."""

    ttft_ms_p50: float | None
    ttft_ms_p95: float | None
    ttft_ms_p99: float | None
    latency_ms_p50: float | None
    latency_ms_p95: float | None
    latency_ms_p99: float | None
    gate_ms: float | None
    local_ms: float | None
    llm_ms: float | None


@dataclass(frozen=True, slots=True)
class Cost:
    """Means of a question, unless the name says otherwise."""

    tokens_up: float
    tokens_down: float
    llm_tokens: float
    llm_tokens_share: float | None
    tokens_told: bool
    calls: float
    bytes_up: float
    bytes_down: float
    cost: float
    cost_per_correct: float | None
    local_tokens_in: float
    local_tokens_out: float
    local_gflops: float
    peak_rss_mb: float


@dataclass(frozen=True, slots=True)
class Privacy:
    """What crossed. Shares are null where no row of the data has a unit that counts."""

    strict_leakage: float | None
    any_leak: float | None
    units: float
    units_leaked: float
    exposed_words: float
    exposed_bytes: float
    exposed_bytes_share: float


@dataclass(frozen=True, slots=True)
class Redaction:
    """Values masked and what became of their placeholders in answers, a question; flags: shares of questions."""

    masked: float
    restored: float
    unknown: float
    malformed: float
    withheld: float
    flags: dict[str, float]


@dataclass(frozen=True, slots=True)
class Robustness:
    """The same mode while nobody answers at the upstream's address, on the first questions."""

    outage_questions: int | None = None
    outage_answered: float | None = None
    outage_quality: float | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """The same work on the row's device profile and link, emulated; all null where that is this machine.

    Times are of questions that were answered, as those measured here.
    """

    device_latency_ms_p50: float | None = None
    device_latency_ms_p95: float | None = None
    device_latency_ms_p99: float | None = None
    device_ttft_ms_p50: float | None = None
    device_ttft_ms_p95: float | None = None
    device_compute_ms: float | None = None
    device_network_ms: float | None = None
    device_llm_ms: float | None = None
    device_energy_j: float | None = None
    network_energy_j: float | None = None
    energy_j: float | None = None
    correct_per_joule: float | None = None


@dataclass(frozen=True, slots=True)
class Families:
    """By query type: questions, quality and escalation rate."""

    families: dict[str, dict[str, float]]


PARTS = (Identity, Quality, Routing, Latency, Cost, Privacy, Redaction, Robustness, Device, Families)
FIELDS: tuple[str, ...] = tuple(field.name for part in PARTS for field in fields(part))
"""Of every row, in order."""


def flat(parts: Sequence[Any]) -> dict[str, Any]:
    """One row of its parts, in the order of FIELDS."""
    row: dict[str, Any] = {}
    for part in parts:
        row |= asdict(part)
    return {name: row[name] for name in FIELDS}


def identity(run: Run, baseline: str | None, seed: int, dataset: str, questions: int) -> Identity:
    """Of what was measured here."""
    return Identity(run.mode, baseline, run.knob or None, run.value, seed, dataset, HERE, None, False, questions)


def quality(pool: Pool, against: Reference, seed: int) -> Quality:
    mean = pool.mean(right)
    answers = pool.per_question(right)
    low, high = measures.interval(answers, seed)
    least, most = measures.gap_interval(answers, against.start, against.raw, seed)
    words = sorted({outcome.failed for outcome in pool.outcomes if outcome.failed})
    start, llm = float(against.start.mean()), float(against.llm.mean())
    return Quality(
        quality=mean,
        quality_low=low,
        quality_high=high,
        failed=pool.mean(lambda o: bool(o.failed)),
        failures={word: pool.mean(lambda o, word=word: o.failed == word) for word in words},  # type: ignore[misc]
        pgr=measures.gap_recovered(mean, start, llm),
        pgr_raw=measures.gap_recovered(mean, start, float(against.raw.mean())),
        pgr_raw_low=least,
        pgr_raw_high=most,
    )


def routing(pool: Pool, against: Reference) -> Routing:
    asked = pool.per_question(escalated)
    errors = measures.routing_errors(asked, against.slm, against.llm)
    confidence = pool.values(lambda o: np.nan if o.confidence is None else o.confidence)
    ece = measures.calibration_error(confidence, against.slm[pool.question])
    return Routing(
        escalation_rate=float(asked.mean()),
        over_escalation=errors.over_escalation,
        under_escalation=errors.under_escalation,
        both_wrong_waste=errors.both_wrong_waste,
        confidence_ece=ece,
    )


@dataclass(frozen=True)
class _Times:
    """Figures of times, shape ``(m,)``: an answer that failed took none, however long it was waited for."""

    pool: Pool

    def at(self, times: measures.F64, share: float) -> float | None:
        came = self.pool.came()
        return quantile(times[came], self.pool.weight[came], share) if came.any() else None

    def mean(self, times: measures.F64) -> float | None:
        came = self.pool.came()
        weight = self.pool.weight[came]
        return float(np.dot(weight, times[came]) / weight.sum()) if came.any() else None


def latency(pool: Pool) -> Latency:
    first, whole = pool.values(lambda o: o.ttft_ms), pool.values(lambda o: o.latency_ms)
    times = _Times(pool)
    return Latency(
        ttft_ms_p50=times.at(first, 0.5),
        ttft_ms_p95=times.at(first, 0.95),
        ttft_ms_p99=times.at(first, 0.99),
        latency_ms_p50=times.at(whole, 0.5),
        latency_ms_p95=times.at(whole, 0.95),
        latency_ms_p99=times.at(whole, 0.99),
        gate_ms=times.mean(pool.values(lambda o: o.whole.gate_ms)),
        local_ms=times.mean(pool.values(lambda o: o.whole.local_ms)),
        llm_ms=times.mean(pool.values(lambda o: o.whole.llm_ms)),
    )


def cost(pool: Pool, against: Reference, prices: Prices, parameters: int) -> Cost:
    up, down = pool.mean(lambda o: o.whole.llm_in), pool.mean(lambda o: o.whole.llm_out)
    read, written = pool.mean(lambda o: o.whole.local_in), pool.mean(lambda o: o.whole.local_out)
    spent, correct = pool.mean(prices.of), pool.mean(right)
    return Cost(
        tokens_up=up,
        tokens_down=down,
        llm_tokens=up + down,
        llm_tokens_share=(up + down) * pool.n / against.raw_tokens if against.raw_tokens else None,
        tokens_told=all(o.whole.tokens_told for o in pool.outcomes),
        calls=pool.mean(lambda o: o.whole.calls),
        bytes_up=pool.mean(lambda o: o.whole.bytes_up),
        bytes_down=pool.mean(lambda o: o.whole.bytes_down),
        cost=spent,
        cost_per_correct=spent / correct if correct else None,
        local_tokens_in=read,
        local_tokens_out=written,
        local_gflops=2 * parameters * (read + written) / 1e9,
        peak_rss_mb=max(o.rss_bytes for o in pool.outcomes) / 1e6,
    )


def privacy(pool: Pool) -> Privacy:
    units, gone = pool.total(lambda o: o.crossing.units), pool.total(lambda o: o.crossing.leaked)
    holding = pool.total(lambda o: o.crossing.units > 0)
    leaking = pool.total(lambda o: o.crossing.leaked > 0)
    text, out = pool.total(lambda o: o.crossing.text_bytes), pool.total(lambda o: o.crossing.text_bytes_out)
    return Privacy(
        strict_leakage=gone / units if units else None,
        any_leak=leaking / holding if holding else None,
        units=units,
        units_leaked=gone,
        exposed_words=pool.mean(lambda o: o.crossing.words_out / max(1, o.crossing.words)),
        exposed_bytes=out / pool.n,
        exposed_bytes_share=out / text if text else 0.0,
    )


def redaction(pool: Pool) -> Redaction:
    words = sorted({word for outcome in pool.outcomes for word in outcome.flags})
    return Redaction(
        masked=pool.mean(lambda o: o.placeholders.masked),
        restored=pool.mean(lambda o: o.placeholders.restored),
        unknown=pool.mean(lambda o: o.placeholders.unknown),
        malformed=pool.mean(lambda o: o.placeholders.malformed),
        withheld=pool.mean(lambda o: o.placeholders.withheld),
        flags={word: pool.mean(lambda o, word=word: word in o.flags) for word in words},  # type: ignore[misc]
    )


def robustness(outcomes: Sequence[Outcome]) -> Robustness:
    """Of the answers that came while the large model was gone."""
    if not outcomes:
        return Robustness()
    pool = Pool.of(outcomes)
    return Robustness(pool.n, pool.mean(lambda o: o.answered), pool.mean(right))


def device(pool: Pool, whole: Emulated, first: Emulated) -> Device:
    """Energy is of every question, failed ones too: it was spent."""

    def joules(values: measures.F64) -> float:
        return float(np.dot(pool.weight, values) / pool.n)

    times = _Times(pool)
    energy = joules(whole.device_j) + joules(whole.network_j)
    return Device(
        device_latency_ms_p50=times.at(1e3 * whole.seconds, 0.5),
        device_latency_ms_p95=times.at(1e3 * whole.seconds, 0.95),
        device_latency_ms_p99=times.at(1e3 * whole.seconds, 0.99),
        device_ttft_ms_p50=times.at(1e3 * first.seconds, 0.5),
        device_ttft_ms_p95=times.at(1e3 * first.seconds, 0.95),
        device_compute_ms=times.mean(1e3 * whole.compute_s),
        device_network_ms=times.mean(1e3 * whole.network_s),
        device_llm_ms=times.mean(1e3 * whole.llm_s),
        device_energy_j=joules(whole.device_j),
        network_energy_j=joules(whole.network_j),
        energy_j=energy,
        correct_per_joule=pool.mean(right) / energy if energy else None,
    )


def families(pool: Pool) -> Families:
    found = {}
    for name in sorted({outcome.family for outcome in pool.outcomes}):
        part = pool.only(lambda o, name=name: o.family == name)  # type: ignore[misc]
        found[name] = {
            "questions": part.n,
            "quality": part.mean(right),
            "escalation_rate": part.mean(escalated),
        }
    return Families(found)
