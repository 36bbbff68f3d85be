"""Empirical bounds against independent oracles: exact binomials, the Gaussian curve, and many repetitions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import binom, norm

from tacit_privacy.accounting.gaussian import delta_of, epsilon_of
from tacit_privacy.audit.empirical import (
    at_thresholds,
    clopper_pearson,
    epsilon_from_rates,
    epsilon_lower_bound,
    epsilon_two_gaussians,
    held_out,
    jeffreys,
    log_delta_two_gaussians,
    one_shot_estimate,
)
from tacit_privacy.audit.one_run import SHARES, chance_of, curve_allows, epsilon_refuted, mu_refuted, one_run
from tacit_privacy.errors import BadInput

DELTA = 1e-3


@given(trials=st.integers(1, 400), share=st.floats(0, 1), doubt=st.floats(1e-6, 0.4))
def test_clopper_pearson_is_where_the_binomial_tail_is_the_doubt(trials: int, share: float, doubt: float) -> None:
    successes = round(share * trials)
    low, high = (float(bound) for bound in clopper_pearson(successes, trials, doubt))
    assert 0 <= low <= successes / trials <= high <= 1
    if successes:
        assert float(binom.sf(successes - 1, trials, low)) == pytest.approx(doubt, rel=1e-6)
    if successes < trials:
        assert float(binom.cdf(successes, trials, high)) == pytest.approx(doubt, rel=1e-6)
    inner = [float(bound) for bound in jeffreys(successes, trials, doubt)]
    assert low <= inner[0] and inner[1] <= high


def test_no_trial_says_nothing() -> None:
    assert [float(bound) for bound in clopper_pearson(0, 0, 0.05)] == [0.0, 1.0]
    with pytest.raises(BadInput, match="between 0 and the number of trials, 3"):
        clopper_pearson(4, 3, 0.05)
    with pytest.raises(BadInput, match="confidence must lie between 0 and 1"):
        epsilon_lower_bound(1, 2, 1, 2, DELTA, 1.0)


@given(mu=st.floats(0.05, 6), cut=st.floats(0, 1), delta=st.sampled_from([1e-9, 1e-5, 1e-2]))
def test_no_event_of_a_gaussian_proves_more_than_its_curve(mu: float, cut: float, delta: float) -> None:
    cut = mu * cut  # between the two, where no rate is so close to 1 that its complement is lost
    hit, alarm = float(norm.sf(cut - mu)), float(norm.sf(cut))
    assert float(epsilon_from_rates(hit, alarm, delta)) <= epsilon_of(mu, delta) + 1e-6


def test_the_best_event_of_a_gaussian_proves_its_curve() -> None:
    cuts = np.linspace(-5, 8, 20_001)
    assert float(epsilon_from_rates(norm.sf(cuts - 1), norm.sf(cuts), 0.01).max()) == pytest.approx(
        epsilon_of(1.0, 0.01), rel=1e-5
    )


@given(mu=st.floats(0.01, 8), width=st.floats(1e-3, 1e3), delta=st.sampled_from([1e-10, 1e-5, 1e-2]))
def test_two_gaussians_of_one_width_are_a_gaussian_mechanism(mu: float, width: float, delta: float) -> None:
    found = epsilon_two_gaussians(3.0, width, 3.0 + mu * width, width, delta)
    assert found == pytest.approx(epsilon_of(mu, delta), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("mean", "width"), [(1.0, 1.3), (0.0, 0.6), (-2.0, 0.8), (0.5, 1 + 1e-7)])
@pytest.mark.parametrize("epsilon", [0.0, 0.4, 2.0])
def test_delta_of_two_gaussians_is_the_integral_of_what_is_above(mean: float, width: float, epsilon: float) -> None:
    def above(x: float) -> float:
        return max(0.0, float(norm.pdf(x, mean, width)) - math.exp(epsilon) * float(norm.pdf(x)))

    integral = sum(quad(above, a, a + 0.5, limit=200)[0] for a in np.arange(-14, 14, 0.5))
    found = math.exp(log_delta_two_gaussians(mean, width, 0.0, 1.0, epsilon))
    assert found == pytest.approx(integral, rel=1e-5, abs=1e-9)


def test_two_equal_gaussians_cannot_be_told_apart() -> None:
    assert epsilon_two_gaussians(1.0, 2.0, 1.0, 2.0, 1e-5) == 0.0
    with pytest.raises(BadInput, match="positive width"):
        epsilon_two_gaussians(0.0, 0.0, 1.0, 1.0, 1e-5)


def test_held_out_thresholds_cover_the_truth() -> None:
    """The bounds of 300 repetitions pass the true mu no more often than their confidence allows."""
    wrong, mus = 0, []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        events = held_out(rng.normal(1.0, 1.0, 400), rng.normal(0.0, 1.0, 400), DELTA, 0.9)
        mus.append(max(event.mu for event in events))
        wrong += max(event.epsilon for event in events) > epsilon_of(1.0, DELTA) or mus[-1] > 1.0
    assert wrong <= binom.ppf(0.999, 300, 0.1)
    assert float(np.median(mus)) > 0.5


def test_thresholds_share_the_doubt() -> None:
    rng = np.random.default_rng(0)
    seen, unseen = rng.normal(1, 1, 100), rng.normal(0, 1, 100)
    (alone,) = at_thresholds(seen, unseen, [0.5], DELTA, 0.9)
    first, _ = at_thresholds(seen, unseen, [0.5, 1.0], DELTA, 0.9)
    (half,) = at_thresholds(seen, unseen, [0.5], DELTA, 0.95)
    assert first == half and first.epsilon < alone.epsilon
    assert alone.true_positives == int((seen >= 0.5).sum()) and alone.false_positives == int((unseen >= 0.5).sum())


def test_the_estimate_finds_a_gaussian_and_its_interval_the_truth() -> None:
    inside = 0
    for seed in range(200):
        found = one_shot_estimate(np.random.default_rng(seed).normal(1.5, 1.0, 60), DELTA, 0.9)
        assert found is not None and found.low <= found.epsilon <= found.high
        inside += found.low <= epsilon_of(1.5, DELTA) <= found.high
    assert inside >= binom.ppf(0.001, 200, 0.9)
    many = one_shot_estimate(np.random.default_rng(1).normal(1.5, 1.0, 200_000), DELTA, 0.9)
    assert many is not None and many.epsilon == pytest.approx(epsilon_of(1.5, DELTA), rel=0.05)


@pytest.mark.parametrize("scores", [[], [1.0, 2.0], [1.0] * 9, [1.0, 2.0, math.inf]])
def test_no_estimate_where_there_is_nothing_to_estimate_from(scores: list[float]) -> None:
    assert one_shot_estimate(scores, DELTA, 0.9) is None


def coins(seed: int, canaries: int, mu: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    included = rng.random(canaries) < 0.5
    return included * mu + rng.standard_normal(canaries), included


@pytest.mark.parametrize(("canaries", "mu"), [(40, 0.5), (200, 1.0), (1000, 2.0)])
def test_one_run_covers_the_truth(canaries: int, mu: float) -> None:
    found = [one_run(*coins(seed, canaries, mu), DELTA, 0.8) for seed in range(250)]
    truth = epsilon_of(mu, DELTA)
    most = binom.ppf(0.999, len(found), 0.2)
    assert sum(row.mu > mu for row in found) <= most
    assert sum(row.epsilon_gaussian > truth for row in found) <= most
    assert sum(row.epsilon_any > truth for row in found) <= most


def test_one_run_says_something() -> None:
    """With many canaries more than 0.3 of the truth; of a mechanism that adds no noise, much."""
    found = [one_run(*coins(seed, 1000, 1.0), DELTA, 0.95).epsilon_gaussian for seed in range(20)]
    assert min(found) > 0.3 * epsilon_of(1.0, DELTA)
    naked = one_run(*coins(0, 1000, 100.0), 1e-9, 0.95)
    assert naked.correct == naked.guesses
    assert naked.epsilon_gaussian > 10 and naked.epsilon_any > 4


def test_one_run_shows_nothing_of_coins_that_nothing_saw() -> None:
    found = [one_run(*coins(seed, 300, 0.0), DELTA, 0.95) for seed in range(200)]
    assert sum(row.epsilon_gaussian > 0 or row.epsilon_any > 0 for row in found) <= binom.ppf(0.999, 200, 0.05)


def test_equal_scores_do_not_tell_by_their_place_in_the_file() -> None:
    found = one_run(np.zeros(600), np.arange(600) < 300, DELTA, 0.95)
    assert found.epsilon_gaussian == found.epsilon_any == 0.0


@given(canaries=st.integers(2, 300), share=st.floats(0.05, 1), right=st.floats(0, 1), doubt=st.floats(1e-4, 0.3))
@settings(deadline=None)
def test_a_refuted_curve_is_the_last_one_refuted(canaries: int, share: float, right: float, doubt: float) -> None:
    guesses = max(1, round(share * canaries))
    correct = round(right * guesses)
    mu = mu_refuted(canaries, guesses, correct, doubt)
    assert curve_allows(canaries, guesses, correct, mu + 1e-6, doubt) <= 1e-9
    epsilon = epsilon_refuted(canaries, guesses, correct, DELTA, doubt)
    assert chance_of(canaries, guesses, correct, epsilon + 1e-6, DELTA) >= doubt - 1e-9
    if epsilon:
        assert chance_of(canaries, guesses, correct, epsilon, DELTA) <= doubt


def test_at_delta_0_it_is_randomised_response() -> None:
    """One guess a canary under pure epsilon: the bound is where a binomial tail is the doubt."""
    epsilon = epsilon_refuted(100, 100, 90, 1e-300, 0.05)
    assert float(binom.sf(89, 100, 1 / (1 + math.exp(-epsilon)))) == pytest.approx(0.05, rel=1e-4)


def test_scores_must_be_numbers_and_match() -> None:
    with pytest.raises(BadInput, match="not a number"):
        one_run([1.0, math.nan], [True, False], DELTA, 0.95)
    with pytest.raises(BadInput, match="one score and one truth"):
        one_run([1.0, 2.0], [True], DELTA, 0.95)
    assert max(SHARES) == 1.0 and one_run([], [], DELTA, 0.95).epsilon_gaussian == 0.0


def test_the_curve_through_an_event_is_a_gaussians() -> None:
    counted = epsilon_lower_bound(900, 1000, 100, 1000, DELTA, 0.95)
    assert counted.epsilon <= epsilon_of(counted.mu, DELTA)
    assert delta_of(counted.mu, counted.epsilon) >= DELTA * (1 - 1e-9)
