"""Opacus's PRV accountant as a second opinion on Poisson rounds (Gopi, Lee and Wutschitz 2021).

It is the entry point ``opacus PRV`` of the group ``tacit.accountants``: the ground floor may not import Opacus, which
loads torch.
"""

import math
import warnings
from collections.abc import Sequence

from tacit_privacy.accounting.poisson import PoissonRounds, tractable

_DIFFERS = "Discrete mean differs significantly"  # meta-pytorch/opacus issues 601 and 606


def epsilon_prv(rounds: Sequence[tuple[float, float, int]], delta: float) -> tuple[float | None, str]:
    """Upper bound on epsilon at ``delta`` of Poisson rounds (noise multiplier, rate, rounds), and what happened.

    None where the accountant gives no number that can be one: its grid loses the mean, delta is too small for its error
    bound, or the result is NaN, infinite or negative. Opacus is known for each.
    """
    if not tractable([PoissonRounds(*part) for part in rounds]):
        return None, "so little noise that the accountant's distributions would not fit into memory"
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = [(noise, rate, count) for noise, rate, count in rounds]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = float(accountant.get_epsilon(delta))
    except (ArithmeticError, MemoryError, RuntimeError, ValueError) as error:
        known = "its grid loses the mean of the loss" if _DIFFERS in str(error) else type(error).__name__
        return None, f"the accountant gave up: {known}"
    if not math.isfinite(found) or found < 0:
        return None, f"the accountant gave {found:g}, which is no epsilon"
    return found, "compared"
