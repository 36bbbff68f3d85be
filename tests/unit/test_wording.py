"""What people are told: bounds that are never too small, settings that they meant."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit_privacy.errors import BadInput
from tacit_privacy.wording import rounded_up
from tacit_simulations.scenario import load_scenario


@given(st.floats(min_value=1e-300, max_value=1e300))
def test_a_bound_is_never_shown_smaller_than_it_is_nor_much_larger(value: float) -> None:
    shown = Fraction(rounded_up(value))
    assert Fraction(value) <= shown <= Fraction(value) * Fraction(1001, 1000)


def test_edges_are_shown_as_they_are() -> None:
    assert [rounded_up(value) for value in (0.0, 8.0, 8.0000001, math.inf)] == ["0", "8", "8.001", "inf"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("federation.cohrt=3", "unknown setting federation.cohrt; did you mean federation.cohort?"),
        ("epsilon=3", "unknown setting epsilon; did you mean privacy.epsilon?"),
        ("fleet.learning_rate=3", "did you mean federation.learning_rate or training.learning_rate"),
        ("zebra.stripes=3", "unknown setting zebra"),
        ("adapter.targets=foo", "adapter.targets: input should be a list, such as"),
    ],
)
def test_a_mistyped_setting_is_met_with_the_one_that_was_meant(override: str, said: str) -> None:
    with pytest.raises(BadInput) as refused:
        load_scenario("home", [override])
    assert said in str(refused.value)
    assert ("did you mean" in said) == ("did you mean" in str(refused.value))
