"""Which device holds which example: index arrays, every example once, no device empty."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.errors import BadInput

Indices = NDArray[np.int64]


def sizes(rng: np.random.Generator, examples: int, devices: int, sigma: float) -> Indices:
    """How many examples each device gets: log-normal shares, at least one, adding up to ``examples``."""
    if devices > examples:
        raise BadInput(f"{examples} examples cannot go to {devices} devices; lower fleet.devices")
    share = rng.lognormal(0.0, sigma, devices)
    extra = rng.multinomial(examples - devices, share / share.sum())
    return np.asarray(extra + 1, dtype=np.int64)


def iid(rng: np.random.Generator, examples: int, devices: int, sigma: float) -> list[Indices]:
    """Shuffled and dealt out."""
    order = rng.permutation(examples)
    return np.split(order, np.cumsum(sizes(rng, examples, devices, sigma))[:-1])


def dirichlet(
    rng: np.random.Generator, labels: Sequence[int], devices: int, alpha: float, sigma: float
) -> list[Indices]:
    """Label skew (Hsu et al. 2019): each device draws its mix of labels from Dirichlet(alpha), then examples by it.

    Where a label has run out, the rest of the mix decides; every example is given away exactly once.
    """
    truth = np.asarray(labels)
    classes = np.unique(truth)
    pools = [list(rng.permutation(np.flatnonzero(truth == label))) for label in classes]
    wanted = sizes(rng, len(truth), devices, sigma)
    given: list[Indices] = []
    for size in wanted:
        mix = rng.dirichlet(np.full(len(classes), alpha))
        taken: list[int] = []
        while len(taken) < size:
            left = np.array([len(pool) for pool in pools], dtype=np.float64)
            weight = mix * (left > 0)
            weight = weight / weight.sum() if weight.sum() > 1e-300 else left / left.sum()
            drawn = np.minimum(rng.multinomial(size - len(taken), weight), left.astype(np.int64))
            for pool, count in zip(pools, drawn, strict=True):
                taken += [pool.pop() for _ in range(int(count))]
        given.append(np.array(taken, dtype=np.int64))
    return given


def natural(users: Sequence[str], minimum: int, maximum: int) -> list[Indices]:
    """One device per user with at least ``minimum`` examples, in order of the users' first appearance."""
    found: dict[str, list[int]] = {}
    for index, user in enumerate(users):
        found.setdefault(user, []).append(index)
    return [np.array(rows[:maximum], dtype=np.int64) for rows in found.values() if len(rows) >= minimum]
