"""Counter-based randomness: a number for (key, device, counter) without any state to step.

Whether a device is plugged in on day 12 must not depend on who asked about day 11, so habits are hashed, not drawn.
The hash is the finaliser of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.randomness import stream

U64 = NDArray[np.uint64]
F32 = NDArray[np.float32]

_DEVICE = np.uint64(0x9E3779B97F4A7C15)  # odd, so distinct (device, counter) pairs of any real fleet stay distinct
_COUNTER = np.uint64(0xD6E8FEB86659FD93)
_MIX1, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)
PART_BITS = 12
_PART = np.uint64((1 << PART_BITS) - 1)
_WIDE_BITS = 32


def key_of(seed: int, purpose: str) -> np.uint64:
    """A 64-bit key for one purpose; purposes are independent of each other and of everything drawn by ``stream``."""
    return np.uint64(stream(seed, "fleet-hash", purpose).integers(0, 2**64, dtype=np.uint64))


def hash64(key: np.uint64, device: NDArray[Any], counter: NDArray[Any] | int) -> U64:
    """64 well-mixed bits for each (key, device, counter). Shapes ``(n,)``, counter ``(n,)`` or a number."""
    with np.errstate(over="ignore"):
        h = device.astype(np.uint64)
        h *= _DEVICE
        if isinstance(counter, np.ndarray):
            h += counter.astype(np.int64).view(np.uint64) * _COUNTER
            h += key
        else:
            h += np.uint64(counter % 2**64) * _COUNTER + key
        h ^= h >> _S30
        h *= _MIX1
        h ^= h >> _S27
        h *= _MIX2
        h ^= h >> _S31
    return h


def part(h: U64, index: int) -> F32:
    """Uniform in (0, 1) from the ``index``-th 12 bits of a hash, index 0 to 4: five numbers for the price of one."""
    bits = (h >> np.uint64(PART_BITS * index)) & _PART
    return (bits.astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-PART_BITS)


def wide(h: U64, index: int) -> NDArray[np.float64]:
    """Uniform in (0, 1) from the low (0) or high (1) 32 bits of a hash: for tails and rare events."""
    bits = (h >> np.uint64(_WIDE_BITS)) if index else (h & np.uint64(2**_WIDE_BITS - 1))
    return np.asarray((bits.astype(np.float64) + 0.5) * 2.0**-_WIDE_BITS)
