"""The matrix mechanism: noise that is correlated over rounds, for fleets whose sampling cannot be trusted.

A release of C x + Z, with one row of x per round, gives x + C^-1 Z: noise that later rounds take back in part, so that
sums over rounds are less noisy. C is lower triangular, Toeplitz and banded. What a device can change is bounded by how
often it takes part and how far apart (Kairouz et al. 2021, arXiv 2103.00039; Choquette-Choo et al. 2023, arXiv
2306.08153; Kalinin and Lampert 2024, arXiv 2405.13763). The mathematics is that of jax_privacy's
``matrix_factorization``, written anew.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tacit_privacy.accounting.events import Correlation
from tacit_privacy.errors import BadInput

LATTICE = 2**12
"""How many times finer than the grid of updates the lattice is on which the noise recurrence rounds to integers."""

Floats = NDArray[np.float64]


def band(length: int) -> Floats:
    """The first coefficients of (1 - x)^(-1/2), shape ``(length,)``: c_0 = 1, c_j = c_(j-1) (2j - 1) / (2j)."""
    steps = np.arange(1, length)
    return np.cumprod(np.concatenate([[1.0], (2 * steps - 1) / (2 * steps)]))


def column_norm(bands: int) -> float:
    """||c||: what one participation costs, in noise multipliers of independent noise. 1 for one band."""
    return float(np.linalg.norm(band(bands)))


def coefficients(correlation: Correlation) -> Floats:
    """The first column of C up to its band, shape ``(min(bands, rounds),)``. One band is independent noise."""
    return band(min(correlation.bands, correlation.rounds))


def sensitivity(coefficients: ArrayLike, rounds: int, participations: int, separation: int) -> float:
    """How far, at most, one device of norm 1 a round moves C x: at most ``participations`` rounds of ``rounds``, each
    at least ``separation`` after the one before (unitless, zero-out).

    Exact for coefficients that are not negative and never grow: then every inner product of two columns shrinks with
    their distance and with the rounds that are left, so that rounds 1, 1 + b, 1 + 2b, ... are the worst of all
    (Kalinin and Lampert 2024, Theorem 2). Raises BadInput for other coefficients.
    """
    return float(math.sqrt(squares(coefficients, rounds, participations, separation)[-1]))


def squares(coefficients: ArrayLike, rounds: int, participations: int, separation: int) -> Floats:
    """The squared sensitivity for 0, 1, 2, ... participations, as many as fit into the rounds; rounded up."""
    column = _checked(coefficients)
    if min(rounds, participations, separation) < 1:
        return np.zeros(1)
    moved = np.zeros(rounds)
    found = [0.0]
    for start in range(0, min(rounds, participations * separation), separation):
        window = moved[start : start + len(column)]
        added = column[: len(window)]
        found.append(found[-1] + float((2 * window + added) @ added))
        window += added
    return np.array(found) * (1 + 1e-12)


def pattern_sensitivity(coefficients: ArrayLike, rounds: int, pattern: ArrayLike) -> float:
    """The same for one device whose participations are known: ``pattern`` holds its rounds, counted from 0.

    The norm of the sum of those columns of C: the realised sensitivity, which a ledger knows exactly.
    """
    column = _checked(coefficients)
    moved = np.zeros(rounds)
    for start in np.asarray(pattern, dtype=np.int64):
        if not 0 <= start < rounds:
            raise BadInput(f"round {start} is none of {rounds} rounds, counted from 0")
        window = moved[start : start + len(column)]
        window += column[: len(window)]
    return float(np.linalg.norm(moved))


def peak(coefficients: ArrayLike, participations: int, separation: int) -> float:
    """The most that one device of norm 1 a round moves any single row of C x."""
    return float(_checked(coefficients)[::separation][:participations].sum())


def prefix_errors(coefficients: ArrayLike, rounds: int, participations: int, separation: int) -> tuple[float, float]:
    """Root of the mean, and of the largest, expected squared error of the sums over rounds 1 to t, per coordinate.

    In units of clip norm / mu: the noise is calibrated to the sensitivity. Independent noise: coefficients ``[1.0]``.
    """
    from scipy.signal import lfilter  # not with the module: commands that compute no bound would wait for it

    column = _checked(coefficients)
    impulse = np.zeros(rounds)
    impulse[0] = 1.0
    inverse = lfilter([1.0], column, impulse)  # the first column of C^-1
    variance = np.cumsum(np.cumsum(inverse) ** 2)  # of sum t: the squared norm of row t of A C^-1
    scale = sensitivity(column, rounds, participations, separation)
    return scale * math.sqrt(float(variance.mean())), scale * math.sqrt(float(variance.max()))


def least_error(rounds: int, participations: int, separation: int) -> float:
    """No matrix mechanism whatever has a smaller root mean squared error of prefix sums, in the units of
    ``prefix_errors``.

    The rounds fall into ``gap`` patterns of rounds ``gap`` apart, so that some pattern moves at least 1 / gap of C's
    squared Frobenius norm; and the nuclear norm of a product is at most the product of Frobenius norms. The singular
    values of the prefix sums are 1 / (2 sin((2j - 1) pi / (4n + 2))).
    """
    gap = max(separation, -(-rounds // participations))
    angles = (2 * np.arange(1, rounds + 1) - 1) * math.pi / (4 * rounds + 2)
    nuclear = float((0.5 / np.sin(angles)).sum())
    return nuclear / math.sqrt(rounds * gap)


def _checked(coefficients: ArrayLike) -> Floats:
    column = np.asarray(coefficients, dtype=np.float64)
    if column.ndim != 1 or len(column) == 0 or column[-1] < 0 or (np.diff(column) > 0).any() or not column[0] > 0:
        raise BadInput(
            "the coefficients of C must be a list of numbers that starts above 0, never grows, never is less"
        )
    return column
