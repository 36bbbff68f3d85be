"""What a fleet can afford, second accountants, and the commands that tell."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit_privacy import cli
from tacit_privacy.accounting.affordable import Fleet, best, default_cohorts, remedy, rows
from tacit_privacy.accounting.crosscheck import GROUP, cross_check, largest_disagreement
from tacit_privacy.accounting.events import Adjacency, Exposure, GaussianEvent, Sampling
from tacit_privacy.accounting.gaussian import epsilon_of
from tacit_privacy.accounting.plan import Plan
from tacit_privacy.accounting.plan_page import page
from tacit_privacy.errors import BadInput
from tacit_simulations.evaluation.prv import epsilon_prv


@settings(max_examples=25, deadline=None)
@given(
    population=st.integers(1, 10**6),
    dimension=st.integers(1, 10**6),
    epsilon=st.floats(0.1, 30),
    cap=st.integers(1, 50),
)
def test_every_plan_fits_its_fleet_and_its_budget(population: int, dimension: int, epsilon: float, cap: int) -> None:
    fleet = Fleet(population, dimension, epsilon, 1e-6, participations=cap)
    for row in rows(fleet, default_cohorts(population), (1, 10, 100)):
        assert row.cohort <= population
        assert row.uploads == row.cohort * row.rounds <= population * row.participations
        assert row.participations <= min(cap, row.rounds)
        spent = epsilon_of(math.sqrt(row.participations) / row.noise_multiplier, 1e-6)
        assert epsilon * (1 - 1e-6) <= spent <= epsilon
        assert row.noise_to_signal == pytest.approx(row.noise_multiplier * math.sqrt(dimension) / row.cohort)
        assert row.affordable == (row.noise_to_signal <= 1)


def test_where_nothing_is_affordable_the_remedy_works() -> None:
    fleet = Fleet(1000, 500_000, 2.0, 1e-4)
    listed = rows(fleet, (100,), (100,))
    said = remedy(fleet, listed)
    assert said is not None and "38.8 times as large" in said and "332 parameters" in said
    for helped, cohort in [(Fleet(1000, 332, 2.0, 1e-4), 100), (Fleet(38_800, 500_000, 2.0, 1e-4), 3880)]:
        found = rows(helped, (cohort,), (100,))
        assert found[0].affordable and remedy(helped, found) is None
    assert remedy(fleet, rows(Fleet(10, 10, 1.0, 1e-3, participations=1), (10,), (2,))) is not None


def test_with_sampling_the_best_rows_are_exact_and_the_others_never_too_small() -> None:
    fleet = Fleet(10_000, 1000, 4.0, 1e-5, sampling="poisson")
    listed = rows(fleet, (100, 500), (50,))
    (chosen,) = best(listed)
    for row in listed:
        spent = Plan.of("poisson", row.cohort, 10_000, 50, None, 1e-5, "zero-out").bounds(row.noise_multiplier)[1]
        assert spent.epsilon <= 4.0
        if row == chosen:
            assert spent.epsilon >= 4.0 * (1 - 1e-3)
    with pytest.raises(BadInput, match="zero-out"):
        rows(Fleet(100, 10, 1.0, 1e-3, Adjacency.REPLACE_ONE, "poisson"), (10,), (5,))


def test_the_page_needs_nothing_but_itself() -> None:
    fleet = Fleet(10_000, 50_000, 8.0, 1e-5)
    listed = rows(fleet, default_cohorts(10_000), (10, 100))
    text = page(fleet, listed, 1.0, remedy(fleet, listed))
    assert text.count("<polyline") == 2 and text.count("<circle") == len(listed) == text.count("<tr><td>")
    assert "prefers-color-scheme:dark" in text
    assert not any(word in text for word in ("http", "src=", "<script", "@import", "url(", "nan"))


def test_a_second_accountant_agrees_without_sampling() -> None:
    event = GaussianEvent(noise_multiplier=4.0, sampling=Sampling(kind="fixed", cohort=10, population=100))
    checks = cross_check({event: 50}, Exposure(50), 1e-6)
    found = largest_disagreement(checks)
    assert [check.outcome for check in checks] == ["compared"]
    assert found is not None and found < 2e-3


def test_the_second_accountant_of_poisson_rounds_agrees_or_says_why_not() -> None:
    found, outcome = epsilon_prv([(1.0, 0.01, 1000)], 1e-6)
    assert outcome == "compared" and found == pytest.approx(2.1345, abs=2e-3)
    for rounds, delta in [([(0.01, 0.5, 10)], 1e-6), ([(1.0, 0.01, 10)], 1e-20)]:
        found, outcome = epsilon_prv(rounds, delta)
        assert found is None and "accountant" in outcome


def test_a_sampling_that_no_second_accountant_knows_is_said_to_be_so() -> None:
    event = GaussianEvent(noise_multiplier=4.0, sampling=Sampling(kind="uniform", cohort=10, population=100))
    plain, drawn = cross_check({event: 5}, Exposure(5, sealed=True), 1e-6)
    assert (plain.outcome, drawn.epsilon) == ("compared", None)
    assert "no second accountant" in drawn.outcome
    assert GROUP == "tacit.accountants"


def told(words: str, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert cli.main([*words.split(), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_the_commands_tell_what_is_charged_and_checked(capsys: pytest.CaptureFixture[str]) -> None:
    base = "privacy epsilon --noise-multiplier 4 --rounds 50 --delta 1e-6"
    continuous, discrete = told(base, capsys), told(f"{base} --dimension 500000", capsys)
    assert isinstance(continuous["epsilon"], float) and isinstance(discrete["epsilon"], float)
    assert continuous["epsilon"] == pytest.approx(9.48, abs=0.005)
    assert continuous["epsilon"] < discrete["epsilon"] < 1.001 * continuous["epsilon"]
    checked = told(f"{base} --cross-check", capsys)["cross_check"]
    assert isinstance(checked, dict) and checked["largest_disagreement"] < 2e-3
    banded = told(f"{base} --bands 4 --separation 5", capsys)
    assert "correlated noise, at most 10 participations" in str(banded["assumption"])


def test_a_plan_is_written_as_rows_and_as_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"privacy plan --population 5000 --dimension 2000 --epsilon 8 --rounds 10 --out {tmp_path / 'plan.html'}"
    found = told(words, capsys)
    assert found["delta"] == pytest.approx(5000**-1.1) and found["remedy"] is None
    assert isinstance(found["rows"], list) and len(found["rows"]) == 7
    assert "<svg" in (tmp_path / "plan.html").read_text()
    assert cli.main(words.split()) == 0
    assert "noise multiplier" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", ["--adjacency sideways", "--level 0", "--delta 2", "--epsilon -1"])
def test_a_plan_that_makes_no_sense_is_refused(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"privacy plan --population 5000 --dimension 2000 --epsilon 8 {wrong}"
    assert cli.main(words.split()) == 2
    assert capsys.readouterr().out == ""
