"""A planned run: its bounds for a noise multiplier, and the noise multiplier for an epsilon."""

import math
from dataclasses import dataclass

from scipy.optimize import brentq

from tacit_privacy.accounting.bounds import Adjacency, Bound, bounds, smallest
from tacit_privacy.accounting.events import Exposure, GaussianEvent, Sampling
from tacit_privacy.accounting.gaussian import check_delta, mu_for
from tacit_privacy.errors import BadInput


@dataclass(frozen=True, slots=True)
class Plan:
    """Equal rounds of one mechanism. ``sealed`` says that nobody but the server sees who took part."""

    sampling: Sampling
    rounds: int
    participations: int
    delta: float
    adjacency: Adjacency
    sealed: bool

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
    ) -> "Plan":
        """A plan from a caller's words. ``participations`` None means every round. Raises BadInput."""
        check_delta(delta)
        if adjacency not in list(Adjacency):
            raise BadInput(f"adjacency must be one of {', '.join(Adjacency)}, got {adjacency}")
        if sampling == "poisson" and (cohort is None or population is None):
            raise BadInput("Poisson sampling needs --cohort and --population")
        most = min(participations or rounds, rounds)
        size, of_all = cohort or 1, population or max(cohort or 1, 1)
        if size > of_all:
            raise BadInput(f"a cohort of {size} does not fit a population of {of_all}")
        kind = Sampling(kind="poisson" if sampling == "poisson" else "fixed", cohort=size, population=of_all)
        return cls(kind, rounds, most, delta, Adjacency(adjacency), sampling == "poisson")

    def bounds(self, noise_multiplier: float) -> tuple[tuple[Bound, ...], Bound]:
        """Every bound that holds, and the smallest within the adjacency. Raises BadInput where that bounds nothing."""
        if not 0 < noise_multiplier < math.inf:
            raise BadInput(f"the noise multiplier must be a positive number, got {noise_multiplier}")
        event = GaussianEvent(noise_multiplier=noise_multiplier, sampling=self.sampling)
        exposure = Exposure(self.participations, sealed=self.sealed)
        listed = bounds({event: self.rounds}, exposure, self.delta)
        best = smallest(listed, self.adjacency)
        if math.isinf(best.epsilon):
            raise BadInput(f"with a noise multiplier of {noise_multiplier:g} epsilon is beyond all numbers; raise it")
        return listed, best

    def calibrate(self, epsilon: float) -> float:
        """The smallest noise multiplier whose smallest bound is at most ``epsilon``, rounded up."""
        sensitivity = 2.0 if self.adjacency is Adjacency.REPLACE_ONE else 1.0
        plain = sensitivity * math.sqrt(self.participations) / mu_for(epsilon, self.delta)
        if not self.sealed:
            return plain * (1 + 1e-9)
        low = plain
        while low > 1e-3 and self.bounds(low / 2)[1].epsilon <= epsilon:
            low /= 2
        root = float(brentq(lambda z: self.bounds(z)[1].epsilon - epsilon, low / 2, plain * 1.001, xtol=1e-6))
        return root * (1 + 1e-5)
