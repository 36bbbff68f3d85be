"""Laws of updates in few bits: never longer than the clip, unbiased, one reading of the bytes, the same sums."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from tacit_privacy.contract import LEVELS, AdapterSpec, Bits, LinearSpec, Statistic
from tacit_privacy.errors import BadInput, UpdateRefused
from tacit_privacy.mechanisms import coding as coding_module
from tacit_privacy.mechanisms.coding import Coding, update_bytes
from tacit_privacy.mechanisms.gaussian import clip_to_grid
from tacit_privacy.mechanisms.grid import most_squares
from tacit_privacy.mechanisms.joint import JointSum, Slot
from tacit_privacy.mechanisms.noise import SeededNoise, SystemNoise
from tacit_server.aggregation.joint import RoundSum

FEW: tuple[Bits, ...] = (8, 4)
MOST = {8: 127, 4: 7}
NONE = np.zeros(0, dtype=np.int32)
few_bits = st.sampled_from(FEW)
all_levels = st.sampled_from([2**8, 1000, LEVELS, 2**26])


def drawn_update(seed: int, size: int, power: int) -> NDArray[np.float32]:
    """Normal numbers to an odd power: the higher, the heavier the tails."""
    normal: NDArray[np.float64] = np.random.default_rng(seed).standard_normal(size)
    return (normal**power).astype(np.float32)


any_update = hnp.arrays(
    np.float32, st.integers(0, 300), elements={"allow_nan": False, "allow_infinity": False}
) | st.builds(drawn_update, st.integers(0, 2**32), st.integers(1, 3000), st.sampled_from([1, 3, 9]))


def squares(vector: NDArray[Any]) -> int:
    return sum(int(entry) ** 2 for entry in vector)


@settings(deadline=None)
@given(
    update=any_update,
    clip_norm=st.floats(1e-9, 1e9),
    bits=few_bits,
    levels=all_levels,
    slots=hnp.arrays(np.int32, st.integers(0, 3), elements=st.integers(-(2**26), 2**26)),
    seed=st.integers(0, 2**32),
)
@example(np.full(300, 3e38, np.float32), 1.0, 4, 2**26, NONE, 1)
@example(np.full(1, 1.0, np.float32), 1.0, 4, 2**8, NONE, 1)
def test_what_is_sent_is_within_the_clip_whatever_the_update(
    update: NDArray[np.float32], clip_norm: float, bits: Bits, levels: int, slots: NDArray[np.int32], seed: int
) -> None:
    coding = Coding.of(bits, levels, len(update))
    sent = coding.encode(update, clip_norm, slots, SeededNoise(seed))
    assert sent.dtype == np.uint8 and sent.shape == (update_bytes(len(update), bits) + 4 * len(slots),)
    found = coding.decode(sent, len(update), len(slots))
    grid, behind = found[: len(update)], found[len(update) :]
    assert found.dtype == np.int32 and behind.tolist() == slots.tolist()
    assert squares(grid) <= levels**2
    assert (grid % coding.quantum == 0).all() and (np.abs(grid) <= MOST[bits] * coding.quantum).all()
    assert (np.sign(grid) * np.sign(update) >= 0).all()


@settings(deadline=None)
@given(update=any_update, bits=few_bits, levels=all_levels, stretch=st.integers(1, 40), seed=st.integers(0, 2**32))
@example(np.full(300, 1.0, np.float32), 4, LEVELS, 40, 1)
def test_no_quantum_and_no_draw_carries_a_grid_vector_out_of_the_clip(
    update: NDArray[np.float32], bits: Bits, levels: int, stretch: int, seed: int
) -> None:
    """Also where there is no room for rounding, and where a server chose the quantum badly."""
    grid = clip_to_grid(update, 1.0, levels)
    least = Coding.of(bits, levels, len(update)).quantum
    coding = Coding(bits, min(least * stretch, -(-levels // MOST[bits])), levels)
    codes = coding.quantise(grid, SeededNoise(seed)).astype(np.int64)
    assert squares(codes * coding.quantum) <= levels**2 and (np.abs(codes) <= MOST[bits]).all()
    cut = np.clip(grid.astype(np.int64), -MOST[bits] * coding.quantum, MOST[bits] * coding.quantum)
    assert (np.abs(codes * coding.quantum - cut) < coding.quantum).all()


@pytest.mark.parametrize("bits", FEW)
def test_what_never_fits_is_rounded_toward_zero(bits: Bits) -> None:
    """Norm exactly the clip, and no coordinate a multiple: half of all roundings lengthen it, and d is large."""
    length = 2**16
    grid = np.full(length, LEVELS // 2**8, dtype=np.int32)  # 2^8 = sqrt(length)
    coding = Coding.of(bits, LEVELS, length)
    codes = coding.quantise(grid, SeededNoise(1))
    assert squares(grid) == most_squares(LEVELS)
    assert (codes == LEVELS // 2**8 // coding.quantum).all()


@pytest.mark.parametrize("bits", FEW)
def test_rounding_keeps_the_mean(bits: Bits) -> None:
    length, draws = 1000, 3000
    coding = Coding.of(bits, LEVELS, length)
    shape = np.random.default_rng(1).standard_normal(length).clip(-3, 3)
    grid = clip_to_grid(shape, 1.0, coding.room(length))
    total = np.zeros(length, dtype=np.int64)
    for draw in range(draws):
        total += coding.quantise(grid, SeededNoise(1, draw))
    off = (total / draws - grid / coding.quantum) * math.sqrt(draws) / 0.5  # a coin's deviation is at most a half
    assert np.abs(off).max() < 5.5
    assert abs(off.sum()) < 5 * math.sqrt(length)


@settings(deadline=None, max_examples=25)
@given(length=st.integers(1, 5000), bits=few_bits, levels=all_levels, halves=st.booleans())
def test_the_room_leaves_a_draw_a_fair_chance(length: int, bits: Bits, levels: int, halves: bool) -> None:
    """On the worst vectors too: every coordinate midway between two multiples, so that rounding adds d q^2 / 4."""
    coding = Coding.of(bits, levels, length)
    quantum, room = coding.quantum, coding.room(length)
    even = room / math.sqrt(length)
    size = (math.floor(even / quantum - 0.5) + 0.5) * quantum if halves and even > quantum / 2 else even
    grid = np.full(length, int(min(size, MOST[bits] * quantum)), dtype=np.int32)
    assert squares(grid) <= room**2
    lower, rest = np.divmod(grid, quantum)
    fits = 0
    for draw in range(60):
        up = SeededNoise(1, draw).below(quantum, length, "x") < rest
        fits += squares((lower + up) * quantum) <= levels**2
    assert fits >= 8  # of 60, where 23 are promised in the mean


@given(length=st.integers(1, 10**8), bits=few_bits, levels=all_levels | st.integers(2**8, 2**26))
def test_the_servers_own_choice_makes_sense(length: int, bits: Bits, levels: int) -> None:
    coding = Coding.of(bits, levels, length)
    assert coding.sensible(length)
    assert MOST[bits] * (coding.quantum - 1) < levels
    reach, even = MOST[bits] * coding.quantum, levels / math.sqrt(length)
    assert reach >= min(levels, {8: 12, 4: 4}[bits] * even)


def test_a_coding_that_leaves_nothing_makes_no_sense() -> None:
    assert Coding(32, 1, LEVELS).sensible(10**6) and not Coding(32, 2, LEVELS).sensible(10**6)
    for bits in FEW:
        good = Coding.of(bits, LEVELS, 10**6)
        assert not Coding(bits, LEVELS, LEVELS).sensible(1)  # one code and nothing between
        assert not Coding(bits, good.quantum * 100, LEVELS).sensible(10**6)
        assert Coding(bits, good.quantum * 100, LEVELS).room(10**6) < LEVELS / 2
        assert Coding(bits, 1, LEVELS).room(10**6) == LEVELS
    rooms = [Coding(4, quantum, LEVELS).room(4096) for quantum in range(1, 30_000, 997)]
    assert all(more >= less for more, less in pairwise(rooms))


@given(update=any_update, clip_norm=st.floats(1e-9, 1e9), levels=all_levels)
def test_at_32_bits_the_grid_vector_travels_as_it_is(
    update: NDArray[np.float32], clip_norm: float, levels: int
) -> None:
    coding, slots = Coding.of(32, levels, len(update)), np.array([3, -4], dtype=np.int32)
    sent = coding.encode(update, clip_norm, slots, SystemNoise())
    assert sent.dtype == np.int32
    assert sent.tolist() == [*clip_to_grid(update, clip_norm, levels).tolist(), 3, -4]
    assert coding.decode(sent, len(update), 2) is sent


@given(codes=hnp.arrays(np.int8, st.integers(0, 50), elements=st.integers(-7, 7)))
def test_two_codes_share_a_byte(codes: NDArray[np.int8]) -> None:
    packed = coding_module._pack(codes)
    assert len(packed) == -(-len(codes) // 2) == update_bytes(len(codes), 4)
    assert coding_module._unpack(packed, len(codes)).tolist() == codes.tolist()


def test_the_bytes_are_what_the_docstring_says() -> None:
    slots = np.array([-2, 2**20], dtype=np.int32)
    update = np.array([0.6, -0.2, 0.4])
    eight, four = Coding(8, LEVELS // 10, LEVELS), Coding(4, LEVELS // 10, LEVELS)
    behind = slots.astype("<i4").tobytes()
    for coding, size in ((eight, 3), (four, 2)):
        sent = coding.encode(update, 1.0, slots, SeededNoise(1))
        assert sent.tobytes()[size:] == behind
    assert coding_module._pack(np.array([1, -1, 7], dtype=np.int8)).tolist() == [0xF1, 0x07]


def refusal(coding: Coding, vector: NDArray[Any], length: int, statistics: int) -> str:
    with pytest.raises(UpdateRefused) as refused:
        coding.decode(vector, length, statistics)
    return refused.value.reason


def test_bytes_that_no_device_sends_are_refused() -> None:
    eight, four = Coding.of(8, LEVELS, 5), Coding.of(4, LEVELS, 5)
    whole = eight.encode(np.ones(5), 1.0, NONE, SeededNoise(1))
    assert refusal(eight, whole.astype(np.int8), 5, 0) == "wrong_dtype"
    assert refusal(eight, np.full(5, math.nan, np.float32), 5, 0) == "wrong_dtype"
    for other in (whole[:-1], np.append(whole, np.uint8(0)), whole.reshape(5, 1), np.zeros((), np.uint8)):
        assert refusal(eight, other, 5, 0) == "wrong_shape"
    assert refusal(eight, whole, 5, 1) == "wrong_shape"
    assert refusal(eight, np.array([0, 0, 0x80, 0, 0], np.uint8), 5, 0) == "codes"
    for low, high in ((0x08, 0x80), (0x80, 0x08)):
        assert refusal(four, np.array([low, high, 0], np.uint8), 5, 0) == "codes"
    assert refusal(four, np.array([0, 0, 0x10], np.uint8), 5, 0) == "codes"  # behind the last code
    assert four.decode(np.array([0, 0, 0x07], np.uint8), 5, 0).tolist() == [0, 0, 0, 0, 7 * four.quantum]


@given(bits=few_bits, data=st.binary(max_size=60), length=st.integers(0, 60), statistics=st.integers(0, 2))
def test_any_bytes_are_read_or_refused(bits: Bits, data: bytes, length: int, statistics: int) -> None:
    """And what is read has no other bytes, so that a receipt covers what was counted."""
    coding, vector = Coding(bits, 5, 1000), np.frombuffer(data, dtype=np.uint8)
    try:
        found = coding.decode(vector, length, statistics)
    except UpdateRefused as refused:
        assert refused.reason in ("wrong_shape", "codes")
        return
    codes = (found[:length] // 5).astype(np.int8)
    packed = codes.view(np.uint8) if bits == 8 else coding_module._pack(codes)
    assert packed.tobytes() + found[length:].astype("<i4").tobytes() == data


def test_seeded_rounding_repeats_and_the_systems_does_not() -> None:
    update = np.random.default_rng(1).standard_normal(500)
    for bits in FEW:
        coding = Coding.of(bits, LEVELS, 500)
        first, again, other = (coding.encode(update, 1.0, NONE, SeededNoise(seed)) for seed in (1, 1, 2))
        assert first.tobytes() == again.tobytes() != other.tobytes()
        system = [coding.encode(update, 1.0, NONE, SystemNoise()).tobytes() for _ in range(2)]
        assert system[0] != system[1]


SPEC = AdapterSpec(model="m", method="ffa", rank=3, alpha=2, seed=1, linear=(LinearSpec(name="w", rows=5, columns=4),))
LOSS = Statistic(name="loss", low=0.0, high=6.0)


@pytest.mark.parametrize("bits", FEW)
def test_a_sum_of_coded_updates_is_the_sum_of_what_they_stand_for(bits: Bits) -> None:
    """Each rank has codes of its own; weights and statistics are as at 32 bits."""
    mechanism = JointSum(2.0, 1.0, LEVELS, (Slot(LOSS, 5.0),))
    total, expected = RoundSum(SPEC, mechanism, bits), np.zeros(SPEC.dimension + 1, dtype=np.int64)
    for device, (rank, weight) in enumerate([(1, 1.0), (2, 0.5), (3, 1.0), (3, 0.25)]):
        length = SPEC.prefix(rank)
        coding = Coding.of(bits, LEVELS, length)
        update = np.random.default_rng(device).normal(size=length)
        sent = coding.encode(update, 2.0, np.array([device], np.int32), SeededNoise(device))
        total.add(device, sent, rank, weight)
        grid = coding.decode(sent, length, 1).astype(np.float64)
        expected[:length] += np.trunc(grid[:length] * weight).astype(np.int64)
        expected[-1] += device
    assert total.total.tolist() == expected.tolist()


@pytest.mark.parametrize("bits", FEW)
def test_a_refused_update_leaves_the_sum_as_it_was(bits: Bits) -> None:
    total = RoundSum(SPEC, JointSum(2.0, 1.0, LEVELS, (Slot(LOSS, 5.0),)), bits)
    size = update_bytes(SPEC.dimension, bits)
    longest = np.full(size, {8: 0x7F, 4: 0x77}[bits], np.uint8)
    if bits == 4 and SPEC.dimension % 2:
        longest[-1] = 7
    for vector, reason in (
        (np.zeros(SPEC.dimension + 1, np.int32), "wrong_dtype"),
        (np.concatenate([longest, np.zeros(4, np.uint8)]), "norm"),
        (np.concatenate([np.zeros(size, np.uint8), np.array([LEVELS + 1], "<i4").view(np.uint8)]), "statistic"),
        (np.concatenate([np.zeros(size, np.uint8), np.array([-(2**31)], "<i4").view(np.uint8)]), "statistic"),
    ):
        with pytest.raises(UpdateRefused) as refused:
            total.add(1, vector, 3)
        assert refused.value.reason == reason
    assert not total.total.any() and total.devices == []


@given(bound=st.integers(1, 2**26), size=st.integers(0, 100), seed=st.integers(0, 2**32))
def test_integers_are_below_their_bound(bound: int, size: int, seed: int) -> None:
    for noise in (SeededNoise(seed), SystemNoise()):
        drawn = noise.below(bound, size, "x")
        assert drawn.shape == (size,) and ((drawn >= 0) & (drawn < bound)).all()


@pytest.mark.parametrize("bound", [1, 2, 3, 7, 1000])
def test_integers_are_uniform(bound: int) -> None:
    size = 100_000
    counts = np.bincount(SeededNoise(1).below(bound, size, "x"), minlength=bound)
    off = (counts - size / bound) ** 2 / (size / bound)
    assert off.sum() < bound + 6 * math.sqrt(2 * bound)  # chi squared, six deviations


@pytest.mark.parametrize("bound", [0, -1, 2**26 + 1])
def test_a_bound_that_cannot_be_drawn_below_is_refused(bound: int) -> None:
    with pytest.raises(BadInput, match="below a bound"):
        SeededNoise(1).below(bound, 3, "x")
