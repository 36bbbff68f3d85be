"""Events: what a mechanism did, without any claim about what it means; and what may be assumed about who was in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from tacit_privacy.contract import Fact

MOST = 10**15
"""Devices, or numbers of a release: more than there will be, and every float still holds such a number exactly."""


class Adjacency(StrEnum):
    """Which two fleets must be hard to tell apart."""

    ZERO_OUT = "zero-out"  # one device's contributions are replaced by zeros
    REPLACE_ONE = "replace-one"  # one device's contributions are replaced by any others


class Sampling(Fact):
    """How a round's cohort came about.

    ``fixed``: ``cohort`` devices of ``population``, chosen in any way. ``uniform``: the same number, drawn uniformly
    without replacement from the whole population by randomness that nobody knows. ``poisson``: every device of the
    population joins with probability ``rate``, by its own coin; with ``cap``, a larger cohort is cut down to that many,
    uniformly.
    """

    kind: Literal["fixed", "uniform", "poisson"]
    cohort: PositiveInt = Field(le=MOST)
    population: PositiveInt = Field(le=MOST)
    cap: PositiveInt | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.cohort > self.population:
            raise ValueError(f"a cohort of {self.cohort} does not fit a population of {self.population}")
        if self.cap is not None and (self.kind != "poisson" or self.cap < self.cohort):
            raise ValueError(f"a cap of {self.cap} belongs to Poisson cohorts of at most that many on average")
        return self

    @property
    def rate(self) -> float:
        """Probability that a given device joins, or the share that does."""
        return self.cohort / self.population


MOST_ROUNDS = 1_000_000
"""Rounds of correlated noise: the columns of C are summed one by one."""


class Correlation(Fact):
    """Noise that is correlated over rounds: C of the matrix mechanism is lower triangular, Toeplitz and banded.

    ``banded-sqrt``: the first ``bands`` coefficients of 1 / sqrt(1 - x), c_0 = 1, c_j = c_(j-1) (2j - 1) / (2j)
    (Kalinin and Lampert 2024, arXiv 2405.13763). ``rounds`` is how many the mechanism was planned for.
    """

    factorization: Literal["banded-sqrt"] = "banded-sqrt"
    bands: PositiveInt = Field(le=2**16)
    rounds: PositiveInt = Field(le=MOST_ROUNDS)


class Part(Fact):
    """One part of a joint release: the adapter, or a statistic beside it, with its own noise multiplier."""

    name: str = Field(pattern=r"^[a-z_]{1,40}$")
    noise_multiplier: PositiveFloat


class GaussianEvent(Fact):
    """One noised release. ``noise_multiplier`` is noise std / L2 sensitivity under zero-out adjacency, unitless.

    Of a joint release it is that of all ``parts`` together, 1 / z^2 = sum of 1 / z_part^2; empty: the release is one
    part. With ``correlation`` it is the standard deviation of the fresh noise over the sensitivity of one round.
    """

    kind: Literal["gaussian"] = "gaussian"
    noise_multiplier: float = Field(ge=0, allow_inf_nan=False)
    sampling: Sampling
    parts: tuple[Part, ...] = ()
    correlation: Correlation | None = None


Tally = Mapping[GaussianEvent, int]  # how often each event happened


@dataclass(frozen=True, slots=True)
class Exposure:
    """How much of a run one device can have been in, and who can tell."""

    participations: int  # the most releases that any one device contributes to
    separation: int = 1  # rounds from one participation of a device to its next, at least; 1: none is left out
    sealed: bool = False  # nobody but the server sees who took part
    runs: int = 1  # that may have released under one correlation, each with noise of its own


class Arithmetic(Fact):
    """What noise is drawn in: ``dimension`` integers, of ``levels`` steps per unit of sensitivity."""

    levels: PositiveInt = Field(le=2**53)
    dimension: PositiveInt = Field(le=MOST)
