"""The numbers of an audit report: the guarantee as a curve, every bound, and who computed it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version

from tacit_privacy.accounting.bounds import EXACT, Bound, without_amplification
from tacit_privacy.accounting.crosscheck import Second, cross_check, largest_disagreement
from tacit_privacy.accounting.discrete import charged, effective
from tacit_privacy.accounting.events import Adjacency, Arithmetic, GaussianEvent, Tally
from tacit_privacy.accounting.gaussian import epsilon_of
from tacit_privacy.accounting.poisson import ACCOUNTANT as PLD
from tacit_privacy.accounting.policy import BudgetPolicy
from tacit_privacy.accounting.sampled import SampledRounds, grid_of
from tacit_privacy.accounting.worst import Moved, moved
from tacit_privacy.audit.curve import Point, detected, guessed, touching
from tacit_privacy.audit.document import (
    Accountant,
    Accounting,
    Alternative,
    AtDelta,
    Bounds,
    Detection,
    Guarantee,
    SecondOpinion,
    Unlisted,
)
from tacit_privacy.ledger.account import Account

FALSE_ALARMS = (1e-4, 1e-3, 1e-2, 0.05, 0.1)
DELTAS = (1e-6, 1e-8, 1e-10)
_COARSE = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)  # with DELTAS, where every point costs a composition
_FINE = tuple(10 ** (-1 - 11 * step / 44) for step in range(45))


@dataclass(frozen=True)
class Span:
    """A stretch of a ledger's life with all that is charged in it, under the ledger's policy."""

    name: str
    tally: Tally
    participations: int
    policy: BudgetPolicy
    arithmetic: Arithmetic | None

    @cached_property
    def bound(self) -> Bound:
        """What is charged: the smallest bound within the policy's adjacency."""
        return self.policy.charged(self.tally, self.participations, self.arithmetic)

    def epsilon_at(self, delta: float) -> float:
        """The same at another delta; infinity where there is no bound."""
        return self._at(delta).charged(self.tally, self.participations, self.arithmetic).epsilon

    @cached_property
    def is_gaussian(self) -> bool:
        """Whether the bound claims nothing from sampling, and so is a whole Gaussian curve."""
        exposure = self.policy.exposure(self.participations)
        return self.bound in without_amplification(self.tally, exposure, self.policy.delta, self.arithmetic)

    @cached_property
    def moved(self) -> Moved:
        """The worst that one device did, in the policy's adjacency, where nothing is claimed from sampling."""
        reach = 2.0 if self.policy.adjacency is Adjacency.REPLACE_ONE else 1.0
        return moved(self.tally, self.policy.exposure(self.participations), reach, self.arithmetic)

    def _at(self, delta: float) -> BudgetPolicy:
        return self.policy.model_copy(update={"delta": delta})


def spans_of(account: Account) -> list[Span]:
    """What the promise is about, first; with periods, all of them together beside the one that spent most."""
    policy = account.policy
    if policy is None:
        return []
    ever = Span("the whole ledger", account.tally(), account.longest, policy, account.arithmetic)
    if policy.period_s is None:
        return [ever]
    periods = [
        Span(f"period {number}, which spent most", account.tally(number), account.most(number), policy, ever.arithmetic)
        for number in periods_of(account)
    ]
    return [max(periods, key=lambda span: span.bound.epsilon), replace(ever, name="all periods together")]


def periods_of(account: Account) -> list[int]:
    """Periods in which something is charged; the first one where nothing is."""
    return sorted({charge.period for charge in account.charged.values()}) or [0]


def guarantee(span: Span) -> Guarantee:
    """Epsilon, its curve and what an adversary's test can reach, all by the bound that is charged."""
    policy, bound = span.policy, span.bound
    deltas = sorted({policy.delta, *DELTAS, *(_FINE if span.is_gaussian else _COARSE)}, reverse=True)
    points = [Point(span.epsilon_at(delta), delta) for delta in deltas]
    near = touching(span.moved.mu, FALSE_ALARMS, span.epsilon_at) if span.is_gaussian else []
    mu = span.moved.mu if span.is_gaussian else None
    return Guarantee(
        span=span.name,
        epsilon=bound.epsilon,
        delta=policy.delta,
        assumption=bound.assumption,
        adjacency=str(bound.adjacency),
        mu=mu,
        rho=None if mu is None else mu * mu / 2,
        gaussian=_ABOUT_MU if mu is not None else _NO_MU,
        right_guess=guessed([*points, *near]),
        epsilons=tuple(
            AtDelta(delta=point.delta, epsilon=point.epsilon)
            for point in points
            if point.delta in (policy.delta, *DELTAS)
        ),
        curve=tuple(AtDelta(delta=point.delta, epsilon=point.epsilon) for point in points),
        tests=tuple(
            Detection(false_positive_rate=alarms, true_positive_rate=detected(alarms, [*points, *near]))
            for alarms in FALSE_ALARMS
        ),
    )


_ABOUT_MU = (
    "of the continuous Gaussian behind the integers that were drawn; what integers cost on top is in every epsilon "
    "here, and is told under Randomness and arithmetic"
)
_NO_MU = "none: the bound counts on sampling, and no Gaussian has its curve"


def epsilon_of_two(span: Span) -> float | None:
    """Epsilon of two units that one person holds: group privacy, mu twice as large (Dong, Roth and Su 2022, Theorem
    6). None where the bound is no Gaussian curve.
    """
    if not span.is_gaussian:
        return None
    drawn = span.moved.drawn
    if drawn is not None:
        both = min(sum(span.tally.values()), 2 * drawn.releases)
        drawn = replace(drawn, releases=max(both, drawn.releases), shift=2 * drawn.shift)
    return charged(lambda left: epsilon_of(2 * span.moved.mu, left), span.policy.delta, drawn)


def bounds_of(spans: Sequence[Span]) -> Bounds:
    """Every bound that holds, the one that is charged, and why others are not among them."""
    listed = []
    for span in spans:
        for bound in span.policy.listed(span.tally, span.participations, span.arithmetic):
            alternative = Alternative(
                span=span.name,
                assumption=bound.assumption,
                adjacency=str(bound.adjacency),
                epsilon=bound.epsilon,
                accountant=bound.accountant,
                chosen=bound == span.bound,
            )
            listed.append(alternative)
    policy = spans[0].policy
    return Bounds(
        listed=tuple(listed),
        why=f"the smallest of those that hold within {policy.adjacency} adjacency, which the policy names; "
        "bounds of the other relation are shown and never chosen",
        unlisted=tuple(_unlisted(spans[0])),
    )


def _unlisted(span: Span) -> list[Unlisted]:
    events, policy = [event for event, count in span.tally.items() if count], span.policy
    named = (("poisson", "Poisson sampling"), ("uniform", "uniform cohorts of fixed size, without replacement"))
    found = []
    for kind, assumption in named:
        why = _why_not(kind, events, span)
        if why:
            found.append(Unlisted(assumption=assumption, why=why))
    if not any(event.correlation for event in events):
        found.append(Unlisted(assumption="correlated noise", why="the noise of every release is independent"))
    elif policy.adjacency:
        found.append(Unlisted(assumption="independent noise", why="the noise of releases is correlated"))
    return found


def _why_not(kind: str, events: Sequence[GaussianEvent], span: Span) -> str:
    policy = span.policy
    if not any(event.sampling.kind == kind for event in events):
        return "no cohort was drawn that way"
    if any(event.correlation for event in events):
        return "noise is correlated over rounds, and nothing is claimed from sampling beside it"
    if not policy.roster_sealed:
        return "who took part is not sealed"
    if policy.plan is None:
        return "the policy holds no plan, so that noise and cohorts may be chosen on the way"
    if not policy.plan.covers(span.tally):
        return "what was released is not what was planned"
    if kind == "uniform" and policy.participations < policy.plan.rounds:
        return "participations may run out, and who is left then depends on who took part"
    return ""


def accounting_of(span: Span, cross: bool) -> Accounting:
    """Accountants with version, grid and error; ``cross`` asks a second one, which takes seconds."""
    found = [
        Accountant(
            name=EXACT,
            version=f"tacit {version_of('tacit')}, scipy {version_of('scipy')}",
            grid="none: the closed form (Balle and Wang 2018), inverted by root finding",
            error="root finding within 1e-12; the result is raised by 1e-9 of itself: never below the exact value",
        )
    ]
    plan = span.policy.plan
    if plan is not None and not span.is_gaussian:
        exhaustible = span.policy.participations < plan.rounds
        noise = effective(plan.event, span.arithmetic)
        grid = grid_of((SampledRounds(noise, plan.event.sampling, plan.rounds, exhaustible),))
        found.append(
            Accountant(
                name=PLD,
                version=version_of("dp-accounting"),
                grid=f"privacy loss in steps of {grid:g}",
                error="pessimistic: losses are rounded up to the grid and cut tails count as infinite loss",
            )
        )
    checks = _checked(span) if cross else ()
    return Accounting(
        accountants=tuple(found),
        second=tuple(_opinion(check) for check in checks),
        largest_disagreement=largest_disagreement(checks),
        second_said=_second_said(span, cross, checks),
    )


def _checked(span: Span) -> tuple[Second, ...]:
    plan, policy = span.policy.plan, span.policy
    if plan is not None and not span.is_gaussian:
        return cross_check({plan.event: plan.rounds}, policy.exposure(policy.participations), policy.delta)
    return cross_check(span.tally, replace(policy.exposure(span.participations), sealed=False), policy.delta)


def _second_said(span: Span, cross: bool, checks: Sequence[Second]) -> str:
    if not cross:
        return "not asked; tacit audit report --cross-check asks one"
    if all(check.epsilon is None for check in checks):
        return "it could compare nothing; each row says why"
    of = "the whole plan" if span.policy.plan is not None and not span.is_gaussian else span.name
    return f"of {of}, under zero-out, for continuous noise; it finds mistakes, and never gives the figure that counts"


def _opinion(check: Second) -> SecondOpinion:
    return SecondOpinion(
        assumption=check.bound.assumption,
        epsilon=check.bound.epsilon,
        accountant=check.accountant,
        version=version_of(check.accountant.split()[0].lower()),
        second_epsilon=check.epsilon,
        disagreement=check.disagreement,
        outcome=check.outcome,
    )


def version_of(distribution: str) -> str:
    """Of an installed distribution; ``unknown`` where it is not one."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"


def continuous(span: Span) -> float:
    """Epsilon as it would be if noise were continuous."""
    return replace(span, arithmetic=None).bound.epsilon


def left_of(cap: float, spent: float) -> float:
    """What is left of ``cap``; 0 where nothing is, or where nothing is known."""
    return max(0.0, cap - spent) if math.isfinite(spent) else 0.0
