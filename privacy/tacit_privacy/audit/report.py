"""An auditor's report: one pass over a ledger, verified first, into one frozen document."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from tacit_privacy.audit.canaries import CONFIDENCE, Measured
from tacit_privacy.audit.chapters import (
    book_of,
    budget_of,
    clipping_of,
    cohorts_of,
    deployment,
    dropouts_of,
    mechanisms_of,
    neighbours_of,
    noise_of,
    outside_of,
    participation_of,
    unit_of,
)
from tacit_privacy.audit.document import Empirical, Report, Verified, Wrong
from tacit_privacy.audit.entries import Entries, own_key
from tacit_privacy.audit.guarantee import Span, accounting_of, bounds_of, guarantee, spans_of, version_of
from tacit_privacy.audit.reading import notes_of, reading_of
from tacit_privacy.errors import BadInput
from tacit_privacy.ledger.verify import Verification, verify
from tacit_privacy.wording import rounded_down, rounded_up


@dataclass(frozen=True, slots=True)
class FromResult:
    """What the result of a simulated run adds: what was measured, and the second guarantee on its devices.

    ``head`` and ``config`` say of which ledger the result is. ``planned`` and ``asked`` count canaries.
    """

    head: str | None
    config: str | None
    measured: Measured | None
    planned: int
    asked: int
    example_level: str | None


def report(
    lines: Iterable[str],
    key: str | None,
    witness: str | None = None,
    receipts: Iterable[str] | None = None,
    result: FromResult | None = None,
    cross_check: bool = False,
    name: str = "ledger.jsonl",
) -> Report:
    """Verify a ledger and say everything that an auditor asks of it.

    ``key`` None: it is checked against the key that it names itself, and the report says that nobody vouched for that
    one. ``witness`` and ``receipts`` are as in ``verify``. ``cross_check`` asks a second accountant, which takes
    seconds, as bounds that count on sampling do. A ledger that does not verify is reported as far as it can be read.
    Raises BadInput where ``result`` is of another run.
    """
    entries, unread = Entries(), iter(lines)
    first = next(unread, None)
    whole = chain(() if first is None else (first,), unread)
    found = verify(entries.passing(whole), key if key is not None else own_key(first), witness, receipts)
    account, spans = found.account, spans_of(found.account)
    span = spans[0] if spans else None
    sealed = span is not None and span.policy.roster_sealed
    if result is not None:
        _of_this_ledger(result, found, entries)
    checked = _verified(found, account.key if key is None else key, key is not None, witness, receipts is not None)
    guarantees = tuple(guarantee(each) for each in spans)
    told = participation_of(found, entries, account, span) if span else None
    budget = budget_of(account, span, spans[-1]) if span else None
    empirical = _empirical(spans[-1], result) if spans else None
    return Report(
        ledger=name,
        tacit=version_of("tacit"),
        notes=notes_of(checked, account.noise_source, empirical),
        reading=reading_of(
            checked, span, guarantees[0] if guarantees else None, told, budget, empirical, account.noise_source
        ),
        verification=checked,
        deployment=deployment(),
        unit=unit_of(span) if span else None,
        neighbours=neighbours_of(span) if span else None,
        mechanisms=mechanisms_of(account),
        clipping=clipping_of(account),
        sampling=cohorts_of(account, span) if span else None,
        participation=told,
        guarantees=guarantees or None,
        bounds=bounds_of(spans) if spans else None,
        accounting=accounting_of(span, cross_check) if span else None,
        noise=noise_of(account, span) if span else None,
        dropouts=dropouts_of(entries, sealed),
        outside=outside_of(account, entries, result.example_level if result else None),
        empirical=empirical,
        book=book_of(found, entries, account, receipts is not None, sealed),
        budget=budget,
    )


def _verified(found: Verification, key: str, vouched: bool, witness: str | None, receipts: bool) -> Verified:
    return Verified(
        ok=found.ok,
        state=found.state,
        entries=found.entries,
        head=found.head,
        key=key,
        key_vouched_for=vouched,
        witness=witness,
        receipts_checked=receipts,
        problems=tuple(Wrong(index=p.index, kind=p.kind, detail=p.detail) for p in found.problems),
    )


def _of_this_ledger(result: FromResult, found: Verification, entries: Entries) -> None:
    """Raise BadInput unless the result names a head and a configuration of this ledger."""
    configs = {begun.config for begun in found.account.runs.values()}
    policy, measured = found.account.policy, result.measured
    if policy is not None and measured is not None and measured.one_run.delta != policy.delta:
        raise BadInput("--result is of another delta than this ledger; give the folder that this ledger's run wrote")
    if (result.head is not None and result.head not in entries.hashes) or result.config not in configs:
        raise BadInput("--result is of another run than this ledger; give the folder that this ledger's run wrote")


def _empirical(span: Span, result: FromResult | None) -> Empirical:
    """The lower bound beside the upper one, both of all that the ledger charges, at the policy's delta."""
    upper, delta = span.bound.epsilon, span.policy.delta
    measured = result.measured if result is not None else None
    if result is None or measured is None:
        why = "no result of a run was given" if result is None else "no canary took part in the run"
        return Empirical(
            measured=False,
            said=f"not measured: {why}",
            lower_bound=None,
            upper_bound=upper,
            delta=delta,
            confidence=None,
            refuted=False,
            estimate=None,
            design="none",
            canaries=None,
            included=None,
        )
    lower, one = measured.lower_bound, measured.one_run
    refuted = math.isfinite(upper) and lower > upper
    between = f"epsilon is at least {rounded_down(lower)} as measured and at most {rounded_up(upper)} as proven"
    passes = f"epsilon was measured to be at least {rounded_down(lower)}, and {rounded_up(upper)} is claimed"
    return Empirical(
        measured=True,
        said=f"{passes}: mechanism, accounting or code has a defect" if refuted else between,
        lower_bound=lower,
        upper_bound=upper,
        delta=delta,
        confidence=one.confidence,
        refuted=refuted,
        estimate=measured.estimate.epsilon if measured.estimate else None,
        design=f"{result.planned} canary devices, {result.asked} of which took part, each sending a secret random "
        f"direction of full clip norm or zeros by a fair coin; {one.correct} of {one.guesses} guesses were right; the "
        f"bound is for {'a Gaussian curve' if measured.claim == 'gaussian' else 'any mechanism'}. Confidence "
        f"{CONFIDENCE:g} is of one run; only a simulator can measure this",
        canaries=one.canaries,
        included=one.included,
    )
