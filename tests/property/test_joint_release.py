"""Laws of the joint release: one account for all parts, bounded slots, and a clip that comes from both sides."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from tacit_privacy.accounting.events import Sampling
from tacit_privacy.contract import LEVELS, AdapterSpec, LinearSpec, Statistic
from tacit_privacy.errors import BadInput, UpdateRefused
from tacit_privacy.mechanisms.adaptive import WITHIN_CLIP, AdaptiveClip
from tacit_privacy.mechanisms.gaussian import GaussianSum, clip_to_grid
from tacit_privacy.mechanisms.joint import JointSum, Slot, norm, to_slot
from tacit_privacy.mechanisms.noise import SeededNoise
from tacit_server.aggregation.joint import RoundSum

SPEC = AdapterSpec(model="m", method="ffa", rank=3, alpha=2, seed=1, linear=(LinearSpec(name="w", rows=5, columns=4),))
LOSS = Statistic(name="loss", low=0.0, high=6.0)
METRIC = Statistic(name="metric", low=0.0, high=1.0)
SAMPLING = Sampling(kind="fixed", cohort=10, population=100)
multipliers = st.floats(0.05, 200)
numbers = st.floats(-1e9, 1e9) | st.just(math.nan) | st.just(math.inf) | st.just(-math.inf) | st.none()


def joint(noise: float = 1.0, *slots: float) -> JointSum:
    named = zip((WITHIN_CLIP, LOSS, METRIC), slots, strict=False)
    return JointSum(2.0, noise, LEVELS, tuple(Slot(statistic, multiplier) for statistic, multiplier in named))


@given(multipliers, st.lists(multipliers, min_size=1, max_size=3))
def test_the_parts_add_up_to_the_whole_or_are_refused(noise: float, slots: list[float]) -> None:
    left = noise**-2 - sum(slot**-2 for slot in slots)
    assume(abs(left) > 1e-12 * noise**-2)
    if left < 0:
        with pytest.raises(BadInput, match="leave nothing"):
            joint(noise, *slots)
        return
    event = joint(noise, *slots).event(SAMPLING)
    assert [part.name for part in event.parts] == ["adapter", "within_clip", "loss", "metric"][: len(slots) + 1]
    assert event.noise_multiplier == noise
    assert sum(part.noise_multiplier**-2 for part in event.parts) == pytest.approx(noise**-2, rel=1e-9)


def test_the_bit_of_a_hundred_devices_costs_half_a_percent() -> None:
    """The figure of the paper's setting: z = 1, 100 devices, noise of 5 devices on the number of bits."""
    adapter = joint(1.0, 2 * 5.0).adapter.noise_multiplier
    assert adapter == pytest.approx((1 - 10**-2) ** -0.5) == pytest.approx(1.005, abs=1e-4)


@given(multipliers)
def test_without_statistics_it_is_the_one_part_mechanism(noise: float) -> None:
    plain, whole = GaussianSum(2.0, noise), JointSum.of(GaussianSum(2.0, noise))
    total = np.arange(-4, 4)
    release = whole.release_all(total, SeededNoise(1), 10.0, "release 1")
    assert release.mean.tolist() == plain.release(total, SeededNoise(1), 10.0, "release 1").tolist()
    assert release.statistics == {} and whole.event(SAMPLING) == plain.event(SAMPLING)


@given(st.floats(-100, 100), st.floats(1e-3, 100), numbers, st.sampled_from([2**8, LEVELS, 2**26]))
def test_a_slot_is_bounded_and_says_its_number(low: float, width: float, value: float | None, levels: int) -> None:
    statistic = Statistic(name="loss", low=low, high=low + width)
    slot = to_slot(statistic, value, levels)
    assert abs(slot) <= levels
    middle = (statistic.low + statistic.high) / 2
    if value is None or math.isnan(value):
        assert slot == 0
    else:
        told = middle + slot / levels * (statistic.high - statistic.low) / 2
        cut = min(max(value, statistic.low), statistic.high)
        assert told == pytest.approx(cut, abs=width / levels + 1e-9 * (abs(low) + width))
        assert abs(told - middle) <= abs(cut - middle) + 1e-9 * (abs(low) + width)  # truncation never adds


@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e300, 1e300)))
def test_the_norm_is_that_of_exact_arithmetic(update: NDArray[np.float64]) -> None:
    assert norm(update) == pytest.approx(math.hypot(*update.tolist()), rel=1e-12)


@given(st.lists(st.tuples(st.integers(1, 3), st.lists(numbers, min_size=3, max_size=3)), max_size=12))
def test_sums_are_exact_and_without_noise_give_the_means(sent: list[tuple[int, list[float | None]]]) -> None:
    """Slots stand right behind each device's own prefix; who has no number counts as the middle of the range."""
    quiet = joint(1e-9, *[3e-9] * 3)  # noise far below a grid step
    total, rng = RoundSum(SPEC, quiet), np.random.default_rng(3)
    expected = np.zeros(SPEC.dimension, dtype=np.int64)
    for device, (rank, values) in enumerate(sent):
        update = clip_to_grid(rng.normal(size=SPEC.prefix(rank)), quiet.clip_norm)
        slots = [to_slot(s, v, LEVELS) for s, v in zip(quiet.statistics, values, strict=True)]
        total.add(device, np.concatenate([update, np.array(slots, np.int32)]), rank)
        expected[: len(update)] += update
    assert total.total[: SPEC.dimension].tolist() == expected.tolist()
    cohort = 15  # planned; fewer came
    release = quiet.release_all(total.total, SeededNoise(1), cohort, "release 1")
    for index, statistic in enumerate(quiet.statistics):
        told = [values[index] for _, values in sent]
        middle = (statistic.low + statistic.high) / 2
        known = [min(max(v, statistic.low), statistic.high) for v in told if v is not None and not math.isnan(v)]
        mean = (sum(known) + middle * (cohort - len(known))) / cohort
        assert release.statistics[statistic.name] == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v: v[:-1], "wrong_shape"),
        (lambda v: np.append(v, 0).astype(np.int32), "wrong_shape"),
        (lambda v: v.astype(np.int64), "wrong_dtype"),
        (lambda v: np.full(len(v), np.nan, np.float32), "non_finite"),
        (lambda v: v.reshape(1, -1), "wrong_shape"),
        (lambda v: np.append(v[:-1], LEVELS + 1).astype(np.int32), "statistic"),
        (lambda v: np.append(v[:-1], -(2**31)).astype(np.int32), "statistic"),
        (lambda v: np.append(np.full(len(v) - 1, LEVELS), 0).astype(np.int32), "norm"),
    ],
)
def test_what_is_out_of_bounds_costs_its_sender_and_changes_no_sum(change: Any, reason: str) -> None:
    total = RoundSum(SPEC, joint(1.0, 5.0))
    good = np.append(clip_to_grid(np.ones(SPEC.prefix(2)), 2.0), LEVELS).astype(np.int32)
    total.add(1, good, 2)
    before = total.total
    with pytest.raises(UpdateRefused) as refused:
        total.add(2, change(good), 2)
    assert refused.value.reason == reason
    assert total.total.tolist() == before.tolist() and total.devices == [1]


def test_a_statistic_is_never_weighted() -> None:
    total = RoundSum(SPEC, joint(1.0, 5.0))
    sent = np.append(clip_to_grid(np.ones(SPEC.prefix(3)), 2.0), -LEVELS).astype(np.int32)
    total.add(1, sent, 3, weight=0.25)
    assert total.total[-1] == -LEVELS
    assert total.total[:-1].tolist() == np.trunc(sent[:-1] * 0.25).tolist()


def test_noise_has_the_scale_that_the_parts_say() -> None:
    mechanism = joint(2.0, 8.0, 9.0, 10.0)
    draws = [mechanism.release_all(np.zeros(43, np.int64), SeededNoise(n), 20.0, "r") for n in range(800)]
    for slot in mechanism.slots:
        found = np.array([draw.statistics[slot.statistic.name] for draw in draws])
        half = (slot.statistic.high - slot.statistic.low) / 2
        assert found.std() == pytest.approx(slot.noise_multiplier * half / 20.0, rel=0.1)
        assert found.mean() == pytest.approx((slot.statistic.low + slot.statistic.high) / 2, abs=0.1 * half * 10)
    updates = np.stack([draw.mean for draw in draws])
    assert updates.std() == pytest.approx(mechanism.adapter.noise_multiplier * 2.0 / 20.0, rel=0.02)
    assert mechanism.adapter.noise_multiplier > mechanism.noise_multiplier


def followed(start: float, quantile: float, norms: NDArray[np.float64], rounds: int) -> float:
    rule = AdaptiveClip(quantile, 0.2, 1e-9, 1e9)
    for _ in range(rounds):
        start = rule.after(start, float(np.mean(norms <= start)))
    return start


@pytest.mark.parametrize("start", [0.1, 10.0])
def test_updates_of_norm_one_draw_the_clip_to_one(start: float) -> None:
    """Flower 1.41 goes from 0.1 to 0.037, 0.0135 and 0.005 in 10, 20 and 30 rounds, and from 10 to 27, 74 and 201."""
    norms, at = np.ones(100), [followed(start, 0.5, np.ones(100), rounds) for rounds in (10, 20, 30)]
    distance = [abs(math.log(clip)) for clip in (start, *at)]
    assert distance[0] > distance[1] > distance[2] and distance[3] <= 0.1 + 1e-12
    assert followed(start, 0.5, norms, 200) == pytest.approx(1.0, rel=0.11)


@given(st.floats(1e-4, 1e4), st.floats(0.05, 0.95), st.integers(0, 2**32))
def test_the_clip_comes_to_the_quantile_from_wherever_it_starts(start: float, quantile: float, seed: int) -> None:
    norms = np.random.default_rng(seed).lognormal(0.0, 1.0, 400)
    found = followed(start, quantile, norms, 1500)
    assert np.mean(norms <= found) == pytest.approx(quantile, abs=0.06)


@given(st.floats(1e-3, 1e3), st.floats(-1e6, 1e6), st.floats(0.01, 50))
def test_the_clip_stays_within_what_was_promised(clip: float, within: float, rate: float) -> None:
    after = AdaptiveClip(0.5, rate, 1e-3, 1e3).after(clip, within)
    assert 1e-3 <= after <= 1e3
    assert (after - clip) * (within - 0.5) <= 1e-9 * clip  # too many within: smaller; too few: larger
