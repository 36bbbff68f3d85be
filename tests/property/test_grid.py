"""Clipping to the grid, checking and adding: exact in integers, for any layout, type, size and scale of the input."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from tacit_privacy.contract import LEVELS, AdapterSpec, LinearSpec
from tacit_privacy.errors import BadInput, NonFiniteUpdate, UpdateRefused
from tacit_privacy.mechanisms import gaussian, grid
from tacit_privacy.mechanisms.gaussian import GaussianSum, clip, clip_to_grid
from tacit_privacy.mechanisms.grid import GridSum, within
from tacit_server.aggregation.sums import CohortSum

FLOATS: list[np.dtype[Any]] = [np.dtype(np.float32), np.dtype(np.float64)]
all_levels = st.sampled_from([1, 7, 2**10, LEVELS, 2**26 - 1, 2**26])
clip_norms = st.floats(1e-300, 1e300) | st.floats(1e-3, 1e3)
any_update = st.sampled_from(FLOATS).flatmap(
    lambda kind: hnp.arrays(kind, st.integers(0, 700), elements={"allow_nan": False, "allow_infinity": False})
)


def norm_squared(vector: NDArray[np.int32]) -> int:
    return sum(int(entry) ** 2 for entry in vector)


@given(update=any_update, clip_norm=clip_norms, levels=all_levels)
@example(update=np.full(600, 3e38, np.float32), clip_norm=1.0, levels=2**26)
@example(update=np.full(600, 1e-45, np.float32), clip_norm=1e-44, levels=2**26)
@example(update=np.full(3, 1.7e308), clip_norm=1e-300, levels=LEVELS)
@example(update=np.full(3, 5e-324), clip_norm=1e-300, levels=LEVELS)
def test_a_grid_vector_is_within_its_levels_whatever_the_update(
    update: NDArray[np.floating], clip_norm: float, levels: int
) -> None:
    found = clip_to_grid(update, clip_norm, levels)
    assert found.dtype == np.int32 and found.shape == update.shape
    assert norm_squared(found) <= levels**2
    assert (np.sign(found) * np.sign(update) >= 0).all()


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("levels", [LEVELS, 2**26])
@pytest.mark.parametrize("side", [1, 2, 32, 256])
def test_roundings_that_truncation_does_not_take_back_leave_the_norm_within(
    side: int, levels: int, kind: np.dtype[Any]
) -> None:
    """Equal entries that scale to whole numbers exactly: had one product been rounded up, the norm would be above."""
    for entry in np.random.default_rng(side).uniform(1, 2, 100):
        assert norm_squared(clip_to_grid(np.full(side**2, entry, dtype=kind), 1.0, levels)[:1]) * side**2 <= levels**2


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32),
    size=st.integers(1, 3000) | st.sampled_from([2**16, 2**16 + 1, 200_001]),
    over=st.sampled_from([1e-3, 1 - 1e-9, 1.0, 1 + 1e-9, 5.0, 1e6]),
    levels=all_levels,
    kind=st.sampled_from(FLOATS),
)
def test_the_grid_keeps_what_clipping_keeps(
    seed: int, size: int, over: float, levels: int, kind: np.dtype[Any]
) -> None:
    """Beside the plain one: below it by a step and one part in 100,000, never above by more than a rounding."""
    drawn = np.random.default_rng(seed).standard_normal(size)
    update = (drawn * (over / np.linalg.norm(drawn))).astype(kind)
    found, exact = clip_to_grid(update, 1.0, levels), clip(update, 1.0) * levels
    assert norm_squared(found) <= levels**2
    assert (np.abs(found) <= np.abs(exact) * (1 + 2e-7)).all()
    assert (np.abs(found) >= np.abs(exact) * (1 - 1e-5) - 1).all()


@given(update=any_update, block=st.integers(1, 300), stride=st.integers(1, 3))
def test_no_result_depends_on_blocks_or_layout(update: NDArray[np.floating], block: int, stride: int) -> None:
    spread = np.zeros((len(update), stride), dtype=update.dtype)
    spread[:, 0] = update
    expected = clip_to_grid(update, 2.0)
    with pytest.MonkeyPatch.context() as patch:
        for module in (gaussian, grid):
            patch.setattr(module, "BLOCK", block)
        assert (clip_to_grid(spread[:, 0], 2.0) == expected).all()
        assert (clip_to_grid(update.tolist(), 2.0) == clip_to_grid(update.astype(np.float64), 2.0)).all()
        GaussianSum(2.0, 1.0).check(expected, len(update))


@given(
    vector=hnp.arrays(np.int32, st.integers(0, 40)),
    levels=all_levels,
    block=st.integers(1, 41),
)
def test_a_norm_is_judged_in_integers(vector: NDArray[np.int32], levels: int, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid, "BLOCK", block)
        for shrunk in (vector, vector >> 6, vector >> 14):
            assert within(shrunk, levels) == (norm_squared(shrunk) <= levels**2)


@pytest.mark.parametrize("spread", [1, 1000, 70_000, 500_000])
@pytest.mark.parametrize("levels", [LEVELS, 2**26])
def test_one_step_too_many_is_seen_in_a_long_vector(spread: int, levels: int) -> None:
    """Squares that add up to levels^2 exactly, then one more."""
    vector = np.zeros(spread + 1, dtype=np.int32)
    entry = math.isqrt(levels**2 // spread)
    vector[:spread] = entry
    left = levels**2 - spread * entry**2
    remainder = []
    while left:
        remainder.append(math.isqrt(left))
        left -= remainder[-1] ** 2
    vector = np.concatenate([vector, np.array(remainder, dtype=np.int32)])
    assert norm_squared(vector) == levels**2
    assert within(vector, levels)
    vector[spread] = 1
    assert not within(vector, levels)


@given(
    size=st.integers(1, 800),
    at=st.integers(0, 799),
    bad=st.sampled_from([math.nan, math.inf, -math.inf]),
    rest=st.sampled_from([0.0, 1.0, 1e38]),
    kind=st.sampled_from(FLOATS),
)
def test_one_entry_that_is_no_number_is_enough(
    size: int, at: int, bad: float, rest: float, kind: np.dtype[Any]
) -> None:
    update = np.full(size, rest, dtype=kind)
    update[at % size] = bad
    with pytest.raises(NonFiniteUpdate):
        clip_to_grid(update, 1.0)


@pytest.mark.parametrize(("clip_norm", "levels"), [(0.0, 1), (-1.0, 1), (math.nan, 1), (math.inf, 1), (1.0, 2**27)])
def test_a_grid_that_cannot_be_is_refused(clip_norm: float, levels: int) -> None:
    with pytest.raises(BadInput):
        clip_to_grid([1.0], clip_norm, levels)


@pytest.mark.parametrize("levels", [2**26, 2**29, 2**31 - 1])
def test_sums_are_those_of_unbounded_integers(levels: int) -> None:
    """Long enough for the 32 bits to be carried over many times, signs and prefixes included."""
    rng = np.random.default_rng(levels)
    total, expected = GridSum(5, levels), [0] * 5
    for number in range(200):
        vector = rng.integers(-levels, levels, rng.integers(0, 6), dtype=np.int32, endpoint=True)
        if number % 3:
            vector[:] = levels
        total.add(vector)
        for index, entry in enumerate(vector.tolist()):
            expected[index] += entry
        if number % 50 == 0:
            assert total.total.tolist() == expected
    assert total.total.dtype == np.int64
    assert total.total.tolist() == expected


def test_a_cohort_of_the_longest_vectors_does_not_overflow() -> None:
    linear = (LinearSpec(name="w", rows=2, columns=2),)
    spec = AdapterSpec(model="m", method="ffa", rank=1, alpha=1, seed=1, linear=linear)
    total, longest = CohortSum(spec, GaussianSum(1.0, 0.0, 2**26)), np.array([0, -(2**26)], dtype=np.int32)
    for device in range(100):
        total.add(device, longest, 1)
    total.add(100, longest, 1, weight=0.3)
    with pytest.raises(UpdateRefused, match="norm"):
        total.add(101, longest - 1, 1)
    assert total.total.tolist() == [0, -100 * 2**26 - int(0.3 * 2**26)]
