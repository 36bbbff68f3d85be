"""What integers cost: from the noise that is drawn to the continuous Gaussian that the accountants know.

The mechanism adds to an integer sum x (per coordinate) noise of the discrete Gaussian of parameter sigma. Three steps
lead from there to a Gaussian mechanism, and each is charged.

1. *Discrete to continuous.* Draw y from N(x, sigma^2 - s^2), then an integer from the discrete Gaussian of parameter s
   around y. Its law at k is N(k; x, sigma^2) s sqrt(2 pi) / rho_s(Z - y), and by Poisson summation rho_s(Z - y) is s
   sqrt(2 pi) within a factor 1 +- eta, eta <= 3 exp(-2 pi^2 s^2) (Peikert 2010; Micciancio and Regev 2007). So the
   discrete mechanism is, within (1 +- eta)^3 at every integer, post-processing of a Gaussian of standard deviation
   sqrt(sigma^2 - s^2). With s = 4 grid steps, eta < 1e-136, and at 2^20 steps a clip norm z loses 7e-12 / z^2 of
   itself.
2. *The sampler's probabilities.* ``mechanisms/discrete.py`` promises every integer within ``within`` sigma its exact
   probability times 1 +- ``relative``. With n numbers drawn, each side of e^epsilon moves by e^(n relative).
3. *The tails.* Mass beyond is at most ``tail``, in the exact law and in the sampler's. An outcome beyond, seen from
   either of two neighbouring sums, is given up to delta. Sums that lie a (in sigma, over all coordinates of a release)
   apart leave mass Phi(-(within - a)) to the coordinate that moved most, and next to nothing to the others.

The sampler keeps two promises at once, a narrow and sharp one and a wide one; each gives a bound, and the smaller one
counts.

Sums and sensitivities are integers already: truncation toward zero never lengthens an update, so rounding is free.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy.special import ndtr

from tacit_privacy.accounting.events import Arithmetic, GaussianEvent


@dataclass(frozen=True, slots=True)
class Promise:
    """What the sampler keeps: ``relative`` error of any integer's probability ``within`` so many standard deviations,
    and at most the mass ``tail`` beyond, of the exact law and of what it draws.
    """

    within: float
    relative: float
    tail: float


PROMISES = (Promise(10.0, 2.0**-44, 1e-22), Promise(40.0, 2.0**-40, 1e-300))

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
    return min(_under(promise, epsilon_at, delta, drawn) for promise in PROMISES)


def _under(promise: Promise, epsilon_at: Callable[[float], float], delta: float, drawn: Drawn) -> float:
    loss = drawn.releases * drawn.dimension * (promise.relative + _ETA)
    lost = _shifted(promise, drawn)
    if lost < delta:
        return epsilon_at((delta - lost) * math.exp(-loss)) + 2 * loss
    epsilon = epsilon_at(delta / 2 * math.exp(-loss))
    return epsilon + 2 * loss if _scaled(promise, drawn, epsilon) <= delta / 2 else math.inf


def _shifted(promise: Promise, drawn: Drawn) -> float:
    """delta lost to the tails: for h(a), the mass beyond ``within`` of a law whose middle lies a away, and shifts a_i
    of the coordinates, sum of h(a_i) <= d h(0) + h'(0) sum of a_i + h(a), because (h(a) - h(0) - h'(0) a) / a^2 grows.
    """
    far = drawn.shift + 1 / drawn.sigma  # a sum over integers, bounded by an integral that starts one step earlier
    if far > promise.within - 1:
        return math.inf
    others = promise.tail * (2 * drawn.dimension + promise.within * math.sqrt(drawn.dimension) * drawn.shift)
    return drawn.releases * (others + float(ndtr(far - promise.within)))


def _scaled(promise: Promise, drawn: Drawn, epsilon: float) -> float:
    """The same, bounded by what the other side makes of its own tail: better for little noise and rare sampling."""
    if epsilon > 600:
        return math.inf
    return drawn.releases * drawn.dimension * promise.tail * (1 + math.exp(epsilon))
