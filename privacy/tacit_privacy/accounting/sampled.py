"""Cohorts drawn in secret: Poisson, Poisson with a cap, and uniform without replacement, in one composition.

Privacy loss distributions by dp-accounting (Koskela et al. 2020; Doroshenko et al. 2022), pessimistic. Different
releases compose exactly as long as all of them were fixed before the first.

**Fixed size** (``uniform``). Whoever joins takes the place of somebody else, so what one device moves is twice the
clip: the round is that of Poisson with half the noise multiplier (Balle, Barthe and Gaboardi 2018; attained where all
others send the opposite of what the device sends). *Zero-out*: such rounds, composed. That is proven where an absent
device's place is drawn anew; where it stays as a zero, every single round leaks less, and for composition it rests on
computation: the worst adversary found by backward induction stays far below (``tests/property``).
*Replace-one*: rounds may lean either way, and an adversary who sees the releases so far chooses; composing rounds of
one direction then comes out too small by a little. Taken instead is the pair that is the worse of both directions at
every loss (Zhu, Dong and Wang 2022), which holds for adaptive composition.

**Participation caps.** *Poisson*: given all that was released before, a device is in the next round with some
probability at most q, whether it has used up its participations or not. A mixture with less weight on the device is a
mixture of the pair at q and of two equal laws, so the pair at q dominates every round, and composition is adaptive
(Zhu, Dong and Wang 2022, Theorem 10). *Sizes that are limited* make who else took part depend on the device. With a
``cap``, this holds where a device that was left out has used a participation all the same, and those who have none
left toss on: then the coins of the others, made public, bound the loss. For ``uniform`` nothing is claimed once
participations can run out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import log_ndtr

from tacit_privacy.accounting.events import Sampling
from tacit_privacy.accounting.gaussian import check_delta, epsilon_of
from tacit_privacy.accounting.poisson import PoissonRounds, tractable

_FINE, _COARSE = (
    1e-4,
    1e-3,
)  # grids of the loss; both pessimistic, and 1e-3 reads the same in six digits where it is used
_WIDE = 1.0  # noise multipliers below it spread the loss so far that the fine grid takes seconds


@dataclass(frozen=True, slots=True)
class SampledRounds:
    """``rounds`` equal releases of cohorts that were drawn as ``sampling`` says.

    ``exhaustible``: participations may run out on the way.
    """

    noise_multiplier: float  # noise std / L2 sensitivity under zero-out, unitless
    sampling: Sampling
    rounds: int
    exhaustible: bool = False

    @property
    def alike(self) -> PoissonRounds:
        """The Poisson rounds that leak about as much."""
        halved = self.noise_multiplier / (2 if self.sampling.kind == "uniform" else 1)
        return PoissonRounds(halved, self.sampling.rate, self.rounds)


@lru_cache(maxsize=1024)
def epsilon_sampled(parts: tuple[SampledRounds, ...], mu: float, replaced: bool, delta: float) -> float:
    """Upper bound on epsilon at ``delta`` over all of ``parts`` and, beside them, mu-GDP releases without sampling.

    ``replaced``: replace-one adjacency instead of zero-out; ``mu`` is that of the adjacency. Cost does not depend on
    the numbers of rounds. Edges: where distributions would not fit into memory, the bound without sampling.
    """
    check_delta(delta)
    parts = tuple(part for part in parts if part.rounds)
    if not fits(parts, mu):
        factor = 4.0 if replaced else 1.0
        squares = (factor * part.rounds / part.noise_multiplier / part.noise_multiplier for part in parts)
        return epsilon_of(math.sqrt(math.fsum(squares) + mu * mu), delta)
    if not parts:
        return epsilon_of(mu, delta)
    return max(0.0, float(_composed(parts, mu, replaced).get_epsilon_for_delta(delta)))


@lru_cache(maxsize=2)
def _composed(parts: tuple[SampledRounds, ...], mu: float, replaced: bool) -> Any:
    """The privacy loss of all of ``parts``, which are not empty, and of ``mu``. Kept, since a curve asks many deltas of
    one loss; few are, since one may take a hundred megabytes.
    """
    from dp_accounting.pld.privacy_loss_distribution import from_gaussian_mechanism

    grid = grid_of(parts)
    composed = from_gaussian_mechanism(1 / mu, value_discretization_interval=grid) if mu > 0 else None
    for part in parts:
        rounds = _one(part, replaced, grid).self_compose(part.rounds)
        composed = rounds if composed is None else composed.compose(rounds)
    return composed


def fits(parts: Sequence[SampledRounds], mu: float = 0.0) -> bool:
    """Whether ``epsilon_sampled`` composes distributions; where not, it gives the bound without sampling."""
    if any(part.noise_multiplier <= 0 for part in parts):
        return False
    return tractable([part.alike for part in parts]) and mu <= 40


def grid_of(parts: Sequence[SampledRounds]) -> float:
    """Steps of the privacy loss in which ``epsilon_sampled`` composes ``parts``; losses are rounded up to them."""
    return _FINE if min(part.alike.noise_multiplier for part in parts) >= _WIDE / 2 else _COARSE


def _one(part: SampledRounds, replaced: bool, grid: float) -> Any:
    """The privacy loss of one round."""
    from dp_accounting import NeighboringRelation
    from dp_accounting.pld import privacy_loss_distribution as losses

    sampling, noise = part.sampling, part.noise_multiplier
    relation = NeighboringRelation.REPLACE_ONE if replaced else NeighboringRelation.REPLACE_SPECIAL
    if sampling.kind == "uniform" and replaced:
        return _either_way(noise / 2, sampling.rate, grid)
    halved = noise / 2 if sampling.kind == "uniform" else noise
    poisson = losses.from_gaussian_mechanism(
        halved, value_discretization_interval=grid, sampling_prob=sampling.rate, neighboring_relation=relation
    )
    if sampling.cap is None:
        return poisson
    if not part.exhaustible:
        return losses.from_truncated_subsampled_gaussian_mechanism(
            dataset_size=sampling.population,
            sampling_probability=sampling.rate,
            truncated_batch_size=sampling.cap,
            noise_multiplier=noise,
            value_discretization_interval=grid,
            neighboring_relation=relation,
        )
    from scipy.stats import binom  # not with the module: commands that compute no bound would wait for it

    full = float(binom.sf(sampling.cap - 1, sampling.population - 1, sampling.rate))
    displacing = losses.from_gaussian_mechanism(
        noise / 2,
        value_discretization_interval=grid,
        sampling_prob=sampling.rate,
        neighboring_relation=NeighboringRelation.REPLACE_ONE,
    )
    return displacing.compute_mixture(poisson, full) if full > 0 else poisson


def _either_way(noise_multiplier: float, rate: float, grid: float) -> Any:
    """The loss whose curve is, at every epsilon above 0 and below, that of the worse direction of a sampled Gaussian.

    Above 0 that is removal, delta(eps) = q delta_G(log(1 + (e^eps - 1) / q)); below 0 its mirror image, so that
    the loss l with probability p has a twin -l with p e^-l, and what is left of the mass loses nothing. Between points
    of the grid the curve is bounded by straight lines in e^eps (Doroshenko et al. 2022).
    """
    from dp_accounting.pld.pld_pmf import create_pmf
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

    mu = 1 / noise_multiplier
    widest = mu * (mu / 2 + 10) + 1  # 1e-23 of the mass lies beyond and is taken for infinite loss
    losses = np.arange(0, math.ceil(widest / grid) + 1) * grid
    inner = losses + np.log1p((1 - rate) / rate * -np.expm1(-losses))  # log(1 + (e^eps - 1) / q) without overflow
    delta = rate * (np.exp(log_ndtr(mu / 2 - inner / mu)) - np.exp(inner + log_ndtr(-mu / 2 - inner / mu)))
    delta = np.minimum.accumulate(np.maximum(delta, 0.0))
    fall = -np.diff(delta)
    mass = np.maximum(0.0, fall / -math.expm1(-grid) - np.append(fall[1:], 0.0) / math.expm1(grid))  # at losses[1:]
    twins = mass * np.exp(-losses[1:])
    nothing = max(0.0, 1 - float(delta[-1]) - float(mass.sum()) - float(twins.sum()))
    steps = np.arange(1, len(losses))
    points = np.concatenate([-steps[::-1], [0], steps])
    weights = np.concatenate([twins[::-1], [nothing], mass])
    return PrivacyLossDistribution(
        create_pmf(
            loss_probs=dict(zip(points.tolist(), weights.tolist(), strict=True)),
            discretization=grid,
            infinity_mass=float(delta[-1]),
            pessimistic_estimate=True,
        )
    )
