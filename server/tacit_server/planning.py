"""From a federation's settings to what is promised: the policy of its budget and the noise that keeps it."""

from tacit_privacy.accounting.events import Arithmetic, GaussianEvent, Sampling
from tacit_privacy.accounting.plan import Plan
from tacit_privacy.accounting.policy import BudgetPolicy, Planned
from tacit_privacy.errors import BadInput
from tacit_privacy.ledger.bodies import Begun
from tacit_privacy.mechanisms.gaussian import GaussianSum
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
        arithmetic=Arithmetic(levels=mechanism.levels, dimension=dimension),
        noise_source=noise.name,
    )


def sampling_for(privacy: PrivacyConfig, federation: FederationConfig, population: int) -> Sampling:
    """How the cohort of a round comes about."""
    return Sampling(kind=privacy.sampling, cohort=federation.cohort, population=population)


def noise_for(privacy: PrivacyConfig, federation: FederationConfig, population: int) -> float:
    """The noise multiplier: as set, else the least that keeps the planned rounds within epsilon.

    Raises BadInput where what is set does not keep them there: such a run is refused before its first round.
    """
    sealed_poisson = privacy.sampling == "poisson" and privacy.roster == "sealed"
    plan = Plan.of(
        "poisson" if sealed_poisson else "none",
        federation.cohort,
        population,
        federation.rounds,
        privacy.participations,
        privacy.delta_for(population),
        str(privacy.adjacency),
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
