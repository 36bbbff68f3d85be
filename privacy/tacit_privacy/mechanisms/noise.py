"""Integer Gaussian noise, coins and salts: from the operating system, or, in simulations only, from a seed."""

import os
from collections.abc import Callable
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.randomness import stream

_WORDS = Callable[[int], NDArray[np.uint64]]
_SALT_BYTES = 32


class NoiseSource(Protocol):
    """Draws the noise of a release. ``name`` goes into ledger and report: ``system`` or ``seeded``."""

    @property
    def name(self) -> str: ...

    def discrete_gaussian(self, sigma: float, size: int, label: str) -> NDArray[np.int64]:
        """``size`` integers with probability proportional to exp(-x^2 / (2 sigma^2)), sigma in grid steps."""
        ...

    def coins(self, rate: float, size: int, label: str) -> NDArray[np.bool_]:
        """``size`` independent coins of probability ``rate``: amplification rests on nobody knowing them."""
        ...

    def salt(self, label: str) -> bytes:
        """32 bytes that nobody can guess who cannot guess the noise: they hide what a commitment is over."""
        ...


class SystemNoise:
    """Noise from the operating system's CSPRNG. Never repeats, ``label`` or not."""

    name = "system"

    def discrete_gaussian(self, sigma: float, size: int, label: str) -> NDArray[np.int64]:
        return discrete_gaussian(_system_words, sigma, size)

    def coins(self, rate: float, size: int, label: str) -> NDArray[np.bool_]:
        return _uniform(_system_words, size) <= rate

    def salt(self, label: str) -> bytes:
        return os.urandom(_SALT_BYTES)


class SeededNoise:
    """Reproducible noise for simulations: whoever knows the seed can subtract it, so it protects nobody."""

    name = "seeded"

    def __init__(self, seed: int, *path: str | int) -> None:
        self._seed, self._path = seed, path

    @classmethod
    def of_server(cls, seed: int) -> Self:
        """What a simulated server draws from."""
        return cls(seed, "release")

    def discrete_gaussian(self, sigma: float, size: int, label: str) -> NDArray[np.int64]:
        return discrete_gaussian(self._words("noise", label), sigma, size)

    def coins(self, rate: float, size: int, label: str) -> NDArray[np.bool_]:
        return _uniform(self._words("coins", label), size) <= rate

    def salt(self, label: str) -> bytes:
        return stream(self._seed, "salt", *self._path, label).bytes(_SALT_BYTES)

    def _words(self, purpose: str, label: str) -> _WORDS:
        generator = stream(self._seed, purpose, *self._path, label)
        return lambda n: generator.integers(0, 2**64, n, dtype=np.uint64)


def _system_words(count: int) -> NDArray[np.uint64]:
    return np.frombuffer(os.urandom(8 * count), dtype=np.uint64)


def discrete_gaussian(words: _WORDS, sigma: float, size: int) -> NDArray[np.int64]:
    """Sample the discrete Gaussian by rejection from a discrete Laplace (Canonne, Kamath and Steinke 2020, Alg. 3).

    Shapes: ``(size,)``. ``words(n)`` gives n uniform 64-bit integers. Probabilities are 53-bit floats instead of the
    paper's exact rationals; a proposal beyond 36.7 scales (probability 2^-53 each) cannot occur. Sigma 0 gives zeros.
    """
    if sigma == 0:
        return np.zeros(size, dtype=np.int64)
    scale = np.floor(sigma) + 1
    accepted: list[NDArray[np.int64]] = []
    missing = size
    while missing > 0:
        proposal = _discrete_laplace(words, scale, missing + missing // 2 + 16)
        exponent = (np.abs(proposal) - sigma * sigma / scale) ** 2 / (2 * sigma * sigma)
        kept = proposal[_uniform(words, len(proposal)) < np.exp(-exponent)].astype(np.int64)
        accepted.append(kept[:missing])
        missing -= len(accepted[-1])
    return np.concatenate(accepted)


def _uniform(words: _WORDS, size: int) -> NDArray[np.float64]:
    """Uniform in (0, 1], 53 bits: never 0, so that its logarithm is finite."""
    return ((words(size) >> np.uint64(11)).astype(np.float64) + 1.0) * 2.0**-53


def _discrete_laplace(words: _WORDS, scale: float, size: int) -> NDArray[np.float64]:
    """Two-sided geometric of the given scale; a negative zero is thrown away, so fewer than ``size`` may come back."""
    magnitude = np.floor(-np.log(_uniform(words, size)) * scale)
    negative = (words(size) & np.uint64(1)).astype(bool)
    keep = ~(negative & (magnitude == 0))
    return np.asarray(np.where(negative, -magnitude, magnitude)[keep], dtype=np.float64)
