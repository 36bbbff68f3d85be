"""Where random numbers come from: named, independent streams by seed."""

import hashlib

import numpy as np
from numpy.typing import NDArray


def stream(seed: int, *path: str | int) -> np.random.Generator:
    """An independent Philox generator for ``(seed, path)``, the same on every machine and in every process.

    A stream depends on its name alone and never on what was drawn before it, so neither engine, worker count nor
    resumption can change a result. Simulation and public constants only: never for noise that protects anybody.
    """
    name = "\x1f".join(str(part) for part in (seed, *path)).encode()
    key = np.frombuffer(hashlib.sha256(name).digest()[:16], dtype="<u8")
    return np.random.Generator(np.random.Philox(key=key))


def frozen_factor(seed: int, name: str, rank: int, columns: int) -> NDArray[np.float32]:
    """The shared LoRA factor A of module ``name``: Gaussian rows of standard deviation 1/sqrt(columns).

    Shape ``(rank, columns)``. Row k depends on ``(seed, name, k)`` alone, so a device of lower rank draws the very same
    first rows and server and device agree bit for bit (FFA-LoRA, Sun et al. 2024, arXiv 2403.12313).
    """
    rows = [stream(seed, "frozen-factor", name, k).standard_normal(columns) for k in range(rank)]
    return np.asarray(np.stack(rows) / np.sqrt(columns), dtype=np.float32)
