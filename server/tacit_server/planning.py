"""From a federation's settings to what is promised: the policy of its budget and the noise that keeps it."""

from tacit_privacy.accounting.budget import BudgetPolicy
from tacit_privacy.accounting.events import Sampling
from tacit_privacy.accounting.plan import Plan
from tacit_server.config import FederationConfig, PrivacyConfig


def policy_for(privacy: PrivacyConfig, population: int) -> BudgetPolicy:
    """What a fleet of ``population`` devices may spend."""
    return BudgetPolicy(
        epsilon=privacy.epsilon,
        delta=privacy.delta_for(population),
        participations=privacy.participations,
        adjacency=privacy.adjacency,
        roster_sealed=privacy.roster == "sealed",
        population=population,
    )


def noise_for(privacy: PrivacyConfig, federation: FederationConfig, population: int) -> float:
    """The noise multiplier: as set, else the least that keeps the planned rounds within epsilon."""
    if privacy.noise_multiplier is not None:
        return privacy.noise_multiplier
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
    return plan.calibrate(privacy.epsilon)


def sampling_for(privacy: PrivacyConfig, federation: FederationConfig, population: int) -> Sampling:
    """How every round of the plan draws its cohort."""
    return Sampling(kind=privacy.sampling, cohort=federation.cohort, population=population)
