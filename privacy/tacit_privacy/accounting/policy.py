"""What a fleet may spend, and which bound a release is charged by."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from tacit_privacy.accounting.bounds import Bound, bounds, smallest, without_amplification
from tacit_privacy.accounting.events import MOST, Adjacency, Arithmetic, Exposure, GaussianEvent, Tally
from tacit_privacy.accounting.filters import adaptive_bound
from tacit_privacy.contract import Fact


class Planned(Fact):
    """A schedule that was settled before the first release: so many releases of one event."""

    event: GaussianEvent
    rounds: PositiveInt = Field(le=MOST)

    def covers(self, tally: Tally) -> bool:
        """Whether nothing but the schedule happened so far."""
        return all(event == self.event for event in tally) and sum(tally.values()) <= self.rounds


class BudgetPolicy(Fact, allow_inf_nan=False):
    """What a fleet may spend, and how often each device may take part. It stands first in the ledger and never changes.

    ``plan``: amplification by sampling is bounded once, for the whole schedule, and claimed while a run keeps to it.
    ``rdp_order``: Poisson rounds whose noise and rate may change on the way are charged by a Renyi filter of that order
    (arXiv 2008.11193). Without either, what is charged claims nothing from sampling: noise and cohorts may then change,
    too, since the sum of squares of the exact Gaussian is a fully adaptive filter (arXiv 2209.15596).
    """

    epsilon: PositiveFloat
    delta: float = Field(gt=0, lt=1)
    participations: PositiveInt  # the most releases that a device contributes to, in a period where there are any
    separation: PositiveInt = 1  # rounds from one participation of a device to its next, at least
    period_s: PositiveFloat | None = None  # seconds after which the budget is new; None: never
    adjacency: Adjacency
    roster_sealed: bool
    population: PositiveInt
    unit: str = "device"
    plan: Planned | None = None
    rdp_order: int | None = Field(default=None, ge=2)

    @model_validator(mode="after")
    def _plan_is_sealed(self) -> Self:
        if (self.plan is not None or self.rdp_order is not None) and not self.roster_sealed:
            raise ValueError("a plan bounds sampling, which counts only behind a sealed roster; leave it out")
        capped = self.plan is not None and self.plan.event.sampling.cap is not None
        if self.plan is not None and capped and (self.participations < self.plan.rounds or self.separation > 1):
            raise ValueError("behind a cap, who is left out would use a participation; allow one in every round")
        if self.rdp_order is not None and (self.plan is not None or self.adjacency is not Adjacency.ZERO_OUT):
            raise ValueError("a Renyi filter stands in place of a plan, under zero-out adjacency; choose one")
        return self

    def exposure(self, participations: int, runs: int = 1) -> Exposure:
        """What may be assumed where no device was in more releases than ``participations``."""
        return Exposure(participations, self.separation, self.roster_sealed, runs)

    def charged(self, tally: Tally, participations: int, arithmetic: Arithmetic | None, runs: int = 1) -> Bound:
        """The smallest bound that holds for ``tally`` at every point of a run; quick, whatever came before. ``runs``:
        whose noise is correlated, each within itself.
        """
        exposure = self.exposure(participations, runs)
        if self.rdp_order is not None:  # the smaller of two filters, looked at afterwards, would be none
            return adaptive_bound(tally, exposure, self.delta, arithmetic, self.rdp_order)
        found = [*without_amplification(tally, exposure, self.delta, arithmetic, self.adjacency)]
        if self.plan is not None and tally and self.plan.covers(tally):
            found += _of_plan(self.plan, self.exposure(self.participations), self.delta, arithmetic, self.adjacency)
        return smallest(found, self.adjacency)

    def listed(
        self, tally: Tally, participations: int, arithmetic: Arithmetic | None, runs: int = 1
    ) -> tuple[Bound, ...]:
        """Every bound that holds for ``tally``; those that claim something from sampling are of the whole plan."""
        exposure = self.exposure(participations, runs)
        plain = without_amplification(tally, exposure, self.delta, arithmetic)
        if self.rdp_order is not None:
            return (*plain, adaptive_bound(tally, exposure, self.delta, arithmetic, self.rdp_order))
        amplified: Sequence[Bound] = ()
        if self.plan is not None and tally and self.plan.covers(tally):
            of_plan = _of_plan(self.plan, self.exposure(self.participations), self.delta, arithmetic)
            amplified = of_plan[len(plain) :]
        return (*plain, *amplified)


@lru_cache(maxsize=64)
def _of_plan(
    plan: Planned, exposure: Exposure, delta: float, arithmetic: Arithmetic | None, within: Adjacency | None = None
) -> Sequence[Bound]:
    """Every bound of a whole schedule, or those of one adjacency: seconds once, then a look-up."""
    return bounds({plan.event: plan.rounds}, exposure, delta, arithmetic, within)
