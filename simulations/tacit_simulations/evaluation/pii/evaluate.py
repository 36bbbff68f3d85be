"""Put texts to redactors and add up what came of it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tacit_privacy.pii.policy import RedactionPolicy
from tacit_simulations.evaluation.pii.detectors import THRESHOLDS, at_thresholds, detector
from tacit_simulations.evaluation.pii.leakage import LeakTally
from tacit_simulations.evaluation.pii.scoring import SpanTally
from tacit_simulations.evaluation.pii.sets import DataSet, Sample, batches
from tacit_simulations.evaluation.pii.subjects import Annotated, Capitals, Outcome, Reference, Subject, Tacit

BATCH: Final = 64  # texts that are in memory at once

Report = dict[str, Any]


class Measure:
    """What came of a set's texts with one subject."""

    def __init__(self) -> None:
        self._texts = self._characters = self._refused = self._masked = 0
        self._harmless = self._needless = 0  # characters outside every marked span; those of them that were masked
        self._ways = self._returned = 0  # texts that went out, and that came back as they were
        self._spans = SpanTally()
        self._leaks = LeakTally()
        self._marked = self._has_units = False
        self._known = True  # which characters were masked

    def add(self, sample: Sample, outcome: Outcome) -> None:
        """One text."""
        self._texts += 1
        self._characters += len(sample.text)
        self._refused += outcome.refused
        if outcome.masked is None:
            self._known = False
        masked = outcome.masked or ()
        self._masked += sum(end - start for start, end in masked)
        if outcome.restored is not None:
            self._ways += 1
            self._returned += outcome.restored
        if sample.spans is not None:
            self._marked = True
            self._spans.add(sample.spans, outcome.found, sample.marks)
            marked = {at for start, end, _ in sample.spans for at in range(start, end)}
            self._harmless += len(sample.text) - len(marked)
            self._needless += sum(at not in marked for start, end in masked for at in range(start, end))
        if sample.units is not None:
            self._has_units = True
            self._leaks.add(sample.text, sample.units, outcome.outbound)

    def report(self) -> Report:
        """As commands print it; None stands where a figure does not apply."""
        return {
            "texts": self._texts,
            "characters": self._characters,
            "refused": self._refused,
            "masked_share": _share(self._masked, self._characters) if self._known else None,
            "spans": self._spans.report() if self._marked else None,
            "over_redaction": _share(self._needless, self._harmless),
            "leakage": self._leaks.report() if self._has_units else None,
            "round_trip": {"texts": self._ways, "exact": self._returned} if self._ways else None,
        }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def evaluate(
    sets: Iterable[DataSet],
    policy: RedactionPolicy,
    *,
    recogniser: Path | None = None,
    curve: bool = False,
    peers: bool = False,
    limit: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Report]:
    """A report of each set: ours, ``curve`` over thresholds, and ``peers`` beside them. Raises BadInput.

    ``recogniser``: a folder in place of the one that ships. ``limit``: only so many texts of each set.
    """
    ours = Tacit(detector(policy, recogniser), policy)
    steps = [
        Tacit(found, changed, f"{changed.detection.threshold:g}")
        for changed, found in (at_thresholds(policy, THRESHOLDS, recogniser) if curve else ())
    ]
    others: list[Subject] = []
    if peers:
        from tacit_simulations.evaluation.pii.peers import installed

        others += installed()
    reports = []
    for each in sets:
        tell(each.name)
        reports.append(_of_set(each, ours, steps, others, limit))
    return reports


def _of_set(each: DataSet, ours: Tacit, steps: Sequence[Tacit], others: Sequence[Subject], limit: int | None) -> Report:
    measures: dict[str, Measure] = {}
    curve: dict[str, Measure] = {}
    beside: dict[str, Measure] = {}
    for batch in batches(each.samples(), limit, BATCH):
        _add([ours], batch, measures)
        _add(steps, batch, curve)
        _add(others, batch, beside)
        with_units = [sample for sample in batch if sample.units is not None]
        if others and with_units:
            _add([Capitals(), Annotated()], with_units, beside)
            _add([Reference()], [sample for sample in with_units if sample.reference is not None], beside)
    mine = measures.get(ours.name, Measure()).report()
    points = [{"threshold": float(name)} | _point(measure.report()) for name, measure in curve.items()]
    return {"name": each.name, **mine, "curve": points, "peers": {name: m.report() for name, m in beside.items()}}


def _add(subjects: Sequence[Subject], batch: list[Sample], measures: dict[str, Measure]) -> None:
    for subject in subjects if batch else ():
        measure = measures.setdefault(subject.name, Measure())
        for sample, outcome in zip(batch, subject.read(batch), strict=True):
            measure.add(sample, outcome)


def _point(report: Mapping[str, Any]) -> Report:
    """What a curve keeps of a report."""
    spans, leakage = report["spans"], report["leakage"]
    return {
        "masked_share": report["masked_share"],
        "f2": spans["overlap"]["f2"] if spans else None,
        "f2_any_type": spans["any_type"]["f2"] if spans else None,
        "over_redaction": report["over_redaction"],
        "strict_leakage": leakage["strict"] if leakage else None,
        "any_leak": leakage["any_leak"] if leakage else None,
    }
