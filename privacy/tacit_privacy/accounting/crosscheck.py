"""A second accountant beside the first: it finds mistakes, it never gives the figure that counts.

Where nothing is claimed from sampling, the exact curve is compared with dp-accounting's privacy loss distribution of
the same Gaussian. Poisson bounds, which come from dp-accounting, are compared with accountants that other
distributions register in the entry-point group ``tacit.accountants``: functions from ((noise multiplier, rate,
rounds), ...) and delta to (epsilon or None, what happened).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import cast

from tacit_privacy.accounting.bounds import Bound, bounds
from tacit_privacy.accounting.events import Adjacency, Exposure, Tally
from tacit_privacy.accounting.worst import moved

GROUP = "tacit.accountants"

Rounds = Sequence[tuple[float, float, int]]
"""(noise multiplier, rate, rounds) of Poisson rounds under zero-out."""

Accountant = Callable[[Rounds, float], tuple[float | None, str]]

_WIDEST_MU = 40.0  # beyond it the distributions of a check would take more memory than a check is worth


@dataclass(frozen=True, slots=True)
class Second:
    """What another accountant says of a bound. ``epsilon`` None: nothing, and ``outcome`` tells why."""

    bound: Bound
    accountant: str
    epsilon: float | None
    outcome: str

    @property
    def disagreement(self) -> float | None:
        """|second - first|, in epsilon."""
        return None if self.epsilon is None else abs(self.epsilon - self.bound.epsilon)

    def as_json(self) -> dict[str, object]:
        return {
            "assumption": self.bound.assumption,
            "adjacency": str(self.bound.adjacency),
            "epsilon": self.bound.epsilon,
            "accountant": self.bound.accountant,
            "second_accountant": self.accountant,
            "second_epsilon": self.epsilon,
            "outcome": self.outcome,
            "disagreement": self.disagreement,
        }


def cross_check(tally: Tally, exposure: Exposure, delta: float) -> tuple[Second, ...]:
    """Every bound under zero-out with what a second accountant makes of it, for continuous noise. Takes seconds."""
    found = []
    for bound in bounds(tally, exposure, delta, within=Adjacency.ZERO_OUT):
        if "sealed" in bound.assumption:
            found.extend(_sampled(bound, tally, delta))
        else:
            found.append(_plain(bound, moved(tally, exposure, 1.0, None).mu, delta))
    return tuple(found)


def largest_disagreement(checks: Sequence[Second]) -> float | None:
    """In epsilon; None where nothing could be compared."""
    return max((check.disagreement for check in checks if check.disagreement is not None), default=None)


def _plain(bound: Bound, mu: float, delta: float) -> Second:
    accountant = "dp-accounting PLD"
    if not 0 < mu <= _WIDEST_MU:
        return Second(bound, accountant, None, "too little or too much noise for a distribution")
    from dp_accounting import GaussianDpEvent, NeighboringRelation
    from dp_accounting.pld import PLDAccountant

    second = PLDAccountant(NeighboringRelation.REPLACE_SPECIAL)
    second.compose(GaussianDpEvent(1 / mu))
    return Second(bound, accountant, float(second.get_epsilon(delta)), "compared")


def _sampled(bound: Bound, tally: Tally, delta: float) -> list[Second]:
    alike = all(event.sampling.kind == "poisson" and event.sampling.cap is None for event in tally)
    if not alike or any(event.correlation for event in tally):
        return [Second(bound, "none", None, "no second accountant knows this sampling")]
    rounds = [(event.noise_multiplier, event.sampling.rate, count) for event, count in tally.items() if count]
    registered = sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
    if not registered:
        return [Second(bound, "none", None, "no second accountant is installed; pip install tacit")]
    found = []
    for entry in registered:
        epsilon, outcome = cast(Accountant, entry.load())(rounds, delta)
        found.append(Second(bound, entry.name, epsilon, outcome))
    return found
