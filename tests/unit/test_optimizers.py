"""Server optimizers against the published formulas, computed here number by number in plain Python."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit_server.config import FederationConfig
from tacit_server.optimizers import ServerState, step

STEPS = 7
updates = st.lists(st.lists(st.floats(-10, 10), min_size=3, max_size=3), min_size=1, max_size=STEPS)
rates = st.floats(1e-3, 2)
shares = st.floats(0, 0.99)
laws = settings(max_examples=60, deadline=None)
START = (0.5, -1.0, 0.0)


def run(config: FederationConfig, releases: Sequence[Sequence[float]]) -> list[ServerState]:
    """Every state from the start on."""
    states = [ServerState.start(np.array(START))]
    for release in releases:
        states.append(step(config, states[-1], np.array(release)))
    return states


def config(optimizer: str, **settings: float) -> FederationConfig:
    return FederationConfig.model_validate({"optimizer": optimizer, **settings})


@given(updates, rates)
@laws
def test_fedavg_adds_the_mean_update(releases: list[list[float]], rate: float) -> None:
    """x <- x + eta * Delta (McMahan et al. 2017; Reddi et al. 2021, Alg. 1 with SGD on the server)."""
    expected = [list(START)]
    for release in releases:
        expected.append([x + rate * d for x, d in zip(expected[-1], release, strict=True)])
    found = run(config("fedavg", learning_rate=rate), releases)
    np.testing.assert_allclose([state.adapter for state in found], expected, rtol=1e-12, atol=1e-12)


@given(updates, rates, shares)
@laws
def test_fedavgm_accumulates_velocity(releases: list[list[float]], rate: float, beta: float) -> None:
    """v <- beta v + Delta, w <- w + eta v (Hsu et al. 2019, section 4.2, with Delta pointing downhill)."""
    expected, velocity = [list(START)], [0.0] * 3
    for release in releases:
        velocity = [beta * v + d for v, d in zip(velocity, release, strict=True)]
        expected.append([w + rate * v for w, v in zip(expected[-1], velocity, strict=True)])
    found = run(config("fedavgm", learning_rate=rate, momentum=beta), releases)
    np.testing.assert_allclose([state.adapter for state in found], expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found[-1].first, velocity, rtol=1e-9, atol=1e-9)


@given(updates, rates, shares, shares, st.floats(1e-4, 1))
@laws
def test_fedadam_divides_by_the_root_of_the_second_moment(
    releases: list[list[float]], rate: float, beta1: float, beta2: float, tau: float
) -> None:
    """m, v and x of Reddi et al. 2021, Alg. 2: no bias correction, tau outside the root. v starts at 0 here."""
    expected, m, v = [list(START)], [0.0] * 3, [0.0] * 3
    for release in releases:
        m = [beta1 * a + (1 - beta1) * d for a, d in zip(m, release, strict=True)]
        v = [beta2 * b + (1 - beta2) * d * d for b, d in zip(v, release, strict=True)]
        moved = [rate * a / (math.sqrt(b) + tau) for a, b in zip(m, v, strict=True)]
        expected.append([x + s for x, s in zip(expected[-1], moved, strict=True)])
    settings_ = {"learning_rate": rate, "momentum": beta1, "second_moment": beta2, "tau": tau}
    found = run(config("fedadam", **settings_), releases)
    np.testing.assert_allclose([state.adapter for state in found], expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found[-1].first, m, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found[-1].second, v, rtol=1e-9, atol=1e-12)


def test_fedadam_worked_by_hand() -> None:
    """Two steps with eta 1, beta1 0.5, beta2 0.75, tau 0.5, Delta = 2 then -4, from x = 0.

    m: 1, then 0.5 - 2 = -1.5. v: 1, then 0.75 + 4 = 4.75. x: 1 / 1.5, then that - 1.5 / (sqrt(4.75) + 0.5).
    """
    chosen = config("fedadam", learning_rate=1.0, momentum=0.5, second_moment=0.75, tau=0.5)
    first = step(chosen, ServerState.start(np.zeros(1)), np.array([2.0]))
    second = step(chosen, first, np.array([-4.0]))
    assert first.adapter[0] == pytest.approx(2 / 3)
    assert (second.first[0], second.second[0]) == (-1.5, 4.75)
    assert second.adapter[0] == pytest.approx(2 / 3 - 1.5 / (math.sqrt(4.75) + 0.5))


def test_fedadam_goes_on_from_given_moments() -> None:
    """The paper lets v start at tau squared or more; whoever sets it gets just that."""
    chosen = config("fedadam", learning_rate=0.1, momentum=0.9, second_moment=0.99, tau=1e-3)
    state = replace(ServerState.start(np.zeros(2)), second=np.full(2, 1e-6))
    after = step(chosen, state, np.array([1e-3, -1e-3]))
    expected = 0.1 * 0.1 * 1e-3 / (math.sqrt(0.99e-6 + 0.01e-6) + 1e-3)
    np.testing.assert_allclose(after.adapter, [expected, -expected], rtol=1e-12)


@given(st.floats(-10, 10).filter(lambda x: abs(x) > 1e-9), shares, st.floats(1e-4, 1))
@laws
def test_a_second_moment_that_starts_at_zero_makes_first_steps_at_most_twice_as_long(
    release: float, beta2: float, tau: float
) -> None:
    """Algorithm 2 of Reddi et al. 2021 starts at v_{-1} >= tau^2; the docstring of ``step`` says what differs."""
    chosen = config("fedadam", second_moment=beta2, tau=tau)
    ours = ServerState.start(np.zeros(1))
    assert not ours.second.any()
    papers = replace(ours, second=np.full(1, tau**2))
    one, other = (abs(float(step(chosen, state, np.array([release])).adapter[0])) for state in (ours, papers))
    assert other <= one <= 2 * other * (1 + 1e-9)
    for _ in range(3):
        ours, papers = (step(chosen, state, np.array([release])) for state in (ours, papers))
    np.testing.assert_allclose(papers.second - ours.second, beta2**3 * tau**2, rtol=1e-6, atol=1e-12)


@given(updates, rates)
@laws
def test_without_momentum_fedavgm_is_fedavg(releases: list[list[float]], rate: float) -> None:
    one = run(config("fedavg", learning_rate=rate), releases)
    other = run(config("fedavgm", learning_rate=rate, momentum=0.0), releases)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.adapter, b.adapter)


@pytest.mark.parametrize("optimizer", ["fedavg", "fedavgm", "fedadam"])
def test_a_step_changes_nothing_it_was_given(optimizer: str) -> None:
    """States are facts: a checkpoint that is written later than the next step still says the same."""
    state = run(config(optimizer), [[1.0, 2.0, 3.0]])[-1]
    before = (state.adapter.copy(), state.first.copy(), state.second.copy())
    release = np.array([3.0, -2.0, 1.0])
    after = step(config(optimizer), state, release)
    for kept, now in zip(before, (state.adapter, state.first, state.second), strict=True):
        np.testing.assert_array_equal(kept, now)
    assert (state.steps, after.steps) == (1, 2)
    assert release.tolist() == [3.0, -2.0, 1.0]
    assert not np.shares_memory(after.adapter, state.adapter)


@pytest.mark.parametrize("optimizer", ["fedavg", "fedavgm", "fedadam"])
def test_a_release_of_zeros_moves_an_untouched_adapter_nowhere(optimizer: str) -> None:
    np.testing.assert_array_equal(run(config(optimizer), [[0.0] * 3] * 3)[-1].adapter, START)


@pytest.mark.parametrize("optimizer", ["fedavg", "fedavgm", "fedadam"])
def test_every_optimizer_goes_downhill(optimizer: str) -> None:
    """Mean updates of half the way to the optimum end near it."""
    optimum = np.array([2.0, 0.5, -1.5])
    state = ServerState.start(np.array(START))
    chosen = config(optimizer, learning_rate=0.1 if optimizer == "fedadam" else 0.2, momentum=0.5, tau=0.1)
    for _ in range(200):
        state = step(chosen, state, 0.5 * (optimum - state.adapter))
    np.testing.assert_allclose(state.adapter, optimum, atol=0.02)


@pytest.mark.parametrize("optimizer", ["fedavg", "fedavgm", "fedadam"])
def test_a_cosine_schedule_scales_the_rate_of_every_step(optimizer: str) -> None:
    """rate * (1 + cos(pi * t / T)) / 2 (Loshchilov and Hutter 2017), t from 0, whatever the optimizer."""
    rounds, releases = 4, [[1.0, -2.0, 0.5]] * 4
    falling = config(optimizer, learning_rate=0.5, rounds=rounds).model_copy(update={"schedule": "cosine"})
    moved = np.diff([state.adapter for state in run(falling, releases)], axis=0)
    whole = np.diff([state.adapter for state in run(config(optimizer, learning_rate=0.5), releases)], axis=0)
    shares = [(1 + math.cos(math.pi * t / rounds)) / 2 for t in range(rounds)]
    np.testing.assert_allclose(moved, whole * np.array(shares)[:, None], rtol=1e-12)
