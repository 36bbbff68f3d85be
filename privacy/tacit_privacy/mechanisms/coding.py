"""An update in 8 or 4 bits a coordinate: rounded at random on the mechanism's own grid, so that no sensitivity changes.

A device rounds its grid vector to whole multiples of a public quantum and sends how many. What it rounds to is a grid
vector again, of norm at most ``levels`` by the same exact test, so the mechanism and its event stay as they are.
Rounding is stochastic, so that the mean of a cohort is not biased by it (Suresh et al. 2017, arXiv 1611.00429; QSGD,
Alistarh et al. 2017, arXiv 1610.02132), and conditional, so that it never passes the clip (Kairouz et al. 2021, arXiv
2102.06387).
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tacit_privacy.contract import Bits
from tacit_privacy.errors import UpdateRefused
from tacit_privacy.mechanisms.gaussian import clip_to_grid
from tacit_privacy.mechanisms.grid import within
from tacit_privacy.mechanisms.noise import NoiseSource

_SPANS = {8: 12, 4: 4}  # codes reach so many times clip / sqrt(length), the size of a coordinate of an even update
_DRAWS = 16  # each is short enough with a chance of 39 % at least, so one update in 2,900 is rounded down at most
_SLOT_BYTES = 4  # of a statistic, which keeps its full precision


def update_bytes(length: int, bits: Bits) -> int:
    """Bytes of an update of ``length`` coordinates, without statistics."""
    return -(-length * bits // 8)


@dataclass(frozen=True, slots=True)
class Coding:
    """How an update travels: whole codes of ``quantum`` grid steps, ``bits`` bits each; at 32 bits the grid vector.

    ``levels``: grid steps of the clip. All three are public. The quantum is a matter of quality alone: whatever it is,
    what is sent stands for a grid vector of norm at most ``levels``.
    """

    bits: Bits
    quantum: int
    levels: int

    @classmethod
    def of(cls, bits: Bits, levels: int, length: int) -> Self:
        """The coding of an update of ``length`` coordinates: a function of public constants.

        The largest code reaches 12 (8 bits) or 4 (4 bits) times levels / sqrt(length), and never needlessly beyond
        levels. A wider reach cuts fewer coordinates and leaves rounding more to add, which shortens the update
        (``room``); these two kept most of an update of real training (`benchmarks/quantised_updates.py`).
        """
        if bits == 32:
            return cls(bits, 1, levels)
        most, span = _most(bits), _SPANS[bits]
        reached = math.isqrt((span * levels) ** 2 // (most * most * max(length, 1))) + 1
        return cls(bits, min(reached, -(-levels // most)), levels)

    def sensible(self, length: int) -> bool:
        """Whether an update of ``length`` coordinates survives: codes can be used, and half of the clip at least."""
        if self.bits == 32:
            return self.quantum == 1
        return (self.quantum - 1) * _most(self.bits) < self.levels and 2 * self.room(length) >= self.levels

    def room(self, length: int) -> int:
        """The longest norm, in grid steps, that an update is clipped to before it is rounded; 0: there is none.

        With q the quantum and d the length, rounding a vector of norm x gives at most x^2 + d q^2 / 4 + q (x + q
        sqrt(d) / 2) squared with a chance of 1 - e^(-1/2) (Kairouz et al. 2021, beta = e^(-1/2)). For this x that is at
        most levels^2, and for hardly any longer one. A quantum of 1 rounds nothing, so that nothing is shortened.
        """
        if self.quantum == 1:
            return self.levels
        added = self.quantum**2 * (length + 2 * math.isqrt(length) + 2) // 4 + 1
        return max(0, math.isqrt(max(0, self.levels**2 - added)) - self.quantum // 2 - 1)

    def encode(
        self, delta: ArrayLike, clip_norm: float, statistics: NDArray[np.int32], noise: NoiseSource
    ) -> NDArray[np.int32] | NDArray[np.uint8]:
        """What a device sends of its update, shape ``(d,)`` in the units of ``clip_norm``, and its statistics ``(s,)``.

        At 32 bits int32 of shape ``(d + s,)``. Else bytes: 8 bits are one signed byte a code, 4 bits two codes a byte
        in two's complement, the first in the lower half and the last half 0 where d is odd; then the statistics,
        signed, 4 bytes each, lowest first. Raises as ``clip_to_grid`` does.
        """
        room = self.room(np.size(delta))
        update = clip_to_grid(delta, clip_norm * (room / self.levels), room)
        if self.bits == 32:
            return np.concatenate([update, statistics])
        codes = self.quantise(update, noise)
        packed = codes.view(np.uint8) if self.bits == 8 else _pack(codes)
        return np.concatenate([packed, statistics.astype("<i4").view(np.uint8)])

    def quantise(self, grid: NDArray[np.int32], noise: NoiseSource) -> NDArray[np.int8]:
        """Codes of a grid vector of norm at most ``levels``, shapes ``(d,)``.

        Each coordinate is cut to the codes' reach, then goes up or down to a multiple of the quantum, with the chances
        that keep its mean. Guarantee: ``codes * quantum`` has norm at most ``levels``, exactly: a draw that is longer
        is drawn again, and the last resort is to round toward zero, which never lengthens. So the mean is kept up to
        the cut and to what is drawn again.
        """
        most = _most(self.bits)
        sizes = np.minimum(np.abs(grid), most * self.quantum)
        lower, rest = np.divmod(sizes, np.int32(self.quantum))
        signs: NDArray[np.int32] = np.sign(grid)
        for draw in range(_DRAWS):
            up = noise.below(self.quantum, len(grid), f"rounding {draw}") < rest
            codes: NDArray[np.int32] = signs * (lower + up)
            if within(codes * np.int32(self.quantum), self.levels):
                return codes.astype(np.int8)
        return (signs * lower).astype(np.int8)

    def decode(self, vector: NDArray[np.generic], length: int, statistics: int) -> NDArray[np.generic]:
        """The grid vector that was sent, shape ``(length + statistics,)`` int32: the inverse of ``encode``.

        Its norm and the statistics' bounds are not checked. At 32 bits it is ``vector`` as it came, whatever it is.
        Raises UpdateRefused with reason wrong_dtype, wrong_shape or codes: a code that no device sends, or a last half
        byte that is not 0.
        """
        if self.bits == 32:
            return vector
        size = update_bytes(length, self.bits)
        wanted = (size + _SLOT_BYTES * statistics,)
        if vector.dtype != np.uint8:
            raise UpdateRefused("wrong_dtype", f"got {vector.dtype}, want uint8")
        if vector.shape != wanted:
            raise UpdateRefused("wrong_shape", f"got {vector.shape}, want {wanted}")
        sent = np.ascontiguousarray(vector, dtype=np.uint8)
        codes = sent[:size].view(np.int8) if self.bits == 8 else _unpack(sent[:size], length)
        if codes.min(initial=0) < -_most(self.bits):
            raise UpdateRefused("codes", f"a code is below -{_most(self.bits)}")
        slots = np.frombuffer(sent[size:].tobytes(), dtype="<i4")
        return np.concatenate([codes.astype(np.int32) * np.int32(self.quantum), slots.astype(np.int32)])


def _most(bits: Bits) -> int:
    """The largest code; its negative is the smallest."""
    return int(2 ** (bits - 1)) - 1


def _pack(codes: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Codes from -8 to 7, shape ``(d,)``, as half bytes, ``(ceil(d / 2),)``: the first in the lower half."""
    halves = np.zeros(len(codes) + len(codes) % 2, dtype=np.uint8)
    halves[: len(codes)] = codes.view(np.uint8) & 15
    return np.asarray(halves[::2] | halves[1::2] << 4, dtype=np.uint8)


def _unpack(packed: NDArray[np.uint8], length: int) -> NDArray[np.int8]:
    """The inverse of ``_pack``. Raises UpdateRefused where a half byte is left over and not 0."""
    halves = np.stack([packed & 15, packed >> 4], axis=1).ravel()
    if halves[length:].any():
        raise UpdateRefused("codes", "the half byte behind the last code is not 0")
    return np.asarray(((halves[:length] ^ 8).view(np.int8) - np.int8(8)), dtype=np.int8)
