"""From a federation's settings to what is promised: the policy of its budget and the noise that keeps it."""

from tacit_privacy.accounting.budget import BudgetPolicy
from tacit_privacy.accounting.plan import Plan
from tacit_privacy.errors import BadInput
from tacit_privacy.wording import rounded_up
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
    """The noise multiplier: as set, else the least that keeps the planned rounds within epsilon.

    Raises BadInput where what is set does not keep them there: such a run is refused before its first round.
    """
    _check_pauses(privacy, federation, population)
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


def _check_pauses(privacy: PrivacyConfig, federation: FederationConfig, population: int) -> None:
    """Raise BadInput where devices would always be in a pause: while a round waits for devices, no round passes."""
    apart = min(privacy.separation, federation.rounds)
    if privacy.sampling == "fixed" and apart * federation.minimum > population:
        raise BadInput(
            f"privacy.separation {privacy.separation} needs {apart * federation.minimum} devices, {federation.minimum} "
            f"for each of {apart} rounds, but there are {population}; lower it or federation.cohort"
        )
