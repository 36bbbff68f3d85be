"""Tacit under its own laws."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from laws.subject import Floats, Question, Record, Subject
from ledgers import KEY, Books, policy

from tacit_clients.guard import Memory, check
from tacit_privacy.accounting.bounds import bounds, smallest
from tacit_privacy.accounting.events import Adjacency, Exposure, GaussianEvent, Sampling
from tacit_privacy.accounting.plan import Plan
from tacit_privacy.accounting.poisson import epsilon_poisson
from tacit_privacy.contract import LEVELS, AdapterSpec, DenseSpec, LocalTraining, RoundTerms
from tacit_privacy.errors import NonFiniteUpdate, TermsRefused
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.ledger.verify import verify
from tacit_privacy.mechanisms.adaptive import AdaptiveClip
from tacit_privacy.mechanisms.gaussian import GaussianSum, clip_to_grid
from tacit_privacy.mechanisms.noise import SystemNoise
from tacit_server.aggregation.sums import CohortSum

COHORT = 20


class Tacit(Subject):
    name, version = "Tacit", "0.1.0"

    def mean(
        self, updates: Sequence[Floats | None], weights: Sequence[float], planned: int, clip: float, noise: float
    ) -> Floats | None:
        """`clip_to_grid` on each device, `CohortSum.add` and `GaussianSum.release` on the server.

        There are no weights to state: every device counts alike. A device whose update is no number sends zeros.
        """
        size = len(next(update for update in updates if update is not None))
        mechanism = GaussianSum(clip, noise)
        cohort = CohortSum(_spec(size), mechanism)
        for device, update in enumerate(updates):
            if update is not None:
                cohort.add(device, _sent(update, clip), rank=1)
        return mechanism.release(cohort.total, SystemNoise(), planned, "round 1")

    def drawn_noise(self, size: int) -> tuple[Floats, float | None]:
        """`GaussianSum.release` with `SystemNoise`, which a deployment uses; only a simulation may be seeded."""
        drawn = GaussianSum(1.0, 1.0).release(np.zeros(size, dtype=np.int64), SystemNoise(), 1.0, "the same label")
        return drawn, 1 / LEVELS

    def example_releases(self, examples: int, noise: float, dimension: int, count: int) -> tuple[Floats, float]:
        """The step of `tacit_clients.training.example_dp.run_private`: `GaussianSum.release` of a sum of nothing.

        It is divided by `ExampleDp.expected_batch`, which the server states in public: 2, whatever a device holds.
        """
        expected, rate = 2, min(1.0, 2 / examples)
        mechanism, total = GaussianSum(1.0, noise), np.zeros(dimension, dtype=np.int64)
        steps = [mechanism.release(total, SystemNoise(), expected, "example-dp step 0") for _ in range(count)]
        return np.array(steps), epsilon_poisson(noise, rate, 1, 1e-5)

    def epsilon(self, question: Question) -> Mapping[str, float | Exception]:
        """`accounting.bounds.bounds` and `smallest`, within the adjacency that is asked for, nobody seeing who took
        part: what `tacit privacy epsilon` shows.
        """
        kind = "fixed" if question.sampling == "none" else question.sampling
        sampling = Sampling(kind=kind, cohort=question.cohort, population=question.population)
        event = GaussianEvent(noise_multiplier=question.noise_multiplier, sampling=sampling)
        exposure = Exposure(question.rounds, sealed=question.sampling in ("uniform", "poisson"))
        listed = bounds({event: question.rounds}, exposure, question.delta)
        best = smallest(listed, Adjacency(question.adjacency))
        return {best.accountant: best.epsilon}

    def calibrated_noise(self, epsilon: float, delta: float) -> float:
        """`accounting.plan.Plan.calibrate`: what `tacit privacy calibrate` shows."""
        return Plan.of("none", None, None, 1, None, delta, "zero-out").calibrate(epsilon)

    def compositions(self, count: int) -> Iterable[tuple[str, float, float]]:
        """`bounds` of one event with a count, and of as many events that differ in nothing that costs."""
        for kind in ("fixed", "poisson"):
            single = {
                GaussianEvent(noise_multiplier=4.0, sampling=_sampling(kind, 1_000_000 + extra)): 1
                for extra in range(count)
            }
            one = GaussianEvent(noise_multiplier=4.0, sampling=_sampling(kind, 1_000_000))
            exposure = Exposure(count, sealed=kind == "poisson")
            once, apart = (
                smallest(bounds(tally, exposure, 1e-6), Adjacency.ZERO_OUT).epsilon for tally in ({one: count}, single)
            )
            yield f"Gaussian, {kind} cohorts", once, apart

    def adapted_clip(self, start: float, norm: float, devices: int, rounds: int) -> float:
        """`mechanisms.adaptive.AdaptiveClip.after`, with the share of devices within the clip as it is."""
        adaptive, clip = AdaptiveClip(0.5, 0.2, 1e-6, 1e6), start
        for _ in range(rounds):
            clip = adaptive.after(clip, float(norm <= clip))
        return clip

    def record(self, rounds: int) -> Record:
        """`Budget.reserve`, `commit` and `close` on an SQLite ledger; `ledger.verify.verify` with the public key."""
        lines = ledger_lines(rounds)

        def accepts(some: Sequence[str], witness: str | None) -> bool:
            found = verify(some, KEY.public, witness)
            return found.ok and found.state == "closed"

        return Record(lines, verify(lines, KEY.public).head, accepts, ledger_lines(rounds, release="2" * 64))

    def notices_rollback(self) -> bool:
        """`tacit_clients.guard.check`: a device that saw 99 entries is shown terms over a ledger of three."""
        memory = Memory()
        for number, length in ((1, 99), (2, 3)):
            terms = RoundTerms(
                run="run", round=number, version=0, spec=_spec(4), rank=1, clip_norm=1.0, training=LocalTraining(),
                participations=9, deadline=0.0, ledger_head="0" * 64, ledger_length=length,
            )  # fmt: skip
            payload = terms.to_bytes()
            try:
                memory = check(memory, terms, payload, KEY.sign(payload), _spec(4), KEY.public)
            except TermsRefused as refused:
                return refused.reason == "rollback"
        return False


def ledger_lines(rounds: int, release: str = "1" * 64, delta: float = 1e-5) -> tuple[str, ...]:
    """The finished ledger of that many rounds, one of three given back; ``release`` is the digest of the newest.

    In the end another key takes over.
    """
    sampling = Sampling(kind="fixed", cohort=COHORT, population=COHORT * rounds)
    allowed = policy(epsilon=20.0, delta=delta, population=sampling.population)
    books = Books(allowed, GaussianEvent(noise_multiplier=2.0, sampling=sampling))
    for number in range(1, rounds + 1):
        devices = range(COHORT * (number - 1), COHORT * number)
        reserved = books.reserve(number, devices)
        if number % 3 == 0:
            books.budget.abandon(books.session, reserved, "3 of 10 needed")
        else:
            books.commit(reserved, devices, release=release if number > rounds - 2 else "1" * 64)
    books.hand_over(SigningKey.simulated(8))
    books.close()
    return tuple(books.lines())


def _sent(update: Floats, clip: float) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    try:
        return clip_to_grid(update, clip)
    except NonFiniteUpdate:
        return np.zeros(len(update), dtype=np.int32)


def _spec(size: int) -> AdapterSpec:
    """An adapter that is one dense tensor."""
    dense = (DenseSpec(name="head", shape=(size,)),)
    return AdapterSpec(model="none", method="ffa", rank=1, alpha=1.0, seed=0, linear=(), dense=dense)


def _sampling(kind: str, population: int) -> Sampling:
    return Sampling.model_validate({"kind": kind, "cohort": 1000, "population": population})
