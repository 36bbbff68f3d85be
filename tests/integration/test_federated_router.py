"""A router trained by a simulated fleet: the devices' own code, a bounded sum, an epsilon that is of all rounds."""

from dataclasses import replace

import numpy as np
import pytest

from tacit_clients.routing import Example, LocalSteps, initial, local_delta
from tacit_privacy.accounting.gaussian import epsilon_of
from tacit_privacy.randomness import stream
from tacit_simulations.evaluation.routing import federation
from tacit_simulations.evaluation.routing.federation import FederatedRouter

HARD, EASY = "Prove that {} is irrational and explain every step of the proof.", "say {}"
RNG = np.random.default_rng(7)
ROWS = [
    Example((HARD if number % 2 else EASY).format(number), slm=number % 2 == 0, llm=True, group=str(number % 20))
    for number in range(400)
]
TEST = [replace(row, prompt=f"{row.prompt} please") for row in ROWS[:100]]
PUBLIC = [form.format(number) for number in range(1000, 1040) for form in (HARD, EASY)]


def test_the_fleet_learns_what_no_device_is_told_by_another() -> None:
    found = federation.study(ROWS, TEST, PUBLIC, 8, FederatedRouter(rounds=20, clip_norm=1.0))
    assert found["devices"] == 50 and len(found["rounds"]) == 20
    assert found["without_noise"] > 0.7 and found["pooled"] > 0.7  # whom to ask is told by a prompt's form
    assert found["epsilon"] == pytest.approx(8.0, rel=1e-6) and found["epsilon"] <= 8.0


def test_epsilon_is_of_all_rounds_together() -> None:
    for rounds in (1, 10, 100):
        noise = FederatedRouter(epsilon=3.0, rounds=rounds).noise_multiplier
        assert epsilon_of(np.sqrt(rounds) / noise, 1e-5) <= 3.0
    assert FederatedRouter(epsilon=np.inf).noise_multiplier == 0


def test_a_round_is_the_mean_of_the_devices_own_differences() -> None:
    """Without noise and clipping, on the grid."""
    spec = federation.public_spec(PUBLIC)
    settings = FederatedRouter(np.inf, rounds=1, clip_norm=50.0, steps=LocalSteps(steps=3, learning_rate=0.1))
    (after,) = federation.train(spec, federation.devices_of(spec, ROWS, 8, 0), settings)
    mean = np.mean([local_delta(spec, initial(spec), device, settings.steps) for device in _devices(8)], axis=0)
    assert np.abs(mean).max() > 0.01 and after == pytest.approx(mean, abs=1e-4)


def test_the_same_seed_gives_the_same_router_and_another_another() -> None:
    spec = federation.public_spec(PUBLIC)
    devices = federation.devices_of(spec, ROWS, 8, 0)
    one, same, other = (federation.train(spec, devices, FederatedRouter(rounds=3, seed=seed))[-1] for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def _devices(each: int) -> list[list[Example]]:
    """In the study's order: by group, mixed within."""
    mixed = [ROWS[index] for index in stream(0, "federated-router", "devices").permutation(len(ROWS))]
    ordered = sorted(mixed, key=lambda row: row.group or "")
    return [ordered[start : start + each] for start in range(0, len(ordered) - each + 1, each)]
