"""What integers cost: from the noise that is drawn to the continuous Gaussian that the accountants know.

The mechanism adds to an integer sum x (per coordinate) noise of the discrete Gaussian of parameter sigma. Three steps
lead from there to a Gaussian mechanism, and each is charged.

1. *Discrete to continuous.* Draw y from N(x, sigma^2 - s^2), then an integer from the discrete Gaussian of parameter s
   around y. Its law at k is N(k; x, sigma^2) s sqrt(2 pi) / rho_s(Z - y), and by Poisson summation rho_s(Z - y) is s
   sqrt(2 pi) within a factor 1 +- eta, eta <= 3 exp(-2 pi^2 s^2) (Peikert 2010; Micciancio and Regev 2007). So the
   discrete mechanism is, within (1 +- eta)^3 at every integer, post-processing of a Gaussian of standard deviation
   sqrt(sigma^2 - s^2). With s = 4 grid steps, eta < 1e-136, and at 2^20 steps a clip norm z loses 7e-12 / z^2 of
   itself.
2. *The sampler's probabilities.* ``mechanisms/noise.py`` promises every integer within ``WITHIN`` sigma its exact
   probability times 1 +- ``RELATIVE``. With n numbers drawn, each side of e^epsilon moves by e^(n RELATIVE).
3. *The tails.* Mass beyond is at most ``TAIL``, in the exact law and in the sampler's. An outcome beyond, seen from
   either of two neighbouring sums, is given up to delta. Sums that lie a (in sigma, over all coordinates of a release)
   apart leave mass Phi(-(WITHIN - a)) to the coordinate that moved most, and next to nothing to the others.

Sums and sensitivities are integers already: truncation toward zero never lengthens an update, so rounding is free.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy.special import ndtr

from tacit_privacy.accounting.events import Arithmetic, GaussianEvent

RELATIVE = 2.0**-44
"""Relative error of the sampler's probability of any integer within ``WITHIN`` standard deviations."""

TAIL = 1e-22
"""Mass beyond, at most: of the exact law (1.6e-23) and of what the sampler draws."""

WITHIN = 10.0
"""Standard deviations."""

_SMOOTHING = 4.0  # s, in grid steps
_ETA = 9 * math.exp(-2 * math.pi**2 * _SMOOTHING**2)  # |log (1 +- eta)^3|, rounded up: 1e-136


@dataclass(frozen=True, slots=True)
class Drawn:
    """The numbers that one device's data may shift: ``releases`` of ``dimension`` each, by ``shift`` in L2 norm.

    ``shift`` is in standard deviations and per release, rounded up; ``sigma`` is in grid steps.
    """

    releases: int
    dimension: int
    shift: float
    sigma: float


def effective(event: GaussianEvent, arithmetic: Arithmetic | None) -> float:
    """The noise multiplier of the continuous mechanism behind the discrete one; 0, no bound, where the noise is finer
    than the grid.

    Of a joint release too: its parts have more noise than all of them together, and lose less of it.
    """
    if arithmetic is None:
        return event.noise_multiplier
    noise, share = event.noise_multiplier, _SMOOTHING / arithmetic.levels
    return math.sqrt((noise - share) * (noise + share)) if noise > share else 0.0


def charged(epsilon_at: Callable[[float], float], delta: float, drawn: Drawn | None) -> float:
    """Epsilon at ``delta`` of the mechanism that ran, given that of the continuous one as a function of its delta.

    Never below ``epsilon_at(delta)``. Infinity where the tails alone cost more than delta: noise so small that what one
    device sends carries beyond the range in which the sampler's law is known. ``drawn`` None: nothing is charged.
    """
    if drawn is None:
        return epsilon_at(delta)
    loss = drawn.releases * drawn.dimension * (RELATIVE + _ETA)
    lost = _shifted(drawn)
    if lost < delta:
        return epsilon_at((delta - lost) * math.exp(-loss)) + 2 * loss
    epsilon = epsilon_at(delta / 2 * math.exp(-loss))
    return epsilon + 2 * loss if _scaled(drawn, epsilon) <= delta / 2 else math.inf


def _shifted(drawn: Drawn) -> float:
    """delta lost to the tails: for h(a), the mass beyond ``WITHIN`` of a law whose middle lies a away, and shifts a_i
    of the coordinates, sum of h(a_i) <= d h(0) + h'(0) sum of a_i + h(a), because (h(a) - h(0) - h'(0) a) / a^2 grows.
    """
    far = drawn.shift + 1 / drawn.sigma  # a sum over integers, bounded by an integral that starts one step earlier
    if far > WITHIN - 1:
        return math.inf
    others = TAIL * (2 * drawn.dimension + 10 * math.sqrt(drawn.dimension) * drawn.shift)
    return drawn.releases * (others + float(ndtr(far - WITHIN)))


def _scaled(drawn: Drawn, epsilon: float) -> float:
    """The same, bounded by what the other side makes of its own tail: better for little noise and rare sampling."""
    return drawn.releases * drawn.dimension * TAIL * (1 + math.exp(min(epsilon, 700.0)))
