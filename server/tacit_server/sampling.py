"""Drawing devices uniformly from whoever is eligible, at a cost that follows the draw and not the population."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.mechanisms.noise import NoiseSource
from tacit_server.roster import Bools, Counts, Devices, Roster

Eligible = Callable[[Devices], Bools]
_SMALLEST_BLOCK = 64
_LARGEST_BLOCK = 16_384  # keeps the arrays of a block in cache


class Selector:
    """Uniform draws without replacement over ``population`` devices; holds one scratch array, no memory of draws."""

    def __init__(self, population: int) -> None:
        self._population = population
        self._first = np.zeros(population, dtype=np.int32)  # scratch: where in a block a device was seen first
        self._seen = np.zeros(population, dtype=np.bool_)  # scratch: false everywhere between draws

    def draw(self, rng: np.random.Generator, count: int, eligible: Eligible) -> Devices:
        """At most ``count`` distinct eligible devices, in random order; all of them where fewer are eligible.

        Rejection: uniform candidates, those seen before left out, eligibility tested for a block at once. Every
        eligible device has the same chance, because acceptance does not depend on anything but eligibility. When
        candidates outnumber half the population, what is left is scanned instead, so the draw always ends.
        """
        chosen: list[Devices] = []
        tried: list[Devices] = []
        missing, tested = count, 0
        rate = 0.5
        while missing > 0 and tested < self._population // 2:
            block = self._candidates(rng, int(np.clip(1.1 * missing / rate, _SMALLEST_BLOCK, _LARGEST_BLOCK)))
            tried.append(block)
            good = block[eligible(block)]
            tested += len(block)
            rate = max(0.05, 0.5 * (rate + len(good) / max(len(block), 1)))
            chosen.append(good[:missing])
            missing -= len(chosen[-1])
        if missing > 0:
            chosen.append(self._scan(rng, missing, eligible))
        for block in tried:
            self._seen[block] = False
        return np.concatenate([np.empty(0, dtype=np.intp), *chosen])

    def _candidates(self, rng: np.random.Generator, size: int) -> Devices:
        """Distinct devices not seen in this draw, in random order."""
        drawn = rng.integers(0, self._population, size, dtype=np.intp)
        position = np.arange(size, dtype=np.int32)
        self._first[drawn[::-1]] = position[::-1]
        fresh = (self._first[drawn] == position) & ~self._seen[drawn]
        block = drawn[fresh]
        self._seen[block] = True
        return np.asarray(block)

    def _scan(self, rng: np.random.Generator, count: int, eligible: Eligible) -> Devices:
        """``count`` of the eligible among devices not seen in this draw."""
        rest = np.flatnonzero(~self._seen)
        parts = [rest[i : i + _LARGEST_BLOCK] for i in range(0, len(rest), _LARGEST_BLOCK)]
        good = np.concatenate([np.empty(0, dtype=np.intp), *(block[eligible(block)] for block in parts)])
        return rng.permutation(good)[:count]


def everybody(devices: Devices) -> Bools:
    """Whoever it is."""
    return np.ones(len(devices), dtype=np.bool_)


def rested(last: NDArray[np.signedinteger[Any]], number: int, separation: int) -> Eligible:
    """Who was last in a round at least ``separation`` rounds before round ``number``; ``last`` 0 is never.

    A separation of 1 keeps nobody out, not even who is asked again within a buffered round.
    """
    if separation == 1:
        return everybody

    def free(devices: Devices) -> Bools:
        known = last[devices]
        return np.asarray((known == 0) | (number - known >= separation))

    return free


def fixed_cohort(
    rng: np.random.Generator,
    roster: Roster,
    participations: Counts,
    cap: int,
    count: int,
    now: float,
    free: Eligible = everybody,
) -> Devices:
    """At most ``count`` eligible devices that took part fewer than ``cap`` times and are ``free``, uniformly without
    replacement.
    """

    def allowed(devices: Devices) -> Bools:
        fresh = np.asarray(participations[devices] < cap) & free(devices)
        fresh[fresh] = roster.eligible(devices[fresh], now)
        return fresh

    return Selector(roster.population).draw(rng, count, allowed)


def secret_cohort(
    noise: NoiseSource, sampling: str, population: int, cohort: int, cap: int | None, number: int
) -> Devices:
    """The cohort of round ``number``, drawn from the whole population by randomness that nobody knows: amplification
    rests on that, so it comes from where the noise comes from. ``poisson`` or ``uniform``; sorted.
    """
    if sampling == "poisson":
        tossed = poisson_cohort(noise, population, cohort / population, number)
        return (
            tossed if cap is None or len(tossed) <= cap else tossed[_subset(noise, len(tossed), cap, f"cap {number}")]
        )
    return _subset(noise, population, cohort, f"cohort {number}")


def poisson_cohort(noise: NoiseSource, population: int, rate: float, number: int) -> Devices:
    """Every device of the population tosses its own coin of probability ``rate``; a cohort may be empty.

    The coins of round ``number`` come from where the noise comes from: amplification rests on nobody knowing them.
    """
    return np.flatnonzero(noise.coins(rate, population, f"cohort {number}"))


def _subset(noise: NoiseSource, population: int, size: int, label: str) -> Devices:
    """``size`` of ``population``, every subset as likely as any other, sorted.

    Those with the smallest of independent 64-bit numbers, which SHAKE-256 makes of 256 secret bits: two equal ones, the
    only way to favour anybody, come with a probability of at most population^2 / 2^65.
    """
    drawn = np.frombuffer(hashlib.shake_256(noise.salt(label)).digest(8 * population), dtype=np.uint64)
    return np.sort(np.argsort(drawn, kind="stable")[:size])
