"""Chapters of an audit report that are words and counts: who is trusted, what was sampled, clipped, noised, kept."""

import math
from collections.abc import Sequence
from statistics import median

from tacit_privacy.accounting.events import Adjacency, GaussianEvent, Sampling
from tacit_privacy.audit.document import (
    Book,
    BudgetLeft,
    Clipping,
    Cohorts,
    Counted,
    Deployment,
    Dropouts,
    KeyPeriod,
    Mechanism,
    Mechanisms,
    Neighbours,
    Noise,
    Often,
    Outside,
    Participation,
    PeriodSpent,
    Round,
    RunOf,
    Unit,
)
from tacit_privacy.audit.entries import Entries
from tacit_privacy.audit.guarantee import Span, continuous, epsilon_of_two, left_of, periods_of
from tacit_privacy.contract import canonical, digest
from tacit_privacy.ledger.account import Account
from tacit_privacy.ledger.verify import Verification

MEANING = {
    Adjacency.ZERO_OUT: "two fleets are neighbours if they differ in one {unit}, all of whose contributions are "
    "replaced by zeros, as if it had been absent",
    Adjacency.REPLACE_ONE: "two fleets are neighbours if they differ in one {unit}, all of whose contributions are "
    "replaced by any others within the clip",
}


def deployment() -> Deployment:
    return Deployment(
        model="central differential privacy: devices clip, a server sums and adds the noise",
        trusted=(
            "the server: to add the noise that it charges for, to show nothing else, and to forget each update after "
            "the sum; it sees every clipped update",
            "the holder of the signing key: to sign one ledger, and no other beside it",
            "devices: with nothing; what one of them sends is clipped again on arrival",
        ),
        shown=(
            "what was charged before each release, in an order that nobody can change without breaking signatures",
            "that every epsilon in it follows from the events in it: the replay computed each again",
            "with receipts: that devices signed for what is counted, and were shown this ledger and no other",
        ),
        believed=(
            "that the noise was drawn as stated, and that nothing was released beside what is listed",
            "that the code with the digest below is the code that ran",
        ),
    )


def unit_of(span: Span) -> Unit:
    unit = span.policy.unit
    return Unit(
        unit=f"one {unit} with all that it ever contributes",
        per_user=f"the ledger knows {unit}s and not persons. A person who holds one is protected as it is; one who "
        "holds several is protected less: mu grows with their number",
        epsilon_two=epsilon_of_two(span),
    )


def neighbours_of(span: Span) -> Neighbours:
    adjacency = span.policy.adjacency
    other = next(relation for relation in Adjacency if relation is not adjacency)
    return Neighbours(
        relation=str(adjacency),
        meaning=MEANING[adjacency].format(unit=span.policy.unit),
        other=f"{other} bounds stand in the list of bounds and are not what is promised",
    )


def mechanisms_of(account: Account) -> Mechanisms:
    """Every kind of event that is charged, and one digest over all of them and how often each happened."""
    tally = sorted(account.tally().items(), key=lambda item: item[0].digest)
    rows = tuple(
        Mechanism(
            mechanism=_kind(event),
            noise_multiplier=event.noise_multiplier,
            sampling=cohort_in_words(event.sampling),
            parts=", ".join(f"{part.name} (noise {part.noise_multiplier:.6g})" for part in event.parts) or "one",
            count=count,
            event_digest=event.digest,
        )
        for event, count in tally
    )
    tree = [{"count": count, "event": event.model_dump(mode="json")} for event, count in tally]
    return Mechanisms(events=rows, tally_digest=digest(canonical(tree)))


def _kind(event: GaussianEvent) -> str:
    kind = "sum of clipped updates with discrete Gaussian noise"
    if event.correlation is None:
        return kind
    told = event.correlation
    return f"{kind}, correlated over rounds ({told.factorization}, {told.bands} bands, {told.rounds} rounds)"


def cohort_in_words(sampling: Sampling) -> str:
    many = f"{sampling.cohort:,} of {sampling.population:,}"
    if sampling.kind == "poisson":
        capped = f", at most {sampling.cap:,} at once" if sampling.cap is not None else ""
        return f"Poisson, {many} expected{capped}"
    return f"uniform without replacement, {many}" if sampling.kind == "uniform" else f"fixed size, {many}, in any way"


def clipping_of(account: Account) -> Clipping:
    cohorts = sorted({event.sampling.cohort for event in account.tally()})
    return Clipping(
        rule="L2 norm of a device's whole update, clipped on the device, truncated toward zero to whole grid steps, "
        "and checked in integers where it arrives; a statistic beside it is cut to its public range",
        clip_norm=tuple(sorted({begun.clip_norm for begun in account.runs.values()})),
        largest_weight=1.0,
        denominators=tuple(cohorts),
        public="the planned cohort, settled before anybody answers: how many came, and how much data they have, "
        "changes nothing in it. Weights are at most one and never depend on data",
    )


def cohorts_of(account: Account, span: Span) -> Cohorts:
    sealed = span.policy.roster_sealed
    return Cohorts(
        used=tuple(sorted({cohort_in_words(event.sampling) for event in account.tally()})),
        roster_sealed=sealed,
        seen_by="the server alone: ledger and receipts tell neither who nor how many"
        if sealed
        else "the server, whoever sees its network, and whoever holds the receipts; the ledger tells how many",
        amplification="nothing" if span.is_gaussian else span.bound.assumption,
    )


def participation_of(found: Verification, entries: Entries, account: Account, span: Span) -> Participation:
    """``found.histogram`` is shown only where the roster is open: a sealed one would be opened by showing it."""
    policy, released = span.policy, entries.released
    sizes = [release.completed for release in released if release.completed is not None]
    told = policy.roster_sealed and found.histogram is not None
    often = None if policy.roster_sealed or found.histogram is None else histogram(found.histogram, policy.population)
    return Participation(
        releases=len(released),
        charged=len(account.charged),
        completed=_sizes(sizes, policy.roster_sealed),
        separation=policy.separation,
        cap=policy.participations,
        most=account.longest,
        histogram=often,
        histogram_from="counted from devices' signed receipts"
        if often is not None
        else "receipts were checked and are not shown: who took part stays sealed"
        if told
        else "unknown: receipts were not read; no device passes the cap of "
        f"{policy.participations} if the server counts truly",
        rounds=tuple(
            Round(run=r.run, round=r.round, planned=r.planned, completed=r.completed, fate=r.fate)
            for r in entries.releases.values()
        ),
    )


def histogram(counts: dict[int, int], population: int) -> tuple[Often, ...]:
    """Devices by releases, those that were in none first."""
    absent = max(0, population - sum(counts.values()))
    return tuple(Often(times=times, devices=devices) for times, devices in sorted({0: absent, **counts}.items()))


def _sizes(sizes: Sequence[int], sealed: bool) -> str:
    if not sizes:
        return "unsaid: who took part stays sealed, and how many too" if sealed else "nothing was released"
    return f"{min(sizes):,} to {max(sizes):,}, median {median(sizes):,.6g}"


def noise_of(account: Account, span: Span) -> Noise:
    meanings = {
        "system": "integers from the operating system's generator, fresh for every release",
        "seeded": "integers from a seed: whoever knows the seed can take the noise away. This was a simulation and "
        "protects nobody",
    }
    arithmetic, exact, plain = account.arithmetic, span.bound.epsilon, continuous(span)
    return Noise(
        source=account.noise_source,
        meaning=meanings.get(
            account.noise_source, "a source that this report does not know: take it for no protection"
        ),
        arithmetic="a discrete Gaussian is added to a sum of integers; no floating-point number carries data and noise "
        "together before the sum is final. Probabilities are exact to 2^-44 within ten standard deviations",
        levels=arithmetic.levels if arithmetic else None,
        dimension=arithmetic.dimension if arithmetic else None,
        epsilon_continuous=plain,
        charged=max(0.0, exact - plain) if math.isfinite(exact) else None,
    )


def dropouts_of(entries: Entries, sealed: bool) -> Dropouts:
    released = entries.released
    realised = [release.realised for release in released if release.realised is not None]
    told = [release.completed for release in released if release.completed is not None]
    if realised:
        meaning = "devices add shares of the noise: what came about is recorded, and is never below what was charged"
    else:
        meaning = "the server adds all of the noise after the sum: whoever drops out takes none of it away"
    given_back = [(("too few devices" if sealed else why), count) for why, count in sorted(entries.reasons.items())]
    return Dropouts(
        planned=sum(release.planned for release in released),
        completed=sum(told) if told and len(told) == len(released) else None,
        meaning=meaning,
        least_realised=min(realised or (release.charged for release in released), default=None),
        given_back=tuple(Counted(what=why, count=count) for why, count in given_back),
        lost=sum(release.fate == "lost" for release in entries.releases.values()),
    )


def outside_of(account: Account, entries: Entries, example_level: str | None) -> Outside:
    parts = sorted({part.name for event in account.tally() for part in event.parts})
    inside = [f"{stream} ({count} reservations)" for stream, count in sorted(entries.streams.items())]
    inside += [f"{name}, as part of a release and under its noise" for name in parts]
    return Outside(
        inside=tuple(inside) or ("nothing was charged",),
        outside=(
            "nothing is recorded: whatever a device releases in this system is charged here, metrics and clip "
            "statistics included",
        ),
        unseen=(
            "tuning, debugging or evaluation on the same devices by other means: ask the operator, who must name each",
            "what the server sees before the sum: single clipped updates, who answered and when, reasons of refusal",
            "traffic on the network, and what an operator copies",
        ),
        example_level=example_level
        or "not recorded in a ledger; it is a second guarantee, of another unit, and never part of this epsilon",
    )


def book_of(found: Verification, entries: Entries, account: Account, receipts: bool, sealed: bool) -> Book:
    broken = {problem.index for problem in found.problems if problem.kind in ("signature", "hash")}
    keys = [
        KeyPeriod(
            since=change.index,
            public_key=change.public_key,
            time=change.time,
            endorsed=f"the key before, in entry {change.index - 1}" if place else "nobody: the first key",
        )
        for place, change in enumerate(entries.keys)
    ]
    counted = f"{found.receipts:,} " if not sealed else ""
    return Book(
        head=found.head,
        state=found.state,
        entries=found.entries,
        signatures=found.entries - len(broken),
        first=entries.first,
        last=entries.last,
        keys=tuple(keys),
        runs=tuple(
            RunOf(
                run=name,
                ended=name in account.ended or account.closed,
                code=begun.code,
                config=begun.config,
                noise_source=begun.noise_source,
            )
            for name, begun in account.runs.items()
        ),
        receipts=f"{counted}receipts were read: Merkle roots, signatures of devices and counts were checked"
        if receipts
        else "not read; each release holds the Merkle root over its own",
    )


def budget_of(account: Account, span: Span, ever: Span) -> BudgetLeft:
    policy = span.policy
    periods = periods_of(account) if policy.period_s is not None else []
    newest = account.spent(periods[-1]) if periods else span.bound
    return BudgetLeft(
        epsilon=policy.epsilon,
        delta=policy.delta,
        participations=policy.participations,
        separation=policy.separation,
        population=policy.population,
        spent=span.bound.epsilon,
        remaining=left_of(policy.epsilon, newest.epsilon),
        remaining_said=_allows(account, bool(periods)),
        filter=_filter(span),
        period_s=policy.period_s,
        periods=tuple(
            PeriodSpent(
                period=number, releases=sum(account.tally(number).values()), epsilon=account.spent(number).epsilon
            )
            for number in periods
        ),
        lifetime_epsilon=ever.bound.epsilon if periods else None,
    )


def _allows(account: Account, periodic: bool) -> str:
    if account.closed:
        return "nothing: the ledger is closed, and what is left is not spent from it"
    of = "of the newest period; a new one begins with all of the cap" if periodic else "of the ledger"
    return f"what is left {of}. Epsilons do not add up: each release is checked against the cap by its own replay"


def _filter(span: Span) -> str:
    if span.policy.plan is None:
        return (
            "Gaussian filter: the sum of mu^2 of the releases that one device may have been in. Noise and cohorts may "
            "change on the way (arXiv 2209.15596)"
        )
    rounds = span.policy.plan.rounds
    return (
        f"a schedule of {rounds:,} equal releases that was fixed before the first: its bound is spent as a whole. A "
        "run that leaves it falls back to the Gaussian filter, which claims nothing from sampling"
    )
