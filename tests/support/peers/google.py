"""Google's dp-accounting: accountants, and nothing that samples, clips or noises."""

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

import dp_accounting as dp
from dp_accounting import gaussian_mechanism, pld, rdp
from laws.subject import Adjacency, NotOffered, Question, Subject

_RELATION = dp.NeighboringRelation
_ACCOUNTANTS = {"PLD": pld.PLDAccountant, "RDP": rdp.RdpAccountant}


class DpAccounting(Subject):
    name = "dp-accounting"

    def __init__(self) -> None:
        self.version = version("dp-accounting")

    def epsilon(self, question: Question) -> Mapping[str, float | Exception]:
        """`PLDAccountant` and `RdpAccountant`, `compose` and `get_epsilon`, over `GaussianDpEvent(z)`, plain or in
        `PoissonSampledDpEvent` or `SampledWithoutReplacementDpEvent`; relation `REPLACE_SPECIAL` for zero-out,
        `REPLACE_ONE` for replace-one. `GaussianDpEvent` documents z as s / C where norms are bounded by C. An
        accountant that raises `UnsupportedEventError` is left out: that is an honest answer.
        """
        event, found = _event(question), dict[str, float | Exception]()
        for name, kind in _ACCOUNTANTS.items():
            accountant = kind(neighboring_relation=_relation(question.adjacency))
            if accountant.supports(event):
                try:
                    accountant.compose(event, question.rounds)
                    found[name] = float(accountant.get_epsilon(question.delta))
                except (ArithmeticError, RuntimeError, ValueError) as error:
                    found[name] = error
        return found

    def calibrated_noise(self, epsilon: float, delta: float) -> float:
        """`gaussian_mechanism.get_sigma_gaussian`."""
        return float(gaussian_mechanism.get_sigma_gaussian(epsilon, delta))

    def compositions(self, count: int) -> Iterable[tuple[str, float, float]]:
        """`compose(event, count)` and as many `compose(event)`, for every event that an accountant takes, under
        `REPLACE_SPECIAL` or else `REPLACE_ONE`.
        """
        events = {
            "Gaussian": dp.GaussianDpEvent(4.0),
            "Laplace": dp.LaplaceDpEvent(10.0),
            "Poisson-sampled Gaussian": dp.PoissonSampledDpEvent(0.1, dp.GaussianDpEvent(2.0)),
            "truncated Poisson": dp.TruncatedSubsampledGaussianDpEvent(1000, 0.1, 150, 2.0),
            "without replacement": dp.SampledWithoutReplacementDpEvent(1000, 100, dp.GaussianDpEvent(2.0)),
            "zCDP": dp.ZCDpEvent(0.01),
            "tree": dp.SingleEpochTreeAggregationDpEvent(10.0, [8]),
            "randomized response": dp.RandomizedResponseDpEvent(0.5, 4),
        }
        for what, event in events.items():
            for name, kind in _ACCOUNTANTS.items():
                for relation in (_RELATION.REPLACE_SPECIAL, _RELATION.REPLACE_ONE):
                    once, single = (kind(neighboring_relation=relation) for _ in range(2))
                    if once.supports(event):
                        once.compose(event, count)
                        for _ in range(count):
                            single.compose(event)
                        yield f"{what}, {name}", float(once.get_epsilon(1e-6)), float(single.get_epsilon(1e-6))
                        break


def _relation(adjacency: Adjacency) -> Any:
    return _RELATION.REPLACE_ONE if adjacency == "replace-one" else _RELATION.REPLACE_SPECIAL


def _event(question: Question) -> Any:
    one = dp.GaussianDpEvent(question.noise_multiplier)
    match question.sampling:
        case "poisson":
            return dp.PoissonSampledDpEvent(question.cohort / question.population, one)
        case "uniform":
            return dp.SampledWithoutReplacementDpEvent(question.population, question.cohort, one)
        case "none":
            return one
        case "fixed":
            raise NotOffered("its events say nothing of cohorts chosen in any way")
