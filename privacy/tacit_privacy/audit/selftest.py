"""The mechanism's self-test: what really clips, sums and noises, run on neighbours to tell them apart.

Jagielski, Ullman and Oprea 2020 (arXiv 2006.07709) test a training run this way; here it is the mechanism alone, many
times over, against inputs that have broken others: updates of any size, replies that were not clipped, cohorts whose
size or sign depends on the device. It can find a mechanism that claims too much and never prove one right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.accounting.events import Sampling
from tacit_privacy.accounting.gaussian import check_delta, epsilon_of
from tacit_privacy.audit.empirical import F64, Counted, held_out
from tacit_privacy.errors import BadInput, NonFiniteUpdate, TacitError, UpdateRefused
from tacit_privacy.mechanisms.gaussian import GaussianSum, clip_to_grid
from tacit_privacy.mechanisms.noise import NoiseSource

Sent = NDArray[Any]
FALSE_ALARM = 1e-6  # probability of rejecting a mechanism that keeps its claim
_LOOKS = 4  # ways of looking at an outcome: high, low, far from the middle, near to it
_NOT_A_NUMBER, _FAILED = 1e300, 1e301  # outcomes that are no numbers, on the scale of those that are
_FEWEST = 1_000


class Mechanism(Protocol):
    """What is tested: how a device's update becomes what it sends, and what is released of all that was sent."""

    @property
    def clip_norm(self) -> float:
        """L2 norm that an update is clipped to."""
        ...

    @property
    def noise_multiplier(self) -> float:
        """The claim: every release is a Gaussian of this noise std / L2 sensitivity, under zero-out adjacency."""
        ...

    def contribute(self, update: F64) -> Sent | None:
        """What a device sends for an update (d,), same shape; None where it sends nothing."""
        ...

    def release(self, sent: Sequence[Sent], copies: int, label: str) -> F64:
        """``copies`` independent releases of one cohort's vectors (d,), each: shape ``(copies, d)``.

        ``label`` is another one for every call.
        """
        ...


@dataclass(frozen=True, slots=True)
class GridMechanism:
    """The real path: ``clip_to_grid`` on the device; check, integer sum, noise and public denominator on the server."""

    mechanism: GaussianSum
    noise: NoiseSource
    denominator: float = 8.0

    @property
    def clip_norm(self) -> float:
        return self.mechanism.clip_norm

    @property
    def noise_multiplier(self) -> float:
        return self.mechanism.event(Sampling(kind="fixed", cohort=1, population=1)).noise_multiplier

    def contribute(self, update: F64) -> Sent | None:
        """As a device does: what is no number is never sent."""
        try:
            return clip_to_grid(update, self.mechanism.clip_norm, self.mechanism.levels)
        except NonFiniteUpdate:
            return None

    def release(self, sent: Sequence[Sent], copies: int, label: str) -> F64:
        """As a server does. One call noises all copies: the noise of every coordinate is drawn on its own."""
        length = max((len(vector) for vector in sent), default=1)
        total = np.zeros(length, dtype=np.int64)
        for vector in sent:
            try:
                self.mechanism.check(vector, length)
            except UpdateRefused:
                continue
            total += vector.astype(np.int64)
        released = self.mechanism.release(np.tile(total, copies), self.noise, self.denominator, label)
        return released.reshape(copies, length)


@dataclass(frozen=True, slots=True)
class Case:
    """Two neighbouring cohorts: one device's update against nothing of it, beside the same others.

    ``update`` is in clip norms, of every coordinate; ``forged`` times what an honest device may send reaches the server
    instead of it. ``others`` are the updates of the other devices. ``absent``: the neighbour's device sends nothing at
    all, where otherwise it sends zeros; zero-out adjacency makes no difference between the two.
    """

    update: float
    others: tuple[float, ...] = (-1.0,)
    absent: bool = False
    dimension: int = 1
    forged: float = 0.0

    @property
    def name(self) -> str:
        size = f"{self.forged:g} times what may be sent" if self.forged else f"an update of {self.update:g} clips"
        wide = f" in each of {self.dimension} coordinates" if self.dimension > 1 else ""
        company = {-1.0: "opposed", 1.0: "alike"}[self.others[0]] if self.others else ""
        beside = f"{len(self.others)} other{'s' if len(self.others) > 1 else ''} {company}" if self.others else "alone"
        return f"{size}{wide}, {beside}, against {'nothing' if self.absent else 'zeros'}"


_COMPANY = ((), (-1.0,), (-1.0,) * 7, (1.0,) * 7)
CASES = (
    *(Case(1.0, others, absent) for others in _COMPANY for absent in (False, True)),
    *(Case(update) for update in (0.5, -1.0, 2.0, 1e6, 1e300, float("nan"), float("inf"))),
    Case(1.0, dimension=4),
    Case(1.0, forged=8.0),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one case proves: of all events that were counted, the one that says most about epsilon, and about mu."""

    case: Case
    epsilon: float  # at least, at the claim's delta
    mu: float  # at least: the claim is a whole curve, and this is the curve through the worst event
    counted: Counted


@dataclass(frozen=True)
class SelfTest:
    """The claim, and what could be shown against it. All verdicts are true at once but for ``false_alarm``."""

    epsilon: float  # claimed, for one release
    mu: float  # claimed
    delta: float
    samples: int
    false_alarm: float
    verdicts: tuple[Verdict, ...]

    @cached_property
    def worst(self) -> Verdict:
        """The case that comes closest to the claim, or passes it by most."""
        return max(self.verdicts, key=lambda verdict: max(verdict.mu / self.mu, verdict.epsilon / self.epsilon))

    @property
    def lower_bound(self) -> float:
        """Epsilon at the claim's delta, at least, over all cases."""
        return max(verdict.epsilon for verdict in self.verdicts)

    @property
    def mu_lower_bound(self) -> float:
        """mu, at least, over all cases."""
        return max(verdict.mu for verdict in self.verdicts)

    @property
    def rejected(self) -> tuple[Verdict, ...]:
        """Cases that refute the claim."""
        return tuple(v for v in self.verdicts if v.epsilon > self.epsilon or v.mu > self.mu)

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": not self.rejected,
            "claimed_epsilon": self.epsilon,
            "claimed_mu": self.mu,
            "delta": self.delta,
            "lower_bound": self.lower_bound,
            "mu_lower_bound": self.mu_lower_bound,
            "samples": self.samples,
            "false_alarm": self.false_alarm,
            "cases": [
                {"case": v.case.name, "epsilon": v.epsilon, "mu": v.mu, "refutes": v in self.rejected}
                for v in self.verdicts
            ],
        }


def selftest(
    mechanism: Mechanism,
    delta: float,
    samples: int = 200_000,
    false_alarm: float = FALSE_ALARM,
    cases: Sequence[Case] = CASES,
) -> SelfTest:
    """Sample every case ``samples`` times on either side and reject where a Clopper-Pearson bound passes the claim.

    Half of the samples choose which events to count, the other half counts them. Guarantee: a mechanism whose releases
    are what it claims is rejected with probability at most ``false_alarm``, over all cases together. Power: with the
    default samples mu is known to about 0.05, so a claim of mu = 1 is refuted by noise that is some 5 % too small.
    Raises BadInput on fewer than 1,000 samples.
    """
    check_delta(delta)
    if samples < _FEWEST:
        raise BadInput(f"{samples} samples show nothing; take {_FEWEST:,} or more")
    mu = 1 / mechanism.noise_multiplier
    runner = _Runner(mechanism, samples)
    each = 1 - false_alarm / (len(cases) * _LOOKS)
    verdicts = tuple(_judge(case, *runner.sides(case), delta, each) for case in cases)
    return SelfTest(epsilon_of(mu, delta), mu, delta, samples, false_alarm, verdicts)


class _Runner:
    """Draws releases; neighbours that several cases share are drawn once."""

    def __init__(self, mechanism: Mechanism, samples: int) -> None:
        self._mechanism, self._samples = mechanism, samples
        self._neighbours: dict[tuple[tuple[float, ...], bool, int], F64] = {}

    def sides(self, case: Case) -> tuple[F64, F64]:
        """Outcomes (samples,) with the device's update and without it."""
        others = [self._sent(update, case.dimension) for update in case.others]
        key = (case.others, case.absent, case.dimension)
        if key not in self._neighbours:
            nothing = [] if case.absent else [self._sent(0.0, case.dimension)]
            self._neighbours[key] = self._draw([*nothing, *others], f"without {key}")
        with_it = self._draw([self._target(case), *others], f"with {case}")
        return with_it, self._neighbours[key]

    def _sent(self, update: float, dimension: int) -> Sent | None:
        with np.errstate(all="ignore"):
            return self._mechanism.contribute(np.full(dimension, update * self._mechanism.clip_norm))

    def _target(self, case: Case) -> Sent | None:
        honest = self._sent(case.update, case.dimension)
        return (honest * case.forged).astype(honest.dtype) if case.forged and honest is not None else honest

    def _draw(self, sent: Sequence[Sent | None], label: str) -> F64:
        """Along the diagonal. A release that fails, or is no number, is an outcome like any other."""
        try:
            with np.errstate(all="ignore"):
                there = [vector for vector in sent if vector is not None]
                released = self._mechanism.release(there, self._samples, label)
                along = released.sum(axis=1) / np.sqrt(released.shape[1])
        except (ArithmeticError, ValueError, TacitError):
            return np.full(self._samples, _FAILED)
        finite = np.nan_to_num(along, nan=_NOT_A_NUMBER, posinf=_NOT_A_NUMBER, neginf=-_NOT_A_NUMBER)
        return np.asarray(finite, dtype=np.float64)


def _judge(case: Case, with_it: F64, without: F64, delta: float, confidence: float) -> Verdict:
    """The most that any look at the outcomes proves. Each look has its share of the doubt."""
    middle = float(np.median(without[::2]))  # of the half that chooses
    looks = [(x, -x, np.abs(x - middle), -np.abs(x - middle)) for x in (with_it, without)]
    pairs = list(zip(*looks, strict=True))
    found = [event for seen, unseen in pairs for event in held_out(seen, unseen, delta, confidence)]
    epsilon, mu = max(event.epsilon for event in found), max(event.mu for event in found)
    return Verdict(case, epsilon, mu, max(found, key=lambda event: event.mu))
