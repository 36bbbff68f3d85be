"""Laws of the router and of its measures, over made-up scores, answers, texts and files."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit_clients.routing import (
    Damage,
    Example,
    LocalSteps,
    Predictor,
    RouterSettings,
    Spec,
    features,
    fit,
    folds,
    initial,
    local_delta,
    threshold_for_rate,
    threshold_for_risk,
)
from tacit_clients.routing.calibration import NEVER, calibrate
from tacit_clients.routing.familiarity import Familiarity
from tacit_clients.routing.spec import describe_all
from tacit_privacy.errors import BadInput
from tacit_simulations.evaluation.routing import apgr, bootstrap, cpt, decisions, oracle, read
from tacit_simulations.evaluation.routing.metrics import curve

Graded = list[tuple[int, bool, bool]]
graded = st.lists(st.tuples(st.integers(-40, 40), st.booleans(), st.booleans()), min_size=1, max_size=60)
texts = st.text(max_size=80)
WORDS = ("why", "sum", "of", "seven", "12", "prove", "that", "green", "river", "not", "if", "town")
prompts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join)
examples = st.lists(st.builds(Example, prompts, st.booleans(), st.booleans()), min_size=2, max_size=12)


def columns(rows: Graded) -> tuple[list[float], list[float], list[float]]:
    return [float(s) for s, _, _ in rows], [float(a) for _, a, _ in rows], [float(b) for _, _, b in rows]


@cache
def trained() -> Predictor:
    rng = np.random.default_rng(1)
    rows = [
        Example(f"{' '.join(rng.choice(WORDS, 6))} {number}", bool(rng.random() < 0.6), bool(rng.random() < 0.8))
        for number in range(60)
    ]
    return fit(rows, RouterSettings(bits=6, gram_penalty=0.01)).predictor


# --- measures


@given(graded)
def test_a_curve_starts_with_the_small_model_and_ends_with_the_large_one(rows: Graded) -> None:
    score, slm, llm = columns(rows)
    share, quality = curve(score, slm, llm)
    assert share[0] == 0 and share[-1] == 1 and np.all(np.diff(share) >= 0)
    assert quality[0] == pytest.approx(np.mean(slm)) and quality[-1] == pytest.approx(np.mean(llm))


@given(graded)
def test_points_of_a_curve_are_the_mixes_at_the_decile_edges(rows: Graded) -> None:
    """RouteLLM's rule word for word, with edges as fractions of whole numbers."""
    ordered, size = sorted(score for score, _, _ in rows), len(rows)
    points = [(0.0, sum(slm for _, slm, _ in rows) / size)]
    for part in range(10):
        at, rest = divmod((size - 1) * part, 10)
        edge = ordered[at] * 10 + rest * (ordered[min(at + 1, size - 1)] - ordered[at])  # tenths
        answers = [llm if 10 * score >= edge else slm for score, slm, llm in rows]
        points.append((sum(10 * score >= edge for score, _, _ in rows) / size, sum(answers) / size))
    found = np.array(list(zip(*curve(*columns(rows)), strict=True)))
    np.testing.assert_allclose(found, sorted(points), atol=1e-12)


@given(graded)
def test_only_the_order_of_scores_counts(rows: Graded) -> None:
    score, slm, llm = columns(rows)
    assert apgr(np.exp(np.array(score) / 3), slm, llm) == pytest.approx(apgr(score, slm, llm), nan_ok=True)


@given(graded)
def test_the_area_of_an_order_and_of_its_reverse_average_to_a_half(rows: Graded) -> None:
    """Where scores differ and ten parts are whole: what the one asks first the other asks last."""
    score = list(range(10 * len(rows) + 1))
    slm, llm = ([float(row[column]) for row in rows for _ in range(10)] + [0.0] for column in (1, 2))
    if sum(slm) != sum(llm):
        both = apgr(score, slm, llm) + apgr([-each for each in score], slm, llm)
        # the row at each edge is asked by both, the 11 edges weigh less than 1 / n each
        assert abs(both - 1) <= 3 / abs(sum(llm) - sum(slm))


@given(graded)
def test_the_share_that_recovers_a_gap_rises_with_the_gap_and_is_a_share(rows: Graded) -> None:
    score, slm, llm = columns(rows)
    found = cpt(score, slm, llm)
    if sum(llm) <= sum(slm):
        assert found == {"20": None, "50": None, "80": None}
    else:
        shares = [share for share in found.values() if share is not None]
        assert len(shares) == 3 and shares == sorted(shares)
        assert shares[0] > 0 and shares[-1] <= 100


@given(graded, st.integers(0, 9))
def test_one_router_never_differs_from_itself_in_any_draw(rows: Graded, seed: int) -> None:
    score, slm, llm = columns(rows)
    draws = bootstrap([score, score], slm, llm, np.random.default_rng(seed), 5)
    np.testing.assert_array_equal(draws[:, 0], draws[:, 1])


@given(graded, st.integers(0, 9))
def test_groups_of_one_row_are_drawn_like_rows(rows: Graded, seed: int) -> None:
    score, slm, llm = columns(rows)
    names = [f"{number:04}" for number in range(len(rows))]
    plain = bootstrap([score], slm, llm, np.random.default_rng(seed), 5)
    grouped = bootstrap([score], slm, llm, np.random.default_rng(seed), 5, names)
    np.testing.assert_array_equal(plain, grouped)


@given(graded)
def test_no_point_of_a_curve_lies_above_the_oracle(rows: Graded) -> None:
    score, slm, llm = columns(rows)
    if sum(llm) > sum(slm):
        share, quality = curve(score, slm, llm)
        wins = np.mean((np.array(llm) == 1) & (np.array(slm) == 0))
        assert np.all(quality <= np.mean(slm) + np.minimum(share, wins) + 1e-12)
        assert oracle(slm, llm) > 0


@given(graded, st.integers(-41, 41))
def test_every_prompt_is_asked_rightly_or_in_one_of_the_wrong_ways(rows: Graded, threshold: int) -> None:
    score, slm, llm = columns(rows)
    found = decisions(np.array(score) >= threshold, slm, llm)
    gained = np.mean([s >= threshold and not a and b for s, a, b in rows])
    asked = found["over_escalation"] + found["both_wrong_waste"] + gained
    assert asked == pytest.approx(found["achieved_rate"])
    missed = found["under_escalation"] + gained
    assert missed == pytest.approx(np.mean([not a and b for _, a, b in rows]))


# --- thresholds

scores = st.lists(st.sampled_from([0.05, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9]), min_size=1, max_size=40)


@given(scores, st.floats(0.01, 0.99))
def test_no_threshold_comes_closer_to_the_rate(found: list[float], rate: float) -> None:
    threshold = threshold_for_rate(np.array(found), rate)
    off = abs(np.mean(np.array(found) >= threshold) - rate)
    assert off <= min(abs(np.mean(np.array(found) >= each) - rate) for each in (*found, NEVER)) + 1e-12


@given(scores)
def test_rates_of_none_and_all_hold_for_every_score_to_come(found: list[float]) -> None:
    assert threshold_for_rate(np.array(found), 0) == NEVER > 1
    assert threshold_for_rate(np.array(found), 1) == 0
    assert threshold_for_rate(np.full(4, 0.3), 0.5) > 0.3  # all or nothing, both as far from a half: nothing


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=40), st.floats(0.01, 0.99))
def test_the_risk_of_the_one_left_out_is_bounded_on_average(rows: list[tuple[float, bool]], alpha: float) -> None:
    """The guarantee itself, with its only randomness, which of the n + 1 comes last, averaged out."""
    found, missed = np.array([score for score, _ in rows]), np.array([miss for _, miss in rows])
    lost = 0
    for last in range(len(rows)):
        others = np.arange(len(rows)) != last
        lost += missed[last] and found[last] < threshold_for_risk(found[others], missed[others], alpha)
    assert lost <= alpha * len(rows) + 1e-6


@given(st.lists(st.tuples(st.floats(-1, 1), st.booleans()), min_size=2, max_size=40))
def test_a_calibrated_probability_rises_with_the_gain_whatever_the_answers(rows: list[tuple[float, bool]]) -> None:
    found = calibrate(np.array([gain for gain, _ in rows]), np.array([helped for _, helped in rows]))
    probability = found.probability(np.linspace(-1, 1, 9))
    assert np.all(np.diff(probability) > 0) or found.slope > 20  # so steep that a float shows 0 or 1
    assert found.slope > 0 and np.all((probability >= 0) & (probability <= 1))


# --- the predictor


@given(texts)
def test_every_text_has_the_same_features_and_all_are_finite(prompt: str) -> None:
    found = features.describe(prompt)
    assert found.shape == (len(features.names()),) and np.all(np.isfinite(found))


@given(texts, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_threshold_never_asks_more(prompt: str, one: float, other: float, sure: float) -> None:
    low, high = sorted((one, other))
    asked = [trained().with_threshold(each).decide(prompt, confidence=sure).escalate for each in (low, high)]
    assert asked in ([True, True], [True, False], [False, False])


@given(texts, st.floats(0, 1))
def test_what_redaction_would_take_the_point_of_stays_here(prompt: str, share: float) -> None:
    found = trained().with_threshold(0.0)
    assert found.decide(prompt, damage=Damage(share, critical=False)).escalate
    assert not found.decide(prompt, damage=Damage(share, critical=True)).escalate


@given(st.lists(prompts, min_size=2, max_size=20), texts, st.integers(0, 9))
def test_a_p_value_is_never_nothing_and_survives_being_saved(known: list[str], prompt: str, seed: int) -> None:
    found = Familiarity.of(known, np.random.default_rng(seed))
    again = Familiarity.from_sets(found.sets(), found.aside)
    assert 1 / (len(found.aside) + 1) <= found.p_value(prompt) <= 1
    assert again.p_value(prompt) == found.p_value(prompt) and again.novelty(prompt) == found.novelty(prompt)


@settings(max_examples=30, deadline=None)
@given(examples, examples)
def test_one_step_of_two_devices_is_the_step_on_all_examples(one: list[Example], other: list[Example]) -> None:
    both = one + other
    spec = Spec.of(describe_all([each.prompt for each in both]), bits=5)
    step, start = LocalSteps(steps=1), initial(spec)

    def delta(rows: Sequence[Example]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return len(rows) / len(both) * local_delta(spec, start, rows, step).astype(np.float64)

    np.testing.assert_allclose(delta(one) + delta(other), delta(both), atol=1e-6)
    assert np.any(delta(both) != 0)


# --- folds and files


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=60), st.integers(1, 6), st.integers(0, 9))
def test_a_group_is_whole_in_one_part(groups: list[str], parts: int, seed: int) -> None:
    found = folds.grouped(groups, parts, np.random.default_rng(seed))
    assert len(set(zip(groups, found.tolist(), strict=True))) == len(set(groups))
    assert found.min() >= 0 and found.max() < parts


@given(st.lists(st.booleans(), min_size=6, max_size=60), st.integers(1, 6), st.integers(0, 9))
def test_mixed_parts_have_one_size_and_share_every_outcome(outcomes: list[bool], parts: int, seed: int) -> None:
    found = folds.mixed(outcomes, parts, np.random.default_rng(seed))
    for chosen in (np.ones(len(outcomes), dtype=bool), np.array(outcomes)):
        sizes = np.bincount(found[chosen], minlength=parts)
        assert sizes.max() - sizes.min() <= 1


values = st.none() | st.booleans() | st.integers(-1, 2) | st.floats() | texts | st.lists(st.integers(), max_size=2)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(("id", "prompt", "slm", "llm", "group", "confidence")), values), texts)
def test_a_row_is_read_or_refused_by_its_line(row: dict[str, object], rest: str) -> None:
    first = {"id": 1, "prompt": rest, "slm": 0, "llm": 1}
    with TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        file.write_text(json.dumps(first) + "\n" + json.dumps(first | row) + "\n", encoding="utf-8")
        try:
            found = read(file)
        except BadInput as error:
            assert "line 2" in str(error)
        else:
            assert len(found) == 2 and found[0] == Example(rest, False, True)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=3))
def test_a_damaged_router_is_refused_or_still_a_router(at: int, damage: bytes) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "router.json"
        trained().save(file)
        whole = file.read_bytes()
        start = at % len(whole)
        file.write_bytes(whole[:start] + damage + whole[start + len(damage) :])
        try:
            found = Predictor.load(file)
        except BadInput as error:
            assert str(file) in str(error)
        else:
            assert 0 <= found.score("why not") <= 1
