"""Mechanism, accounting, budget and ledger: the laws they must keep."""

import math
import secrets

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tacit_privacy.accounting.bounds import bounds, smallest
from tacit_privacy.accounting.events import Adjacency, Exposure, Sampling
from tacit_privacy.accounting.gaussian import delta_of, epsilon_of, mu_for
from tacit_privacy.accounting.plan import Plan
from tacit_privacy.accounting.poisson import epsilon_poisson
from tacit_privacy.contract import LEVELS
from tacit_privacy.errors import NonFiniteUpdate, UpdateRefused
from tacit_privacy.mechanisms.gaussian import GaussianSum, clip, clip_to_grid
from tacit_privacy.mechanisms.noise import NoiseSource, SeededNoise, SystemNoise, _system_words

finite = st.floats(-1e30, 1e30, allow_nan=False)
updates = st.lists(finite, min_size=1, max_size=40).map(np.array)
FIXED = Sampling(kind="fixed", cohort=200, population=2000)


@given(update=updates, bound=st.floats(1e-6, 1e6))
def test_clipping_never_exceeds_the_bound(update: NDArray[np.float64], bound: float) -> None:
    assert np.linalg.norm(clip(update, bound)) <= bound * (1 + 1e-12)


@given(update=updates, bound=st.floats(1e-6, 1e6), levels=st.sampled_from([2**10, LEVELS, 2**26]))
def test_a_grid_vector_is_within_the_clip_exactly(update: NDArray[np.float64], bound: float, levels: int) -> None:
    grid = clip_to_grid(update, bound, levels)
    assert sum(int(x) ** 2 for x in grid) <= levels**2
    GaussianSum(bound, 1.0, levels).check(grid, len(update))


@pytest.mark.parametrize("bad", [[math.nan, 1e6], [math.inf], [-math.inf, 0.0]])
def test_non_finite_updates_are_refused_before_clipping(bad: list[float]) -> None:
    with pytest.raises(NonFiniteUpdate):
        clip_to_grid(bad, 1.0)


def test_a_zero_update_stays_zero() -> None:
    assert not clip_to_grid(np.zeros(5), 1.0).any()


@pytest.mark.parametrize(
    ("vector", "reason"),
    [
        (np.array([0.5, 1.0]), "wrong_dtype"),
        (np.zeros((2, 1), np.int32), "wrong_shape"),
        (np.array([LEVELS, 1], np.int32), "norm"),
        (np.array([-(2**31), 0], np.int32), "norm"),
        (np.array([math.nan, 0.0]), "non_finite"),
    ],
)
def test_the_server_checks_what_a_device_sends(vector: NDArray[np.generic], reason: str) -> None:
    with pytest.raises(UpdateRefused) as refused:
        GaussianSum(1.0, 1.0).check(vector, 2)
    assert refused.value.reason == reason


@pytest.mark.parametrize("sigma", [0.6, 1.0, 7.5, 0.53 * LEVELS])
def test_discrete_gaussian_has_the_moments_of_its_law(sigma: float) -> None:
    size = 200_000
    drawn = SeededNoise(1).discrete_gaussian(sigma, size, "moments")
    support = np.arange(-60, 61) if sigma < 10 else None
    variance = sigma**2
    if support is not None:
        weight = np.exp(-(support**2) / (2 * sigma**2))
        variance = float((support**2 * weight).sum() / weight.sum())
    assert abs(drawn.mean()) < 6 * math.sqrt(variance / size)
    assert drawn.var() == pytest.approx(variance, rel=0.03)


def test_seeded_noise_repeats_by_label_and_system_noise_never() -> None:
    first, again = (SeededNoise(3).discrete_gaussian(1e5, 64, "release 1") for _ in range(2))
    assert (first == again).all()
    assert (first != SeededNoise(3).discrete_gaussian(1e5, 64, "release 2")).any()
    drawn = [SystemNoise().discrete_gaussian(1e5, 64, "same") for _ in range(2)]
    assert (drawn[0] != drawn[1]).any()


def test_a_key_of_the_operating_systems_serves_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words are the key stream of AES-256, here by another road: each block is an encrypted counter."""
    keys: list[bytes] = []

    def urandom(size: int) -> bytes:
        keys.append(secrets.token_bytes(size))
        return keys[-1]

    monkeypatch.setattr("tacit_privacy.mechanisms.noise.os.urandom", urandom)
    drawn = [_system_words(count) for count in (5, 5, 0, 70_000)]
    assert [len(words) for words in drawn] == [5, 5, 0, 70_000] and len(set(keys)) == 4
    for key, words in zip(keys, drawn, strict=True):
        blocks = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()
        counted = blocks.update(b"".join(number.to_bytes(16, "big") for number in range(-(-len(words) // 2))))
        assert words.tobytes() == counted[: 8 * len(words)]


@pytest.mark.parametrize("noise", [SeededNoise(1), SystemNoise()], ids=["seeded", "system"])
@pytest.mark.parametrize("rate", [0.0, 0.03, 0.5, 1.0])
def test_coins_fall_at_their_rate(noise: NoiseSource, rate: float) -> None:
    size = 100_000
    heads = np.count_nonzero(noise.coins(rate, size, "coins"))
    assert abs(heads - rate * size) <= 6 * math.sqrt(rate * (1 - rate) * size)


@given(mu=st.floats(0.01, 20), delta=st.floats(1e-12, 0.1))
def test_epsilon_is_on_the_exact_curve_and_never_below(mu: float, delta: float) -> None:
    epsilon = epsilon_of(mu, delta)
    assert delta_of(mu, epsilon) <= delta
    if epsilon > 1e-6:
        assert delta_of(mu, epsilon * (1 - 1e-6)) > delta


@given(epsilon=st.floats(0.05, 50), delta=st.floats(1e-12, 0.1))
def test_calibration_inverts_the_accountant(epsilon: float, delta: float) -> None:
    assert epsilon_of(mu_for(epsilon, delta), delta) == pytest.approx(epsilon, rel=1e-6)
    assert epsilon_of(mu_for(epsilon, delta), delta) <= epsilon


@pytest.mark.parametrize("delta", [1e-300, 1e-9, 0.5, 0.999])
def test_the_curve_goes_on_where_numbers_end(delta: float) -> None:
    """Less and less noise: epsilon grows without a jump, and ends at infinity instead of in an error."""
    found = [epsilon_of(mu, delta) for mu in (0.0, 1e-300, 1.0, 9.9e4, 99_999.99, 100_000.01, 1e10, 1e150)]
    assert found == sorted(found) and found[4] == pytest.approx(found[5], rel=1e-6)
    assert found[-1] == pytest.approx(5e299)
    assert [epsilon_of(mu, delta) for mu in (1e200, math.inf)] == [math.inf] * 2
    mus = [mu_for(epsilon, delta) for epsilon in (1.0, 4.99e9, 5.01e9, 1e20, 1e300)]
    assert mus == sorted(mus) and mus[1] == pytest.approx(mus[2], rel=1e-2)
    assert [epsilon_of(mu, delta) for mu in mus[3:]] == pytest.approx([1e20, 1e300])


@pytest.mark.parametrize(
    ("noise", "rate", "rounds"), [(0.05, 0.1, 10), (1e-200, 0.5, 3), (1e300, 0.5, 3), (1, 0.5, 10**9)]
)
def test_where_distributions_do_not_fit_the_bound_without_sampling_stands(
    noise: float, rate: float, rounds: int
) -> None:
    assert epsilon_poisson(noise, rate, rounds, 1e-5) == epsilon_of(math.sqrt(rounds) / noise, 1e-5)


@pytest.mark.parametrize("noise", [0.16, 0.5, 3.0])
def test_sampling_never_costs_more_than_none(noise: float) -> None:
    assert epsilon_poisson(noise, 0.2, 4, 1e-5) < epsilon_of(2 / noise, 1e-5)


def test_next_to_no_noise_is_no_bound_and_no_error() -> None:
    for kind in ("fixed", "poisson"):
        event = GaussianSum(1.0, 1e-200).event(FIXED.model_copy(update={"kind": kind}))
        listed = bounds({event: 3}, Exposure(1, sealed=True), 1e-5)
        assert {bound.epsilon for bound in listed} == {math.inf}


@pytest.mark.parametrize(
    ("mu", "delta", "expected"),
    # Exact curve: Gboard es-ES rho 0.81 at 1e-10 is 8.55; z = 1, ten rounds at 1e-6 is 19.42; z = 4, fifty rounds 9.48
    [(math.sqrt(2 * 0.81), 1e-10, 8.55), (math.sqrt(10), 1e-6, 19.42), (math.sqrt(50) / 4, 1e-6, 9.48)],
)
def test_known_values_of_the_exact_curve(mu: float, delta: float, expected: float) -> None:
    assert epsilon_of(mu, delta) == pytest.approx(expected, abs=0.01)


def test_poisson_by_pld_matches_the_published_value() -> None:
    assert epsilon_poisson(1.0, 0.01, 1000, 1e-6) == pytest.approx(2.125, abs=0.01)


def test_amplification_is_listed_only_while_the_roster_is_sealed() -> None:
    event = GaussianSum(1.0, 1.0).event(Sampling(kind="poisson", cohort=20, population=2000))
    opened = bounds({event: 50}, Exposure(1), 1e-5)
    sealed = bounds({event: 50}, Exposure(50, sealed=True), 1e-5)
    assert not any("Poisson" in bound.assumption for bound in opened)
    assert smallest(sealed, Adjacency.ZERO_OUT).accountant == "dp-accounting PLD"


def test_a_plan_costs_the_same_for_any_number_of_rounds() -> None:
    plan = Plan.of("none", None, None, 10**15, None, 1e-5, "zero-out")
    assert plan.bounds(1e7)[1].epsilon == pytest.approx(epsilon_of(math.sqrt(1e15) / 1e7, 1e-5))


def test_mixed_noise_is_charged_for_the_least_noisy_releases() -> None:
    weak = GaussianSum(1.0, 0.5).event(FIXED)
    strong = GaussianSum(1.0, 5.0).event(FIXED)
    listed = bounds({strong: 2, weak: 1}, Exposure(1), 1e-5)
    assert smallest(listed, Adjacency.ZERO_OUT).epsilon == epsilon_of(2.0, 1e-5)
