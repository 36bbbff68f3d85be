"""Filters: what a run may still do when its next release depends on what the last ones showed.

A bound of a schedule that was fixed in advance may use everything known about the whole schedule. Where noise, cohort
or the end of a run are chosen on the way, only some sums are still guarantees:

- *Gaussian*: sum of mu_t^2, for releases without sampling (Smith and Thakurta 2022; Koskela, Tobaben and Honkela 2022,
  arXiv 2209.15596). It costs nothing: it is the exact bound.
- *RDP at one order*: sum of the Renyi divergences at an order that was fixed before the run (Feldman and Zrnic 2021,
  arXiv 2008.11193), for Poisson rounds whose noise or rate is chosen on the way.

A run keeps to one filter, chosen before it starts: the smaller of two, looked at afterwards, is none.
"""

import math
from functools import lru_cache

import numpy as np
from scipy.special import gammaln, logsumexp

from tacit_privacy.accounting.bounds import Bound, smallest, without_amplification
from tacit_privacy.accounting.discrete import Drawn, charged, effective
from tacit_privacy.accounting.events import Adjacency, Arithmetic, Exposure, GaussianEvent, Tally
from tacit_privacy.accounting.gaussian import check_delta
from tacit_privacy.accounting.worst import moved
from tacit_privacy.errors import BadInput

ORDERS = (*range(2, 64), *range(64, 128, 4), *range(128, 513, 16), 768, 1024)
"""Orders to choose from: integers, at which the divergence has a closed form."""

_QUICK = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 28, 40, 60, 100, 160, 256, 512)


def rdp_order(event: GaussianEvent, rounds: int, delta: float) -> int:
    """The order at which ``rounds`` releases such as ``event`` come out cheapest: chosen before a run, and kept."""
    check_delta(delta)
    return int(min(ORDERS, key=lambda order: rdp_epsilon({event: rounds}, order, delta)))


def rdp_epsilon(tally: Tally, order: int, delta: float) -> float:
    """Epsilon at ``delta`` of the sum of the Renyi divergences at ``order``, zero-out, every device in every release.

    Conversion: Balle et al. 2020, Theorem 21 (Canonne, Kamath and Steinke 2020, Proposition 12).
    """
    total = math.fsum(count * _divergence(event, event.noise_multiplier, order) for event, count in tally.items())
    return _converted(total, order, delta)


def rdp_noise(event: GaussianEvent, rounds: int, epsilon: float, delta: float) -> float:
    """A noise multiplier at which ``rounds`` releases of ``event``'s Poisson sampling stay within ``epsilon``,
    zero-out.

    By Renyi divergences at the best order: quick, to three digits, up to a few per cent more than is needed.
    """
    sampling = event.sampling.model_copy(update={"kind": "poisson", "cap": None})

    def within(noise: float) -> bool:
        tried = event.model_copy(update={"noise_multiplier": noise, "sampling": sampling})
        return min(rdp_epsilon({tried: rounds}, order, delta) for order in _QUICK) <= epsilon

    low, high = 1e-2, 1.0
    while not within(high):
        low, high = high, high * 2
    while high > low * 1.001:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if within(middle) else (middle, high)
    return high


def adaptive_bound(
    tally: Tally, exposure: Exposure, delta: float, arithmetic: Arithmetic | None, order: int | None
) -> Bound:
    """The bound, under zero-out, that stands whatever the releases so far made the next one be.

    ``order`` None: the Gaussian filter, which claims nothing from sampling. An order, fixed before the run: the RDP
    filter, in which Poisson rounds without a cap on their cohort count as sampled while the roster is sealed. Raises
    BadInput for an order below 2.
    """
    if order is None:
        return smallest(without_amplification(tally, exposure, delta, arithmetic), Adjacency.ZERO_OUT)
    sampled = {event: count for event, count in tally.items() if count and exposure.sealed and _is_sampled(event)}
    rest = {event: count for event, count in tally.items() if event not in sampled}
    beside = moved(rest, exposure, 1.0, arithmetic)
    total = order * beside.mu * beside.mu / 2
    for event, count in sampled.items():
        total += count * _divergence(event, effective(event, arithmetic), order)
    drawn = beside.drawn
    if arithmetic is not None and sampled:
        noise = min(event.noise_multiplier for event in sampled)
        releases, shift, sigma = sum(sampled.values()), 1 / noise if noise else math.inf, noise * arithmetic.levels
        if drawn is not None:
            releases, shift, sigma = releases + drawn.releases, max(shift, drawn.shift), min(sigma, drawn.sigma)
        drawn = Drawn(releases, arithmetic.dimension, shift, sigma)
    epsilon = charged(lambda left: _converted(total, order, left), delta, drawn) if total < math.inf else math.inf
    return Bound(
        "releases chosen on the way, Poisson cohorts, who took part stays sealed",
        Adjacency.ZERO_OUT,
        epsilon,
        f"RDP filter at order {order}",
    )


def _is_sampled(event: GaussianEvent) -> bool:
    return event.sampling.kind == "poisson" and event.sampling.cap is None and event.correlation is None


def _divergence(event: GaussianEvent, noise_multiplier: float, order: int) -> float:
    rate = event.sampling.rate if _is_sampled(event) else 1.0
    return renyi(noise_multiplier, rate, order)


@lru_cache(maxsize=4096)
def renyi(noise_multiplier: float, rate: float, order: int) -> float:
    """Renyi divergence of a sampled Gaussian at an integer order (Mironov, Talwar and Zhang 2019, section 3.3)."""
    if order < 2:
        raise BadInput(f"the order of a Renyi filter must be an integer of at least 2, got {order}")
    if order * order > 1e250 * noise_multiplier * noise_multiplier:
        return math.inf
    if rate == 1:
        return order / noise_multiplier / noise_multiplier / 2
    k = np.arange(order + 1)
    chosen = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    terms = chosen + (order - k) * math.log1p(-rate) + k * math.log(rate) + k * (k - 1) / 2 / noise_multiplier**2
    return max(0.0, float(logsumexp(terms))) / (order - 1) * (1 + 1e-12)


def _converted(total: float, order: int, delta: float) -> float:
    check_delta(delta)
    return max(0.0, total + math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1))
