"""The sum of a cohort: who is in it is known at once, however large it is."""

import numpy as np
import pytest

from tacit_privacy.contract import AdapterSpec, LinearSpec
from tacit_privacy.errors import UpdateRefused
from tacit_privacy.mechanisms.gaussian import GaussianSum
from tacit_server.aggregation.sums import CohortSum

SPEC = AdapterSpec(model="m", method="ffa", rank=1, alpha=1, seed=1, linear=(LinearSpec(name="w", rows=2, columns=2),))


class Counted(int):
    """A device number that counts how often it is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return int(self) == other

    __hash__ = int.__hash__


def test_a_duplicate_is_refused_and_order_of_arrival_is_kept() -> None:
    total = CohortSum(SPEC, GaussianSum(1.0, 0.0))
    for device in (5, 2, 9):
        total.add(device, np.array([1, device], dtype=np.int32), 1)
    with pytest.raises(UpdateRefused, match="duplicate"):
        total.add(2, np.array([1, 1], dtype=np.int32), 1)
    assert (total.devices, total.total.tolist()) == ([5, 2, 9], [3, 16])


def test_a_refused_update_does_not_use_up_its_device() -> None:
    total = CohortSum(SPEC, GaussianSum(1.0, 0.0))
    with pytest.raises(UpdateRefused, match="wrong_shape"):
        total.add(4, np.zeros(3, dtype=np.int32), 1)
    total.add(4, np.zeros(2, dtype=np.int32), 1)
    assert total.devices == [4]


def test_looking_for_a_duplicate_does_not_grow_with_the_cohort() -> None:
    total, update = CohortSum(SPEC, GaussianSum(1.0, 0.0)), np.ones(2, dtype=np.int32)
    for device in range(2_000):
        total.add(Counted(device), update, 1)
    assert Counted.compared < 2_000
