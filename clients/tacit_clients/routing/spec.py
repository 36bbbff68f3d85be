"""The public rule that turns a prompt into numbers, small enough to be sent: all that a fleet has to agree on.

Nothing in it comes from one device: features are fixed, n-grams are hashed, and centre and scale are public constants.
Two devices with the same spec and the same prompt have the same numbers, so their weights can be added.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator
from scipy.sparse import csr_array

from tacit_clients.routing import features
from tacit_clients.routing.ngrams import Grams, grams
from tacit_clients.routing.signals import NOTHING, Signals, signal_names, signal_values
from tacit_privacy.errors import BadInput

CLIP: Final = 4.0
"""Standardised features are cut here, so that no prompt weighs without bound."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Design:
    """Prompts as numbers: ``dense`` (n, p) and, where the spec has n-grams, sparse ``grams`` (n, buckets)."""

    dense: Matrix
    grams: csr_array | None

    def __len__(self) -> int:
        return int(self.dense.shape[0])

    def rows(self, chosen: NDArray[np.int64]) -> "Design":
        """Those of the prompts, in that order."""
        return Design(self.dense[chosen], None if self.grams is None else csr_array(self.grams[chosen]))

    def without_grams(self) -> "Design":
        """As a spec without n-grams has it."""
        return Design(self.dense, None)


class Spec(BaseModel, frozen=True, extra="forbid"):
    """How prompts become numbers. ``centre`` and ``scale`` belong to ``features``, in their order."""

    version: Literal[1] = 1
    features: tuple[str, ...]
    signals: tuple[str, ...]
    centre: tuple[float, ...] = Field(repr=False)
    scale: tuple[float, ...] = Field(repr=False)
    bits: int = Field(default=13, ge=0, le=16)  # 2 tables of 2**bits buckets of n-grams; 0: no n-grams

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.features != features.names() or self.signals != signal_names():
            raise ValueError("its features are not those that this version of Tacit computes")
        if not len(self.features) == len(self.centre) == len(self.scale):
            raise ValueError("centre, scale and features differ in length")
        if not all(np.isfinite(self.centre)) or not all(np.isfinite(self.scale)) or min(self.scale) <= 0:
            raise ValueError("centre and scale must be finite, and scale above 0")
        return self

    @classmethod
    def of(cls, described: Matrix, bits: int) -> Self:
        """Centre and scale of features (n, p) of prompts that may be known: public ones where a fleet shares the spec.

        A feature that never changes has scale 1: it stays silent, and cannot shout on the first prompt that differs.
        """
        centre, spread = described.mean(axis=0), described.std(axis=0)
        scale = np.where(spread > 1e-6, spread, 1.0)
        return cls(
            features=features.names(),
            signals=signal_names(),
            centre=tuple(float(value) for value in centre),
            scale=tuple(float(value) for value in scale),
            bits=bits,
        )

    @property
    def dense(self) -> int:
        """Columns that are not n-grams."""
        return len(self.features) + len(self.signals)

    @property
    def buckets(self) -> int:
        """Columns of n-grams."""
        return 2 << self.bits if self.bits else 0

    @property
    def size(self) -> int:
        """Length of the flat vector of weights: two heads, each of all columns and an intercept."""
        return 2 * (self.dense + self.buckets + 1)

    def digest(self) -> str:
        """SHA-256 of the spec; devices that share it may add their weights."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def without_grams(self) -> "Spec":
        """The same, deaf to words."""
        return self.model_copy(update={"bits": 0})

    def standardised(self, described: Matrix, signals: Sequence[Signals]) -> Matrix:
        """Features (n, p) and signals as columns, shape (n, dense)."""
        centred = (described - np.array(self.centre)) / np.array(self.scale)
        told = np.array([signal_values(each) for each in signals], dtype=np.float64).reshape(len(described), -1)
        return np.hstack([np.clip(centred, -CLIP, CLIP), told])

    def one(self, prompt: str, signals: Signals = NOTHING) -> tuple[Matrix, Grams | None]:
        """A single prompt: columns (1, dense) and n-grams."""
        dense = self.standardised(features.describe(prompt)[None, :], [signals])
        return dense, grams(prompt, self.bits) if self.bits else None

    def design(
        self, prompts: Sequence[str], signals: Sequence[Signals] | None = None, described: Matrix | None = None
    ) -> Design:
        """All of ``prompts``; ``described`` spares the features if they are known. Raises BadInput."""
        told = [NOTHING] * len(prompts) if signals is None else signals
        if len(told) != len(prompts):
            raise BadInput(f"{len(prompts)} prompts and {len(told)} signals")
        known = describe_all(prompts) if described is None else described
        return Design(self.standardised(known, told), sparse(prompts, self.bits) if self.bits else None)


def describe_all(prompts: Sequence[str]) -> Matrix:
    """Features of every prompt, shape (n, p)."""
    return np.array([features.describe(prompt) for prompt in prompts]).reshape(len(prompts), -1)


def sparse(prompts: Sequence[str], bits: int) -> csr_array:
    """N-grams of every prompt, shape (n, 2 * 2**bits)."""
    found = [grams(prompt, bits) for prompt in prompts]
    ends = np.cumsum([0, *(len(each.buckets) for each in found)])
    buckets = np.concatenate([each.buckets for each in found] or [np.zeros(0, dtype=np.int64)])
    values = np.concatenate([each.values for each in found] or [np.zeros(0)])
    return csr_array((values, buckets, ends), shape=(len(prompts), 2 << bits))
