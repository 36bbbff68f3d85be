"""The report as text: nothing is fetched, nothing is executed, nothing is required, nothing is lost."""

import copy
import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit_privacy.errors import BadInput
from tacit_simulations.report import report
from tacit_simulations.report.figures import NOTHING, moment
from tacit_simulations.report.reading import read
from tacit_simulations.report.reasons import REASONS
from tacit_simulations.report.sections.budget import chosen_bound, downwards, upwards
from tacit_simulations.report.sections.learning import gap_closed

ROUND: dict[str, Any] = {
    "round": 1,
    "sampled": 20,
    "completed": 15,
    "dropped": {"battery": 3, "offline": 2},
    "virtual_start": 100.0,
    "virtual_seconds": 60.0,
    "loss": 2.0,
    "metric": 0.4,
    "epsilon": 1.5,
    "bytes_up": 1000,
    "bytes_down": 2000,
    "energy_j": 30.0,
    "money": 0.01,
    "noise_to_clip": 0.3,
    "clipped_share": 0.6,
    "tiers": {
        "phone": {"sampled": 12, "completed": 8, "dropped": {"battery": 3, "offline": 1}},
        "laptop": {"sampled": 8, "completed": 7, "dropped": {"offline": 1}},
    },
}
CURVE = [{"round": 0, "loss": 3.0, "metric": 0.1}, {"round": 2, "loss": 2.0, "metric": 0.5}]
RESULT: dict[str, Any] = {
    "scenario": "made-up",
    "seed": 3,
    "devices": 100,
    "versions": {"tacit": "0.1.0"},
    "config": {"fleet": {"devices": 100, "currency": "EUR"}},
    "rounds": [ROUND, {**ROUND, "round": 2, "epsilon": 2.0, "virtual_start": 4000.0}],
    "privacy": {
        "unit": "device",
        "adjacency": "zero-out",
        "delta": 1e-3,
        "epsilon": 2.0,
        "epsilon_cap": 4.0,
        "noise_multiplier": 1.0,
        "clip_norm": 0.5,
        "noise_source": "seeded",
        "bounds": [
            {"assumption": "made-up one", "adjacency": "zero-out", "epsilon": 2.0, "accountant": "exact"},
            {"assumption": "made-up two", "adjacency": "zero-out", "epsilon": 2.5, "accountant": "pld"},
            {"assumption": "made-up three", "adjacency": "other", "epsilon": 0.5, "accountant": "pld"},
        ],
        "empirical_lower_bound": None,
    },
    "evaluation": {
        "metric_name": "accuracy",
        "simulator_only": True,
        "untrained": {"loss": 3.0, "metric": 0.1},
        "centralised": {"loss": 1.0, "metric": 0.8},
        "local_only": {"loss": 2.5, "metric": 0.3},
        "federated": {"loss": 1.5, "metric": 0.6, "curve": CURVE},
        "federated_private": {"loss": 2.0, "metric": 0.5, "curve": CURVE},
        "personalised": {"loss": 1.4, "metric": 0.65},
        "per_tier": {
            "phone": {"devices": 60, "federated_private": 0.45, "personalised": 0.6},
            "laptop": {"devices": 40, "federated_private": 0.55, "personalised": 0.7},
        },
    },
    "fleet": {"devices": 100, "tiers": {"phone": 60, "laptop": 40}, "availability_by_hour": [0.5] * 24},
    "wall_seconds": 12.0,
    "client_trainings_per_second": 2.5,
}
HOSTILE = "<script>alert(1)</script><img src=//x.invalid onclick=x>\"' onload='x"


class Elements(HTMLParser):
    """Every element and every attribute name or reference of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.references: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes.update(name for name, _ in attrs)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]


def replaced(tree: Any, change: Any) -> Any:
    """A copy of ``tree`` with ``change`` applied to every text and every key."""
    if isinstance(tree, dict):
        return {key: replaced(value, change) for key, value in tree.items()}
    if isinstance(tree, list):
        return [replaced(value, change) for value in tree]
    return change(tree) if isinstance(tree, str) else tree


def renamed(result: dict[str, Any], word: str) -> dict[str, Any]:
    """``result`` with ``word`` in every place where a run may bring its own words."""
    hostile = copy.deepcopy(result)
    hostile["scenario"] = hostile["stopped"] = word
    hostile["versions"], hostile["config"] = {word: word}, {word: {word: [word]}}
    hostile["privacy"] = replaced(hostile["privacy"], lambda text: text + word)
    hostile["evaluation"]["metric_name"] = "accuracy" + word
    hostile["evaluation"]["per_tier"] = {word + k: v for k, v in hostile["evaluation"]["per_tier"].items()}
    hostile["fleet"]["tiers"] = {word + k: v for k, v in hostile["fleet"]["tiers"].items()}
    for row in hostile["rounds"]:
        row["dropped"] = {word + k: v for k, v in row["dropped"].items()}
        row["tiers"] = {
            word + tier: {**turnout, "dropped": {word + k: v for k, v in turnout["dropped"].items()}}
            for tier, turnout in row["tiers"].items()
        }
    return hostile


def test_words_of_a_run_never_become_markup() -> None:
    extra = {"{}": {"series": [{"name": "{}", "points": [[0, 1], [1, 2]]}], "x_label": "{}", "takeaway": "{}"}}
    pages = []
    for word in ("harmless", HOSTILE):
        charts = {word: replaced(extra["{}"], lambda _, word=word: word)}
        pages.append(Elements(report(renamed(RESULT, word), charts)))
    harmless, hostile = pages
    assert hostile.tags == harmless.tags
    assert hostile.attributes == harmless.attributes
    assert "script" not in hostile.tags


def test_nothing_is_fetched() -> None:
    page = report(RESULT)
    assert all(reference.startswith(("#", "data:")) for reference in Elements(page).references)
    assert not re.search(r"url\(|@import", page)
    assert "default-src 'none'" in page


def test_every_chart_is_well_formed_and_described() -> None:
    drawings = re.findall(r"<svg class=\"chart.*?</svg>", report(RESULT), re.DOTALL)
    assert len(drawings) > 10
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.get("role") == "img"
        assert root.get("aria-label")
        assert "nan" not in drawing


def test_anchors_are_unique_and_every_link_arrives() -> None:
    page = report(RESULT, {"More": {"series": [{"name": "a", "points": [[0, 0], [1, 1]]}]}})
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) == len(set(names))
    assert {target for target in re.findall(r'href="#([^"]+)"', page)} <= set(names)


def test_same_input_same_bytes_and_the_input_stays() -> None:
    before = copy.deepcopy(RESULT)
    assert report(RESULT) == report(copy.deepcopy(RESULT))
    assert before == RESULT


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_is_missing_or_null_is_left_out(data: st.DataObject) -> None:
    result = copy.deepcopy(RESULT)
    branches = [result, result["privacy"], result["evaluation"], result["fleet"], *result["rounds"]]
    for branch in branches:
        for key in data.draw(st.sets(st.sampled_from(sorted(branch)), max_size=6)):
            if data.draw(st.booleans()):
                branch[key] = None
            else:
                branch.pop(key, None)
    page = report(result)
    assert page.rstrip().endswith("</html>")
    assert ">None<" not in page


def test_a_timing_only_run_has_no_chapters_on_learning_or_privacy() -> None:
    timing = {key: value for key, value in RESULT.items() if key not in ("evaluation", "privacy")}
    timing["rounds"] = [
        {**row, "loss": None, "metric": None, "noise_to_clip": None, "clipped_share": None} for row in RESULT["rounds"]
    ]
    page = report(timing)
    assert 'id="learning"' not in page
    assert 'id="privacy"' not in page
    assert 'id="turnout"' in page
    assert "75% of the invited devices finished" in page


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (("rounds",), 3, "result.rounds"),
        (("rounds", 0, "sampled"), "x", "result.rounds[0].sampled"),
        (("rounds", 1, "completed"), 1.5, "result.rounds[1].completed"),
        (("rounds", 0, "tiers", "phone", "dropped"), [], "result.rounds[0].tiers.phone.dropped"),
        (("privacy", "bounds"), ["x"], "result.privacy.bounds[0]"),
        (("evaluation", "federated", "curve"), {}, "result.evaluation.federated.curve"),
        (("fleet", "availability_by_hour"), [0.5], "result.fleet.availability_by_hour"),
        (("seed",), True, "result.seed"),
        (("scenario",), 7, "result.scenario"),
    ],
)
def test_a_wrong_type_is_refused_by_its_place(path: tuple[Any, ...], value: object, place: str) -> None:
    result = copy.deepcopy(RESULT)
    branch: Any = result
    for step in path[:-1]:
        branch = branch[step]
    branch[path[-1]] = value
    with pytest.raises(BadInput, match=re.escape(place)):
        report(result)


@pytest.mark.parametrize("chart", [{}, {"series": [{"name": "a", "points": []}]}, {"series": [{"points": [[1]]}]}])
def test_an_extra_chart_without_points_is_refused(chart: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"charts_extra\.mine"):
        report(RESULT, {"mine": chart})


def test_five_thousand_rounds_stay_small() -> None:
    many = {**RESULT, "rounds": [{**ROUND, "round": n, "virtual_start": 300.0 * n} for n in range(1, 5001)]}
    page = report(many)
    assert len(page.encode()) < 1_500_000
    assert "of 5,000 rows, evenly spaced" in page


def test_seeded_noise_is_said_wherever_epsilon_is_a_headline() -> None:
    seeded = report(RESULT)
    system = report({**RESULT, "privacy": {**RESULT["privacy"], "noise_source": "os"}})
    assert "Seeded noise protects nobody." in seeded
    assert seeded.count("seeded noise") >= 3
    assert "eeded noise" not in system


@pytest.mark.parametrize("epsilon", [None, math.inf])
def test_without_a_bound_nothing_is_promised(epsilon: float | None) -> None:
    page = report({**RESULT, "privacy": {**RESULT["privacy"], "epsilon": epsilon, "bounds": []}})
    assert "No guarantee." in page
    assert "without a promise of privacy" in page
    assert "of the privacy budget" not in page


def test_the_reported_bound_is_the_smallest_of_the_named_adjacency() -> None:
    privacy = read(RESULT).privacy
    assert privacy is not None
    chosen = chosen_bound(privacy)
    assert chosen is not None
    assert (chosen.adjacency, chosen.epsilon) == ("zero-out", 2.0)


@given(epsilon=st.floats(1e-6, 1e6), digits=st.integers(2, 5))
def test_epsilon_is_shown_rounded_up_and_no_further_than_the_last_digit(epsilon: float, digits: int) -> None:
    shown = float(upwards(epsilon, digits).replace(",", ""))
    assert shown >= epsilon * (1 - 1e-9)
    assert shown <= epsilon * (1 + 10.0 ** (1 - digits)) * (1 + 1e-9)


def test_gap_closed_is_zero_at_untrained_and_one_at_federated_whichever_way_is_better() -> None:
    for name, sign in (("accuracy", 1), ("perplexity", -1)):
        result = copy.deepcopy(RESULT)
        result["evaluation"]["metric_name"] = name
        for key, score in result["evaluation"].items():
            if isinstance(score, dict) and "metric" in score:
                result["evaluation"][key] = {"loss": score["loss"], "metric": 10 + sign * score["metric"]}
        run = read(result)
        assert gap_closed(run, "untrained") == pytest.approx(0)
        assert gap_closed(run, "federated") == pytest.approx(1)
        assert gap_closed(run) == pytest.approx(0.8)
        assert gap_closed(run, "centralised") == pytest.approx(1.4)


def test_a_federation_that_learned_nothing_has_no_gap_to_close() -> None:
    result = copy.deepcopy(RESULT)
    result["evaluation"]["federated"]["metric"] = 0.05
    assert gap_closed(read(result)) is None
    assert "learned together" in report(result)


BUFFERED: dict[str, Any] = {
    **RESULT,
    "config": {"fleet": {"currency": "EUR"}, "federation": {"policy": "buffered"}},
    "rounds": [{**row, "staleness": 0.5 * index} for index, row in enumerate(RESULT["rounds"])],
}


def test_rounds_that_overlap_count_who_settled_and_say_so() -> None:
    page, plain = report(BUFFERED), report(RESULT)
    for words in ("Rounds overlap.", "devices that settled", "How old the updates were", "still at work at the end"):
        assert words in page
        assert words not in plain
    assert "invited devices" in plain
    assert "invited" not in page.split('id="glossary"')[0]


def test_the_oldest_update_of_a_round_is_told_where_the_run_states_it() -> None:
    stated = {**BUFFERED, "rounds": [{**row, "staleness_max": 7} for row in BUFFERED["rounds"]]}
    assert ">oldest</th>" in report(stated) and ">oldest</th>" not in report(BUFFERED)


def test_tiers_that_count_other_devices_than_their_round_are_left_out() -> None:
    tiers = {**ROUND["tiers"], "laptop": {"sampled": 8, "completed": 2, "dropped": {"offline": 6}}}
    page = report({**RESULT, "rounds": [{**ROUND, "tiers": tiers}]})
    assert "By device tier" in report(RESULT)
    assert "By device tier" not in page
    assert "Whether every tier is heard" not in page


def test_a_reason_that_only_the_tiers_know_is_drawn_and_explained() -> None:
    tiers = copy.deepcopy(ROUND["tiers"])
    tiers["phone"]["dropped"] = {"battery": 2, "not_used": 2}
    page = report({**RESULT, "rounds": [{**ROUND, "tiers": tiers}]})
    assert REASONS["not_used"].meaning in page
    assert "phone: not used 16.7%" in page


def test_what_cost_nothing_is_said_and_not_drawn() -> None:
    free = report({**RESULT, "rounds": [{**row, "money": 0.0} for row in RESULT["rounds"]]})
    assert "no transfer went over a connection with a price" in free
    assert "Columns of money" not in free
    assert "Columns of money" in report(RESULT)


def test_a_run_without_comparisons_has_no_table_of_models_and_no_gap() -> None:
    alone = {key: RESULT["evaluation"][key] for key in ("metric_name", "federated_private")}
    page = report({**RESULT, "evaluation": alone})
    assert "The models side by side" not in page
    assert "The curve is the model as watched round by round." in page


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "Mon 00:00:00"),
        (72_127.3, "Mon 20:02:07"),
        (6 * 86400 + 3661.0, "Sun 01:01:01"),
        (7 * 86400, "Mon 00:00:00, week 2"),
        (None, NOTHING),
        (math.inf, NOTHING),
    ],
)
def test_moments_of_virtual_time_are_days_and_hours(seconds: float | None, said: str) -> None:
    assert moment(seconds) == said


def test_devices_that_vanish_without_a_reason_are_still_counted() -> None:
    row = {**ROUND, "sampled": 30, "tiers": {}}
    assert "not stated (10)" in report({**RESULT, "rounds": [row]})


def test_the_documented_program_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    Path("run/result.json").write_text(json.dumps(RESULT), encoding="utf-8")
    exec(compile(program, "docs/report.md", "exec"), {})
    assert "Memory of the workers" in Path("run/report.html").read_text(encoding="utf-8")


EMPIRICAL: dict[str, Any] = {
    "planned": 60,
    "asked": 40,
    "estimate": 1.26,
    "estimate_low": 0.5,
    "estimate_high": 2.4,
    "confidence": 0.95,
    "lower_bound": 0.6789,
    "one_run": {"guesses": 20, "correct": 17},
}


@pytest.mark.parametrize(("upper", "refuted"), [(2.0, False), (0.5, True)])
def test_what_canaries_proved_stands_beside_what_is_claimed(upper: float, refuted: bool) -> None:
    result = copy.deepcopy(RESULT)
    result["privacy"] |= {"empirical": EMPIRICAL, "empirical_lower_bound": 0.6789, "epsilon": upper}
    page = report(result)
    assert "What an attack could show" in page and "17 of 20 guesses right" in page
    assert "0.678" in page and "0.679" not in page  # a lower bound is rounded down
    assert ("The lower bound passes the upper one" in page) is refuted
    assert "What an attack could show" not in report(RESULT)


def test_canaries_that_nobody_asked_proved_nothing() -> None:
    result = copy.deepcopy(RESULT)
    result["privacy"] |= {"empirical": {"planned": 3, "asked": 0, "estimate": None, "lower_bound": None}}
    assert "None of the 3 canaries took part" in report(result)


@given(st.floats(1e-6, 1e6), st.integers(2, 4))
def test_a_lower_bound_is_never_shown_larger_than_it_is(epsilon: float, digits: int) -> None:
    shown = float(downwards(epsilon, digits).replace(",", ""))
    assert epsilon * (1 - 10.0 ** (1 - digits)) * (1 - 1e-9) <= shown <= epsilon * (1 + 1e-9)
