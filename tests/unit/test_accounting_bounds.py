"""Which bounds are listed, what they come to, and the published values they reproduce."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit_privacy.accounting.bounds import Bound, bounds, smallest, without_amplification
from tacit_privacy.accounting.discrete import effective
from tacit_privacy.accounting.events import Adjacency, Arithmetic, Correlation, Exposure, GaussianEvent
from tacit_privacy.accounting.gaussian import epsilon_of
from tacit_privacy.accounting.plan import Plan
from tacit_privacy.accounting.sampled import SampledRounds, epsilon_sampled
from tacit_privacy.errors import BadInput

# z, q, rounds, delta; Poisson, fixed size under zero-out, no amplification (shared reference, table 1.2)
TABLE = [
    (1.0, 0.01, 1000, 1e-6, 2.125, 15.48, 649),
    (0.6, 0.02, 500, 1e-6, 11.906, 89.5, 871),
    (0.8, 0.001, 2000, 1e-6, 0.560, 9.90, 1827),
    (1.0, 0.1, 200, 1e-5, 9.971, 45.4, 159),
    (7.0, 0.2, 2000, 1e-10, 8.693, 19.7, 60.4),
    (1.0, 1.0, 10, 1e-6, 19.42, 49.32, 19.42),
]
LARGE = Arithmetic(levels=2**20, dimension=500_000)


def event(noise: float, kind: str = "fixed", rate: float = 0.01, **more: object) -> GaussianEvent:
    drawn = {"kind": kind, "cohort": round(rate * 10_000), "population": 10_000}
    if "cap" in more:
        drawn["cap"] = more.pop("cap")
    return GaussianEvent.model_validate({"noise_multiplier": noise, "sampling": drawn, **more})


def of(listed: tuple[Bound, ...], word: str, adjacency: Adjacency = Adjacency.ZERO_OUT) -> float:
    return next(bound.epsilon for bound in listed if word in bound.assumption and bound.adjacency is adjacency)


@pytest.mark.parametrize(("noise", "rate", "rounds", "delta", "poisson", "fixed", "plain"), TABLE)
def test_the_reference_table_is_reproduced(
    noise: float, rate: float, rounds: int, delta: float, poisson: float, fixed: float, plain: float
) -> None:
    open_to_all = Exposure(rounds, sealed=True)
    drawn = bounds({event(noise, "uniform", rate): rounds}, open_to_all, delta, within=Adjacency.ZERO_OUT)
    assert of(drawn, "fixed size") == pytest.approx(fixed, abs=0.05 if fixed < 80 else 0.1)
    assert of(drawn, "no amplification") == pytest.approx(plain, abs=0.5 if plain > 100 else 0.05)
    coins = bounds({event(noise, "poisson", rate): rounds}, open_to_all, delta, within=Adjacency.ZERO_OUT)
    assert of(coins, "Poisson") == pytest.approx(poisson, rel=1e-2)
    assert of(coins, "Poisson") < of(drawn, "fixed size")


@pytest.mark.parametrize(
    ("cap", "expected"), [(120, 6.52), (130, 4.92), (140, 3.13), (150, 2.138), (160, 2.125), (None, 2.1245)]
)
def test_a_cap_on_poisson_cohorts_costs_what_is_published(cap: int | None, expected: float) -> None:
    capped = event(1.0, "poisson", cap=cap)
    exact = bounds({capped: 1000}, Exposure(1000, sealed=True), 1e-6, within=Adjacency.ZERO_OUT)
    assert of(exact, "Poisson") == pytest.approx(expected, rel=2e-3)


def test_a_cap_costs_more_where_participations_can_run_out() -> None:
    rounds = SampledRounds(1.0, event(1.0, "poisson", cap=120).sampling, 1000)
    running_out = SampledRounds(1.0, rounds.sampling, 1000, exhaustible=True)
    ends, goes_on = (epsilon_sampled((part,), 0.0, False, 1e-6) for part in (running_out, rounds))
    assert goes_on < ends < 1.05 * goes_on


@pytest.mark.parametrize(
    ("z", "k", "expected"), [(1, 1, 4.89), (1, 5, 12.60), (1, 10, 19.42), (4, 1, 1.06), (4, 5, 2.55), (4, 10, 3.75)]
)
def test_participations_without_amplification(z: float, k: int, expected: float) -> None:
    listed = without_amplification({event(z): 1000}, Exposure(k), 1e-6)
    assert of(listed, "no amplification") == pytest.approx(expected, abs=0.006)


def test_fixed_size_is_never_accounted_as_poisson_and_only_where_it_was_drawn_in_secret() -> None:
    for tally, exposure in [
        ({event(1.0, "fixed"): 50}, Exposure(50, sealed=True)),  # chosen in any way
        ({event(1.0, "uniform"): 50}, Exposure(50)),  # somebody sees who took part
        ({event(1.0, "uniform"): 50}, Exposure(49, sealed=True)),  # a device may run out, which others can tell
    ]:
        assert not any("sealed" in bound.assumption for bound in bounds(tally, exposure, 1e-5))


def test_a_mixed_schedule_composes_between_its_parts_and_their_worst() -> None:
    weak, strong, one = event(0.8, "poisson", 0.02), event(2.0, "poisson", 0.01), event(3.0)
    sealed = Exposure(300, sealed=True)
    mixed = of(bounds({weak: 100, strong: 200}, sealed, 1e-6), "Poisson")
    assert of(bounds({weak: 100}, sealed, 1e-6), "Poisson") < mixed
    assert mixed < of(bounds({weak: 300}, sealed, 1e-6), "Poisson")
    beside = of(bounds({weak: 100, strong: 200, one: 1}, sealed, 1e-6), "Poisson")
    assert mixed < beside < mixed + epsilon_of(1 / 3, 1e-7) + 0.2


def test_replace_one_costs_more_than_zero_out_in_every_listing() -> None:
    for kind in ("poisson", "uniform"):
        listed = bounds({event(2.0, kind): 20}, Exposure(20, sealed=True), 1e-5)
        assert len(listed) == 4
        assert smallest(listed, Adjacency.ZERO_OUT).epsilon < smallest(listed, Adjacency.REPLACE_ONE).epsilon


def test_correlated_noise_says_its_assumption_and_adds_up_where_bands_do_not_overlap() -> None:
    banded = event(2.0, correlation=Correlation(bands=4, rounds=40))
    column_squared = 1 + 0.5**2 + 0.375**2 + 0.3125**2
    listed = without_amplification({banded: 40}, Exposure(3, separation=5), 1e-6)
    assert listed[0].assumption == "correlated noise, at most 3 participations of a device, at least 5 rounds apart"
    assert listed[0].epsilon == pytest.approx(epsilon_of(math.sqrt(3 * column_squared) / 2, 1e-6), rel=1e-9)
    assert not any("sealed" in bound.assumption for bound in bounds({banded: 40}, Exposure(3, 5, True), 1e-6))


def test_one_band_is_independent_noise() -> None:
    single = event(2.0, correlation=Correlation(bands=1, rounds=40))
    with_bands, without = (
        without_amplification({one: 40}, Exposure(7), 1e-6)[0].epsilon for one in (single, event(2.0))
    )
    assert with_bands == pytest.approx(without, rel=1e-9)


def test_a_run_with_correlated_and_other_releases_is_bounded_by_the_worst_division() -> None:
    banded, plain = event(2.0, correlation=Correlation(bands=3, rounds=30)), event(1.9)
    alone = without_amplification({banded: 30}, Exposure(4, 6), 1e-6)[0].epsilon
    both = without_amplification({banded: 30, plain: 2}, Exposure(4, 6), 1e-6)[0].epsilon
    apart = without_amplification({banded: 30, plain: 2}, Exposure(6, 6), 1e-6)[0].epsilon
    assert alone <= both < apart


@settings(max_examples=40, deadline=None)
@given(
    noise=st.floats(0.4, 50),
    rounds=st.integers(1, 300),
    dimension=st.integers(1, 500_000),
    delta=st.floats(1e-10, 1e-3),
)
def test_arithmetic_never_lowers_a_bound_and_hardly_raises_it(
    noise: float, rounds: int, dimension: int, delta: float
) -> None:
    tally, exposure = {event(noise): rounds}, Exposure(rounds)
    exact = without_amplification(tally, exposure, delta)
    whole = without_amplification(tally, exposure, delta, Arithmetic(levels=2**20, dimension=dimension))
    for continuous, discrete in zip(exact, whole, strict=True):
        assert continuous.epsilon <= discrete.epsilon
    if exact[0].epsilon > 0.05:
        assert whole[0].epsilon <= 1.001 * exact[0].epsilon


def test_arithmetic_is_charged_to_sampling_and_correlated_noise_too() -> None:
    for one in (event(1.0, "poisson"), event(1.0, correlation=Correlation(bands=4, rounds=100))):
        exact, whole = (bounds({one: 100}, Exposure(100, 1, True), 1e-6, given)[-2] for given in (None, LARGE))
        assert exact.epsilon < whole.epsilon <= 1.001 * exact.epsilon


def test_noise_that_is_finer_than_the_grid_bounds_nothing() -> None:
    listed = without_amplification({event(1.0): 1}, Exposure(1), 1e-6, Arithmetic(levels=4, dimension=1))
    assert {bound.epsilon for bound in listed} == {math.inf}


@given(parts=st.lists(st.floats(0.5, 20), min_size=1, max_size=4), levels=st.integers(16, 2**20))
def test_a_joint_release_is_charged_at_least_what_its_parts_lose(parts: list[float], levels: int) -> None:
    together = 1 / math.sqrt(sum(z**-2 for z in parts))
    arithmetic = Arithmetic(levels=levels, dimension=1)
    whole = effective(event(together), arithmetic)
    each = [effective(event(z), arithmetic) for z in parts]
    assert whole == 0 or whole <= 1 / math.sqrt(sum(z**-2 for z in each)) * (1 + 1e-12)


@pytest.mark.parametrize(
    ("epsilon", "sampling", "more"),
    [
        *((epsilon, "none", {}) for epsilon in (0.5, 3.0, 20.0)),
        *((epsilon, "none", {"dimension": 100_000}) for epsilon in (0.5, 3.0, 20.0)),
        *((epsilon, "none", {"bands": 5, "separation": 3, "dimension": 1000}) for epsilon in (0.5, 20.0)),
        (3.0, "poisson", {}),
        (20.0, "poisson", {}),
        (3.0, "fixed", {}),
    ],
)
@pytest.mark.parametrize("adjacency", list(Adjacency))
def test_calibration_is_the_inverse_for_every_sampling(
    epsilon: float, sampling: str, more: dict[str, int], adjacency: Adjacency
) -> None:
    plan = Plan.of(sampling, 500, 10_000, 40, None, 1e-5, str(adjacency), **more)
    reached = plan.bounds(plan.calibrate(epsilon))[1].epsilon
    assert epsilon * (1 - 1e-3) <= reached <= epsilon


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ({"sampling": "none", "cap": 200}, "cap of 200"),
        ({"sampling": "poisson", "cap": 99}, "cap of 99"),
        ({"sampling": "none", "bands": 2, "rounds": 10**7}, "10000000"),
    ],
)
def test_what_does_not_fit_a_plan_is_named(words: dict[str, object], named: str) -> None:
    given = {"cohort": 100, "population": 1000, "rounds": 10, "participations": None, "delta": 1e-5} | words
    with pytest.raises(BadInput, match=named):
        Plan.of(adjacency="zero-out", **given)  # type: ignore[arg-type]
