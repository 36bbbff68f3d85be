"""A planned run: its bounds for a noise multiplier, and the noise multiplier for an epsilon."""

import math
from dataclasses import dataclass

from tacit_privacy.accounting.bounds import Bound, bounds, smallest
from tacit_privacy.accounting.events import (
    MOST_ROUNDS,
    Adjacency,
    Arithmetic,
    Correlation,
    Exposure,
    GaussianEvent,
    Sampling,
)
from tacit_privacy.accounting.filters import rdp_noise
from tacit_privacy.accounting.gaussian import check_delta, mu_for
from tacit_privacy.accounting.matrix import coefficients, sensitivity
from tacit_privacy.contract import LEVELS
from tacit_privacy.errors import BadInput

_CLOSE = 5e-4  # how far below the epsilon asked for a calibration by distributions may end
_LEAST_NOISE = 1e-3


@dataclass(frozen=True, slots=True)
class Plan:
    """Equal rounds of one mechanism. ``sealed`` says that nobody but the server sees who took part."""

    sampling: Sampling
    rounds: int
    participations: int
    delta: float
    adjacency: Adjacency
    sealed: bool
    separation: int = 1
    correlation: Correlation | None = None
    arithmetic: Arithmetic | None = None

    @classmethod
    def of(
        cls,
        sampling: str,
        cohort: int | None,
        population: int | None,
        rounds: int,
        participations: int | None,
        delta: float,
        adjacency: str,
        *,
        cap: int | None = None,
        bands: int | None = None,
        separation: int = 1,
        dimension: int | None = None,
        levels: int = LEVELS,
    ) -> "Plan":
        """A plan from a caller's words. ``participations`` None means every round that the separation leaves; ``bands``
        None independent noise; ``dimension`` None continuous noise. ``sampling`` ``fixed`` is a uniform cohort without
        replacement, in secret, of a known population; without one nothing is claimed from it. Raises BadInput.
        """
        check_delta(delta)
        if adjacency not in list(Adjacency):
            raise BadInput(f"adjacency must be one of {', '.join(Adjacency)}, got {adjacency}")
        if bands is not None and rounds > MOST_ROUNDS:
            raise BadInput(f"correlated noise is planned for at most {MOST_ROUNDS} rounds, got {rounds}")
        drawn = _sampling(sampling, cohort, population, cap)
        most = min(participations or rounds, -(-rounds // separation))
        return cls(
            sampling=drawn,
            rounds=rounds,
            participations=most,
            delta=delta,
            adjacency=Adjacency(adjacency),
            sealed=drawn.kind != "fixed",
            separation=separation,
            correlation=None if bands is None else Correlation(bands=bands, rounds=rounds),
            arithmetic=None if dimension is None else Arithmetic(levels=levels, dimension=dimension),
        )

    @property
    def exposure(self) -> Exposure:
        return Exposure(self.participations, self.separation, self.sealed)

    def event(self, noise_multiplier: float) -> GaussianEvent:
        """One release of the plan."""
        return GaussianEvent(noise_multiplier=noise_multiplier, sampling=self.sampling, correlation=self.correlation)

    def bounds(self, noise_multiplier: float) -> tuple[tuple[Bound, ...], Bound]:
        """Every bound that holds, and the smallest within the adjacency. Raises BadInput where that bounds nothing."""
        if not 0 < noise_multiplier < math.inf:
            raise BadInput(f"the noise multiplier must be a positive number, got {noise_multiplier}")
        listed = bounds({self.event(noise_multiplier): self.rounds}, self.exposure, self.delta, self.arithmetic)
        best = smallest(listed, self.adjacency)
        if math.isinf(best.epsilon):
            raise BadInput(f"a noise multiplier of {noise_multiplier:g} is too small for any epsilon; raise it")
        return listed, best

    def calibrate(self, epsilon: float) -> float:
        """The smallest noise multiplier whose smallest bound is at most ``epsilon``, rounded up.

        Without sampling to nine digits; with it the bound ends between epsilon (1 - 0.0005) and epsilon, but where no
        noise multiplier reaches that: distributions that do not fit into memory make the bound jump. Raises BadInput
        for an epsilon that the arithmetic alone costs more than.
        """
        plain = self._reach() / mu_for(epsilon, self.delta) * (1 + 1e-9)
        if not self.sealed and self.arithmetic is None:
            return plain
        high = self._guess(epsilon, plain)
        grown = 1.001 if high == plain else 1.15
        while self._epsilon(high) > epsilon:
            high, grown = high * grown, max(grown, grown * grown)
            if high > 1e12:
                raise BadInput(f"no noise reaches an epsilon of {epsilon:g} on this grid; raise epsilon or the levels")
        low = high / grown
        while low > _LEAST_NOISE and self._epsilon(low) <= epsilon:
            high, low, grown = low, low / grown, grown * grown
        return self._between(low, high, epsilon)

    def _guess(self, epsilon: float, plain: float) -> float:
        """Where to begin: what Renyi accounting says of the same rounds, in milliseconds; else ``plain``."""
        if not self.sealed:
            return plain
        guess = rdp_noise(self.event(1.0), self.rounds, epsilon, self.delta)
        return min(plain, guess * (2.0 if self.sampling.kind == "uniform" else 1.0))

    def _between(self, low: float, high: float, epsilon: float) -> float:
        """Regula falsi in logarithms, always returning a side that keeps epsilon."""
        close = _CLOSE if self.sealed else 1e-9
        at_low, at_high = self._epsilon(low), self._epsilon(high)
        for step in range(100):
            if at_high >= epsilon * (1 - close) or high <= low * (1 + 1e-9):
                break
            share = 0.5
            if math.isfinite(at_low) and at_high > 0 and step % 3 != 2:
                aim = epsilon * (1 - close / 2)
                share = min(0.98, max(0.02, math.log(at_low / aim) / math.log(at_low / at_high)))
            middle = low * (high / low) ** share
            found = self._epsilon(middle)
            if found <= epsilon:
                high, at_high = middle, found
            else:
                low, at_low = middle, found
        return high

    def _epsilon(self, noise_multiplier: float) -> float:
        tally = {self.event(noise_multiplier): self.rounds}
        listed = bounds(tally, self.exposure, self.delta, self.arithmetic, self.adjacency)
        return smallest(listed, self.adjacency).epsilon

    def _reach(self) -> float:
        """How far a device moves all releases together, in its clip norm."""
        reach = 2.0 if self.adjacency is Adjacency.REPLACE_ONE else 1.0
        if self.correlation is None:
            return reach * math.sqrt(self.participations)
        column = coefficients(self.correlation)
        return reach * sensitivity(column, self.rounds, self.participations, self.separation)


def _sampling(name: str, cohort: int | None, population: int | None, cap: int | None) -> Sampling:
    known = cohort is not None and population is not None
    if name == "poisson" and not known:
        raise BadInput("Poisson sampling needs --cohort and --population")
    size, of_all = cohort or 1, population or max(cohort or 1, 1)
    if size > of_all:
        raise BadInput(f"a cohort of {size} does not fit a population of {of_all}")
    if cap is not None and (name != "poisson" or cap < size):
        raise BadInput(f"a cap of {cap} belongs to Poisson cohorts of at most that many on average")
    if name == "poisson":
        return Sampling(kind="poisson", cohort=size, population=of_all, cap=cap)
    return Sampling(kind="uniform" if name == "fixed" and known else "fixed", cohort=size, population=of_all)
