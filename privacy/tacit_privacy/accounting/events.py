"""Events: what a mechanism did, without any claim about what it means."""

from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from tacit_privacy.contract import Fact


class Sampling(Fact):
    """How a round's cohort came about.

    ``fixed``: ``cohort`` devices of ``population``, chosen in any way. ``poisson``: every device of the population
    joins with probability ``rate``, by its own coin.
    """

    kind: Literal["fixed", "poisson"]
    cohort: PositiveInt
    population: PositiveInt

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.cohort > self.population:
            raise ValueError(f"a cohort of {self.cohort} does not fit a population of {self.population}")
        return self

    @property
    def rate(self) -> float:
        """Probability that a given device joins, or the share that does."""
        return self.cohort / self.population


class GaussianEvent(Fact):
    """One noised release. ``noise_multiplier`` is noise std / L2 sensitivity under zero-out adjacency, unitless."""

    kind: Literal["gaussian"] = "gaussian"
    noise_multiplier: float = Field(ge=0, allow_inf_nan=False)
    sampling: Sampling
