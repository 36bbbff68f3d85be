"""From a federation's settings to what is promised: the policy of its budget and the noise that keeps it."""

import math

from tacit_privacy.accounting.events import Arithmetic, Correlation, GaussianEvent, Sampling
from tacit_privacy.accounting.plan import Plan
from tacit_privacy.accounting.policy import BudgetPolicy, Planned
from tacit_privacy.contract import LEVELS, Statistic
from tacit_privacy.errors import BadInput
from tacit_privacy.ledger.bodies import Begun
from tacit_privacy.mechanisms.adaptive import WITHIN_CLIP, AdaptiveClip
from tacit_privacy.mechanisms.correlated import CorrelatedNoise
from tacit_privacy.mechanisms.gaussian import GaussianSum
from tacit_privacy.mechanisms.joint import JointSum, Slot
from tacit_privacy.mechanisms.noise import NoiseSource
from tacit_privacy.provenance import code_digest
from tacit_privacy.wording import rounded_up
from tacit_server.config import FederationConfig, PrivacyConfig


def policy_for(privacy: PrivacyConfig, population: int, event: GaussianEvent, rounds: int) -> BudgetPolicy:
    """What a fleet of ``population`` devices may spend on at most ``rounds`` releases of ``event``."""
    sealed = privacy.roster == "sealed"
    return BudgetPolicy(
        epsilon=privacy.epsilon,
        delta=privacy.delta_for(population),
        participations=privacy.participations,
        separation=privacy.separation,
        period_s=privacy.period_s,
        adjacency=privacy.adjacency,
        roster_sealed=sealed,
        population=population,
        plan=Planned(event=event, rounds=rounds) if sealed and event.sampling.kind != "fixed" else None,
    )


def begun_for(run: str, config: str, mechanism: GaussianSum, dimension: int, noise: NoiseSource) -> Begun:
    """What the ledger says of a run: the digest of its settings, the code it runs, the numbers it draws noise in."""
    return Begun(
        run=run,
        config=config,
        code=code_digest("tacit_privacy", "tacit_server"),
        clip_norm=mechanism.clip_norm,
        arithmetic=Arithmetic(levels=mechanism.levels, dimension=dimension + len(JointSum.of(mechanism).slots)),
        noise_source=noise.name,
    )


def sampling_for(privacy: PrivacyConfig, federation: FederationConfig, population: int) -> Sampling:
    """How the cohort of a round comes about."""
    return Sampling(kind=privacy.sampling, cohort=federation.cohort, population=population, cap=privacy.cohort_cap)


def noise_for(
    privacy: PrivacyConfig, federation: FederationConfig, population: int, dimension: int | None = None
) -> float:
    """The noise multiplier: as set, else the least that keeps the planned rounds within epsilon.

    Where noise is correlated it is that of a round's fresh noise: a participation moves as many rounds as there are
    bands. ``dimension``: numbers that a release draws, which integer arithmetic is charged for; None: it is not.
    Raises BadInput where what is set does not keep them there: such a run is refused before its first round.
    """
    _check_pauses(privacy, federation, population)
    plan = Plan(
        sampling=sampling_for(privacy, federation, population),
        rounds=federation.rounds,
        participations=min(privacy.participations, math.ceil(federation.rounds / privacy.separation)),
        delta=privacy.delta_for(population),
        adjacency=privacy.adjacency,
        sealed=privacy.secret and privacy.roster == "sealed",
        separation=privacy.separation,
        correlation=correlation_for(privacy, federation),
        arithmetic=None if dimension is None else Arithmetic(levels=LEVELS, dimension=dimension),
    )
    if privacy.noise_multiplier is None:
        return plan.calibrate(privacy.epsilon)
    _, best = plan.bounds(privacy.noise_multiplier)
    if best.epsilon > privacy.epsilon:
        raise BadInput(
            f"with privacy.noise_multiplier {privacy.noise_multiplier:g} the run would end at epsilon "
            f"{rounded_up(best.epsilon)}, and privacy.epsilon is {privacy.epsilon:g}; "
            "leave privacy.noise_multiplier out, and it is computed"
        )
    return privacy.noise_multiplier


def correlation_for(privacy: PrivacyConfig, federation: FederationConfig) -> Correlation | None:
    """How noise is correlated over rounds; None where it is not."""
    if privacy.noise == "independent":
        return None
    return Correlation(bands=privacy.reach, rounds=federation.rounds)


def mechanism_for(privacy: PrivacyConfig, federation: FederationConfig, population: int, dimension: int) -> JointSum:
    """What a private run's rounds release, and under which noise, for an adapter of ``dimension``. Raises BadInput as
    ``noise_for`` does, and where the statistics would leave nothing to the adapter.
    """
    slots = (privacy.clip_quantile is not None) + 2 * privacy.metrics
    noise = noise_for(privacy, federation, population, dimension + slots)
    correlation = correlation_for(privacy, federation)
    correlated = None if correlation is None else CorrelatedNoise(correlation)
    return JointSum(privacy.clip_norm, noise, LEVELS, _slots(privacy, federation.cohort, noise), correlated)


def adaptive_clip(privacy: PrivacyConfig) -> AdaptiveClip | None:
    """How the clip follows the updates; None where it stays."""
    if privacy.clip_quantile is None:
        return None
    return AdaptiveClip(privacy.clip_quantile, privacy.clip_learning_rate, *privacy.clip_range)


def _slots(privacy: PrivacyConfig, cohort: int, noise: float) -> tuple[Slot, ...]:
    """One device moves the number of updates within the clip by at most a half, a mean by half its range / cohort."""
    usual = max(cohort / 10, 10 * noise)
    within = usual if privacy.clip_bit_noise is None else 2 * privacy.clip_bit_noise
    metric = usual if privacy.metric_noise is None else 2 * privacy.metric_noise * cohort
    wanted = [Slot(WITHIN_CLIP, within)] if privacy.clip_quantile is not None else []
    if privacy.metrics:
        loss = Statistic(name="loss", low=0.0, high=privacy.largest_loss)
        wanted += [Slot(loss, metric), Slot(Statistic(name="metric", low=0.0, high=1.0), metric)]
    return tuple(wanted)


def _check_pauses(privacy: PrivacyConfig, federation: FederationConfig, population: int) -> None:
    """Raise BadInput where devices would always be in a pause: while a round waits for devices, no round passes."""
    apart = min(privacy.separation, federation.rounds)
    if privacy.sampling == "fixed" and apart * federation.minimum > population:
        raise BadInput(
            f"privacy.separation {privacy.separation} needs {apart * federation.minimum} devices, {federation.minimum} "
            f"for each of {apart} rounds, but there are {population}; lower it or federation.cohort"
        )
