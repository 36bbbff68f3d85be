"""What a law asks of the system it examines, and what it says about it.

To examine another system, derive from ``Subject``, override what that system has, and let each docstring say what is
called: `CONFORMANCE_SUBJECT=module:Class pytest tests/conformance`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Adjacency = Literal["zero-out", "replace-one"]
Verdict = Literal["keeps", "loose", "breaks", "has none"]


class NotOffered(Exception):
    """The subject has nothing that the question is about; the message says why, in one short sentence."""


@dataclass(frozen=True, slots=True)
class Question:
    """``rounds`` equal releases of a sum of vectors of norm at most C, plus noise of ``noise_multiplier`` times C.

    ``none``: everybody is in every release. ``fixed``: each round has exactly ``cohort`` of ``population``, chosen in
    any way; ``uniform``: drawn uniformly without replacement. ``poisson``: each joins with
    probability cohort / population.
    """

    noise_multiplier: float
    rounds: int
    delta: float
    sampling: Literal["none", "fixed", "uniform", "poisson"] = "none"
    cohort: int = 1
    population: int = 1
    adjacency: Adjacency = "zero-out"

    def __str__(self) -> str:
        q = f", {self.sampling} {self.cohort} of {self.population:,}" if self.sampling != "none" else ""
        return f"z = {self.noise_multiplier:g}{q}, T = {self.rounds:,}, delta = {self.delta:g}"


@dataclass(frozen=True, slots=True)
class Record:
    """A finished record of a run: its entries as lines, and whoever checks them (with a head seen earlier, or without).

    ``accepts`` tells whether a record passes as whole and finished, with a witness or without.
    """

    lines: tuple[str, ...]
    head: str
    accepts: Callable[[Sequence[str], str | None], bool]
    fork: tuple[str, ...]  # another finished record by the same signer, equal at first


@dataclass(frozen=True, slots=True)
class Finding:
    """What a law found. ``shown`` is the figure in words; ``figures`` are what a later run is compared with.

    ``loose``: an upper bound that holds and is more than 1 % above what can be proved. ``has none``: the subject has
    nothing that the law is about.
    """

    verdict: Verdict
    shown: str
    figures: Mapping[str, float] = field(default_factory=dict)


class Subject:
    """A system under examination. What is not overridden, it does not have."""

    name = ""
    version = ""

    def mean(
        self, updates: Sequence[Floats | None], weights: Sequence[float], planned: int, clip: float, noise: float
    ) -> Floats | None:
        """Release the mean of a round in which ``planned`` devices were asked; None where the round is given up.

        An update is ``(d,)``; None stands for a device that answered with an error; one that never answered is left
        out. ``weights`` are the devices' own numbers of examples, ``noise`` is the noise multiplier.
        """
        raise NotOffered("no release of a mean")

    def adapted_clip(self, start: float, norm: float, devices: int, rounds: int) -> float:
        """Clip norm after ``rounds`` of updates that all have ``norm``: rate 0.2, quantile 0.5, without noise."""
        raise NotOffered("no adaptive clipping")

    def drawn_noise(self, size: int) -> tuple[Floats, float | None]:
        """Noise of a deployment, standard deviation 1, and the public step that all of it is a multiple of, if any."""
        raise NotOffered("draws no noise")

    def example_releases(self, examples: int, noise: float, dimension: int, count: int) -> tuple[Floats, float]:
        """``(count, dimension)``: first steps of training on ``examples`` examples whose gradients are all zero.

        Batches of two examples are asked for. With it the epsilon that is claimed for one step at delta 1e-5.
        """
        raise NotOffered("no example-level privacy")

    def epsilon(self, question: Question) -> Mapping[str, float | Exception]:
        """Epsilon by each accountant that takes the question, or how it failed."""
        raise NotOffered("no accountant")

    def calibrated_noise(self, epsilon: float, delta: float) -> float:
        """Noise standard deviation that is chosen for one release of sensitivity 1 to everybody."""
        raise NotOffered("does not choose noise for an epsilon")

    def compositions(self, count: int) -> Iterable[tuple[str, float, float]]:
        """(what, epsilon of ``count`` equal releases at once, epsilon of them one by one)."""
        raise NotOffered("no accountant")

    def record(self, rounds: int) -> Record:
        """A finished record of that many rounds."""
        raise NotOffered("no record that anybody could check")

    def edited_state(self) -> tuple[float, float]:
        """Epsilon before and after its saved state was cut from 50 releases to one and loaded again."""
        raise NotOffered("saves no state")

    def notices_rollback(self) -> bool:
        """Whether loading a state from before the newest releases is noticed by anybody."""
        raise NotOffered("saves no state")


@dataclass(frozen=True, slots=True)
class Law:
    """``asks`` names the method of ``Subject`` that the law speaks to first."""

    name: str
    title: str
    input: str
    source: str
    asks: str
    examine: Callable[[Subject], Finding]

    def finding(self, subject: Subject) -> Finding:
        """What the law says of ``subject``, or that it has none."""
        try:
            return self.examine(subject)
        except NotOffered as reason:
            return Finding("has none", str(reason))
