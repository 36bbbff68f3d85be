"""A router that a simulated fleet trains: every device a few judged prompts of its own, every round one noised sum."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tacit_clients.routing import Example, LocalSteps, Spec, heads, initial
from tacit_clients.routing.examples import answers
from tacit_clients.routing.federated import delta_of
from tacit_clients.routing.heads import Penalty
from tacit_clients.routing.spec import Design, describe_all
from tacit_privacy.accounting.gaussian import epsilon_of, mu_for
from tacit_privacy.contract import LEVELS
from tacit_privacy.mechanisms.gaussian import GaussianSum, clip_to_grid
from tacit_privacy.mechanisms.grid import GridSum
from tacit_privacy.mechanisms.noise import SeededNoise
from tacit_privacy.randomness import stream
from tacit_simulations.evaluation.routing import metrics

GRADIENT: Final = LocalSteps(steps=1, learning_rate=1.0, penalty=0.02)  # a round is then a step on all examples
ALONE: Final = 40  # devices that are also looked at as if there were no fleet
Weights = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FederatedRouter:
    """How it is trained; all public. Every device takes part in every round: releases compose, and none is amplified.

    ``momentum`` is Polyak's, at the server, and the weights in the end are the mean of the second half of the rounds
    (Polyak and Juditsky 1992): neither costs any privacy.
    """

    epsilon: float = 8.0  # infinity: no noise, for comparison
    delta: float = 1e-5
    rounds: int = 30
    clip_norm: float = 0.25
    server_rate: float = 1.0  # what of a round's mean is applied
    momentum: float = 0.9
    steps: LocalSteps = GRADIENT
    seed: int = 0

    @property
    def noise_multiplier(self) -> float:
        """Of one release under zero-out adjacency: ``rounds`` of them are mu-GDP with mu = sqrt(rounds) / it."""
        return 0.0 if np.isinf(self.epsilon) else float(np.sqrt(self.rounds)) / mu_for(self.epsilon, self.delta)


@dataclass(frozen=True, eq=False)
class Device:
    """One device's prompts as numbers, and who was right."""

    design: Design
    right: NDArray[np.float64]  # (n, 2)


def devices_of(spec: Spec, examples: Sequence[Example], each: int, seed: int) -> list[Device]:
    """Devices of ``each`` examples, of one group or two where examples have groups: a person has few subjects."""
    rng = stream(seed, "federated-router", "devices")
    mixed = [examples[index] for index in rng.permutation(len(examples))]
    ordered = sorted(mixed, key=lambda example: example.group or "")
    design, right = spec.design([example.prompt for example in ordered]), answers(ordered)
    starts = range(0, len(ordered) - each + 1, each)
    return [Device(design.rows(np.arange(start, start + each)), right[start : start + each]) for start in starts]


def public_spec(prompts: Sequence[str]) -> Spec:
    """Scales from prompts that anybody may know; no n-grams, whose many weights would drown in noise."""
    return Spec.of(describe_all(prompts), 0)


def train(spec: Spec, devices: Sequence[Device], settings: FederatedRouter) -> list[Weights]:
    """The weights after each round, shapes (spec.size,)."""
    mechanism = GaussianSum(settings.clip_norm, settings.noise_multiplier)
    noise = SeededNoise(settings.seed, "federated-router")
    weights, velocity = initial(spec), np.zeros(spec.size)
    found: list[Weights] = []
    for number in range(settings.rounds):
        total = GridSum(spec.size, LEVELS)
        for device in devices:
            delta = delta_of(device.design, device.right, weights, settings.steps)
            vector = clip_to_grid(delta, settings.clip_norm)
            mechanism.check(vector, spec.size)
            total.add(vector)
        mean = mechanism.release(total.total, noise, len(devices), f"round {number}")
        velocity = settings.momentum * velocity + mean
        weights = (weights + settings.server_rate * velocity).astype(np.float32)
        found.append(weights)
    return found


def settled(rounds: Sequence[Weights]) -> NDArray[np.float64]:
    """The mean of the second half, shape (spec.size,)."""
    return np.asarray(np.mean(rounds[len(rounds) // 2 :], axis=0, dtype=np.float64))


def study(
    examples: Sequence[Example], test: Sequence[Example], public: Sequence[str], each: int, settings: FederatedRouter
) -> dict[str, Any]:
    """APGR on ``test`` round by round, beside training without noise, pooled, and on one device alone.

    ``public``: prompts without answers, for the scales.
    """
    spec = public_spec(public)
    devices = devices_of(spec, examples, each, settings.seed)
    design, right = spec.design([example.prompt for example in test]), answers(test)

    def scored(weights: NDArray[np.floating]) -> float:
        gains = heads.gain(heads.probabilities(design, np.asarray(weights, dtype=np.float64)))
        return metrics.apgr(gains, right[:, 1], right[:, 0])

    penalty = Penalty(settings.steps.penalty, settings.steps.gram_penalty)
    alone = [heads.train(d.design, d.right, penalty) for d in devices[:: max(1, len(devices) // ALONE)]]
    pooled = heads.train(spec.design([row.prompt for row in examples]), answers(examples), penalty)
    noise, rounds = settings.noise_multiplier, train(spec, devices, settings)
    return {
        "devices": len(devices),
        "examples_each": each,
        "weights": spec.size,
        "noise_multiplier": noise,
        "epsilon": epsilon_of(np.sqrt(settings.rounds) / noise, settings.delta) if noise else None,
        "delta": settings.delta,
        "rounds": [scored(weights) for weights in rounds],
        "private": scored(settled(rounds)),
        "without_noise": scored(settled(train(spec, devices, replace(settings, epsilon=np.inf)))),
        "pooled": scored(pooled),
        "alone": float(np.mean([scored(weights) for weights in alone])),
    }
