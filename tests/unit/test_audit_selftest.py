"""The self-test accepts the real path and rejects every way in which others have broken it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tacit_privacy.accounting.gaussian import epsilon_of
from tacit_privacy.audit.selftest import CASES, GridMechanism, Mechanism, selftest
from tacit_privacy.errors import BadInput
from tacit_privacy.mechanisms.gaussian import GaussianSum, clip
from tacit_privacy.mechanisms.noise import SeededNoise
from tacit_privacy.randomness import stream

F64 = NDArray[np.float64]
DELTA, SAMPLES, PLANNED = 1e-5, 20_000, 8
NOBODY: list[F64] = [np.zeros(1)]


@dataclass(frozen=True)
class Floats:
    """A correct mechanism in floats, for others to break: clip, sum, noise, divide by the planned cohort."""

    clip_norm: float = 2.0
    noise_multiplier: float = 1.0

    def contribute(self, update: F64) -> F64 | None:
        return clip(update, self.clip_norm) if np.isfinite(update).all() else None

    def total(self, sent: Sequence[NDArray[Any]]) -> F64:
        return sum((clip(vector, self.clip_norm) for vector in sent), np.zeros(max(map(len, sent), default=1)))

    def noise(self, sent: Sequence[NDArray[Any]]) -> float:
        """Standard deviation on the sum."""
        return self.noise_multiplier * self.clip_norm

    def denominator(self, sent: Sequence[NDArray[Any]]) -> float:
        return PLANNED

    def release(self, sent: Sequence[NDArray[Any]], copies: int, label: str) -> F64:
        total = self.total(sent)
        drawn = stream(7, "floats", label).standard_normal((copies, len(total)))
        return np.asarray((total + self.noise(sent) * drawn) / self.denominator(sent))


class HalfTheNoise(Floats):
    def noise(self, sent: Sequence[NDArray[Any]]) -> float:
        return super().noise(sent) / 2


class NanPasses(Floats):
    """`norm > clip` is false for NaN, so nothing is clipped."""

    def contribute(self, update: F64) -> F64 | None:
        norm = float(np.linalg.norm(update))
        return update * (self.clip_norm / norm) if norm > self.clip_norm else update

    def total(self, sent: Sequence[NDArray[Any]]) -> F64:
        return np.asarray(np.sum([np.where(np.isinf(vector), 0.0, vector) for vector in sent] or NOBODY, axis=0))


class ServerTrustsDevices(Floats):
    def total(self, sent: Sequence[NDArray[Any]]) -> F64:
        return np.asarray(np.sum(sent or NOBODY, axis=0))


class HugePasses(ServerTrustsDevices):
    """The square of 1e300 is infinite and the quotient zero, or whatever the guard against that lets through."""

    def contribute(self, update: F64) -> F64 | None:
        norm = float(np.sqrt(np.sum(update**2)))
        return update if not np.isfinite(norm) else update * min(1.0, self.clip_norm / max(norm, 1e-12))


class CountsContributors(Floats):
    """Divides by how many came, as Opacus #571 does with a batch."""

    def denominator(self, sent: Sequence[NDArray[Any]]) -> float:
        return len(sent)


class UnequalWeights(Floats):
    """A weighted mean, noised as if weights were equal: Flower 1.41."""

    def total(self, sent: Sequence[NDArray[Any]]) -> F64:
        weights = [10.0, *[1.0] * (len(sent) - 1)]
        held = [weight * clip(vector, self.clip_norm) for weight, vector in zip(weights, sent, strict=False)]
        return np.asarray(np.sum(held or NOBODY, axis=0) * len(sent) / max(1.0, sum(weights[: len(sent)])))


class NoiseOfWhoCame(Floats):
    def noise(self, sent: Sequence[NDArray[Any]]) -> float:
        return super().noise(sent) * len(sent) / PLANNED


class BackwardsClip(ServerTrustsDevices):
    """Lengthens what is short and leaves alone what is long."""

    def contribute(self, update: F64) -> F64 | None:
        norm = float(np.linalg.norm(update)) if np.isfinite(update).all() else 0.0
        return update * (self.clip_norm / norm) if 0 < norm < self.clip_norm else np.nan_to_num(update, posinf=0.0)


class EveryCoordinate(Floats):
    """Clips coordinates, not the norm."""

    def contribute(self, update: F64) -> F64 | None:
        return np.clip(np.nan_to_num(update), -self.clip_norm, self.clip_norm)

    def total(self, sent: Sequence[NDArray[Any]]) -> F64:
        held = [np.clip(vector, -self.clip_norm, self.clip_norm) for vector in sent]
        return np.asarray(np.sum(held or NOBODY, axis=0))


class Refuses(Floats):
    """Gives up where nobody came."""

    def denominator(self, sent: Sequence[NDArray[Any]]) -> float:
        if not sent:
            raise ZeroDivisionError
        return PLANNED


BROKEN: tuple[type[Floats], ...] = (
    HalfTheNoise,
    NanPasses,
    HugePasses,
    ServerTrustsDevices,
    CountsContributors,
    UnequalWeights,
    NoiseOfWhoCame,
    BackwardsClip,
    EveryCoordinate,
    Refuses,
)


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("noise_multiplier", [0.6, 2.0])
def test_every_broken_mechanism_is_rejected(kind: type[Floats], noise_multiplier: float) -> None:
    found = selftest(kind(noise_multiplier=noise_multiplier), DELTA, SAMPLES)
    assert found.rejected and found.worst in found.rejected
    assert not found.as_json()["ok"]


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (NanPasses, "nan clips"),
        (HugePasses, "1e+300"),
        (ServerTrustsDevices, "8 times what may be sent"),
        (EveryCoordinate, "4 coordinates"),
        (Refuses, "alone, against nothing"),
    ],
)
def test_what_is_broken_is_named(kind: type[Floats], word: str) -> None:
    assert any(word in verdict.case.name for verdict in selftest(kind(), DELTA, SAMPLES).rejected)


def grid(noise_multiplier: float, seed: int = 1) -> GridMechanism:
    return GridMechanism(GaussianSum(0.5, noise_multiplier), SeededNoise(seed, "selftest"))


@pytest.mark.parametrize("noise_multiplier", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("delta", [1e-9, 1e-5, 0.05])
def test_the_real_path_is_accepted(noise_multiplier: float, delta: float) -> None:
    found = selftest(grid(noise_multiplier), delta, SAMPLES)
    assert found.rejected == ()
    assert found.epsilon == epsilon_of(1 / noise_multiplier, delta) and found.mu == 1 / noise_multiplier
    assert 0 < found.mu_lower_bound <= found.mu and 0 <= found.lower_bound <= found.epsilon


def test_a_correct_mechanism_in_floats_is_accepted() -> None:
    mechanism: Mechanism = Floats()
    assert selftest(mechanism, DELTA, SAMPLES).rejected == ()


def test_the_bound_is_close_to_the_claim() -> None:
    """With many samples noise that is a tenth too small is found, and nothing is shown that is not there."""
    honest = selftest(grid(1.0), DELTA, 400_000, cases=CASES[:2])
    assert 0.95 < honest.mu_lower_bound <= 1.0
    lying = replace(grid(0.9), noise=SeededNoise(2))
    claims = _Claims(lying, 1.0)
    assert selftest(claims, DELTA, 400_000, cases=CASES[:2]).rejected


@dataclass(frozen=True)
class _Claims:
    """A mechanism that says it has more noise than it has."""

    inner: GridMechanism
    noise_multiplier: float

    @property
    def clip_norm(self) -> float:
        return self.inner.clip_norm

    def contribute(self, update: F64) -> NDArray[Any] | None:
        return self.inner.contribute(update)

    def release(self, sent: Sequence[NDArray[Any]], copies: int, label: str) -> F64:
        return self.inner.release(sent, copies, label)


def test_false_alarms_are_as_rare_as_stated() -> None:
    """At a false alarm of a fifth, a correct mechanism is rejected in at most about a fifth of the runs."""
    rejected = sum(
        bool(selftest(grid(1.0, seed), DELTA, 1_000, false_alarm=0.2, cases=CASES[:3]).rejected) for seed in range(60)
    )
    assert rejected <= 21  # the 99.9 % point of Binomial(60, 0.2)


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(BadInput, match="999 samples show nothing"):
        selftest(grid(1.0), DELTA, 999)
