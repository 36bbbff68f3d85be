"""The Poisson-subsampled Gaussian by privacy loss distributions (dp-accounting's PLD accountant, pessimistic)."""

from functools import lru_cache

from tacit_privacy.accounting.gaussian import check_delta


@lru_cache(maxsize=256)
def epsilon_poisson(noise_multiplier: float, rate: float, rounds: int, delta: float) -> float:
    """Upper bound on epsilon for ``rounds`` identical rounds in which a device joins with probability ``rate``.

    Zero-out adjacency, which for this mechanism has the curve of add/remove (Zhu and Wang 2019). Cost does not depend
    on ``rounds``: equal rounds are composed as one event (Koskela et al. 2020; Doroshenko et al. 2022).
    """
    from dp_accounting import GaussianDpEvent, NeighboringRelation, PoissonSampledDpEvent, SelfComposedDpEvent
    from dp_accounting.pld import PLDAccountant

    check_delta(delta)
    if rounds == 0:
        return 0.0
    accountant = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE)
    round_event = PoissonSampledDpEvent(rate, GaussianDpEvent(noise_multiplier))
    accountant.compose(SelfComposedDpEvent(round_event, rounds))
    return float(accountant.get_epsilon(delta))
