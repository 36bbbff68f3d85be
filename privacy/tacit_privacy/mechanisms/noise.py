"""Gaussian noise, coins, integers and salts: from the operating system, or, in simulations only, from a seed."""

import os
from typing import Protocol, Self

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from tacit_privacy.mechanisms.discrete import Words, below, coins, discrete_gaussian
from tacit_privacy.randomness import stream

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

    def below(self, bound: int, size: int, label: str) -> NDArray[np.int64]:
        """``size`` independent integers, uniform from 0 to ``bound`` - 1: what stochastic rounding tosses."""
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
        return coins(_system_words, rate, size)

    def below(self, bound: int, size: int, label: str) -> NDArray[np.int64]:
        return below(_system_words, bound, size)

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
        return coins(self._words("coins", label), rate, size)

    def below(self, bound: int, size: int, label: str) -> NDArray[np.int64]:
        return below(self._words("below", label), bound, size)

    def salt(self, label: str) -> bytes:
        return stream(self._seed, "salt", *self._path, label).bytes(_SALT_BYTES)

    def _words(self, purpose: str, label: str) -> Words:
        generator = stream(self._seed, purpose, *self._path, label)
        return lambda n: generator.integers(0, 2**64, n, dtype=np.uint64)


def _system_words(count: int) -> NDArray[np.uint64]:
    """A key of the operating system's, fresh for every call, stretched by AES-256 in counter mode (decision 18)."""
    stretched = Cipher(AES256(os.urandom(32)), CTR(bytes(16))).encryptor()
    return np.frombuffer(stretched.update(bytes(8 * count)), dtype=np.uint64)
