"""The report on a comparison: self-contained, well-formed, words never become markup, every baseline on every plot."""

import copy
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from made_up_modes import made_up

from tacit_privacy.errors import BadInput
from tacit_simulations.evaluation.modes.rows import FIELDS
from tacit_simulations.report.comparison import comparison_report

HOSTILE = "<script>alert(1)</script><img src=//x.invalid onclick=x>\"' onload='x"
DOCS = Path(__file__).parents[2] / "docs" / "evaluation.md"


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    return made_up()


@pytest.fixture(scope="module")
def page(told: dict[str, Any]) -> str:
    return comparison_report(told)


class Elements(HTMLParser):
    """Every element, attribute name and reference of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.references: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]


def test_nothing_is_fetched_and_nothing_runs(page: str) -> None:
    found = Elements(page)
    assert all(reference.startswith(("#", "data:")) for reference in found.references)
    assert not re.search(r"url\(|@import", page)
    assert "default-src 'none'" in page and "script" not in found.tags


def test_every_chart_is_well_formed_and_described(page: str) -> None:
    drawings = re.findall(r"<svg class=\"chart.*?</svg>", page, re.DOTALL)
    assert len(drawings) == 10  # two trade-offs, two by query type, latency: each for wide pages and for phones
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.get("role") == "img" and root.get("aria-label")
        assert "nan" not in drawing


def test_every_mode_and_baseline_is_named_on_both_trade_offs(told: dict[str, Any], page: str) -> None:
    names = {row["baseline"] or row["mode"] for row in told["rows"]}
    shown = {"always-local": "local", "always-llm-redacted": "LLM, redacted", "always-llm-raw": "LLM, raw"}
    for drawing in re.findall(r"<svg class=\"chart wide.*?</svg>", page, re.DOTALL)[:2]:
        texts = [element.text for element in ElementTree.fromstring(drawing).iter("text")]
        assert {shown.get(name, name) for name in names} <= set(texts)
        assert len(ElementTree.fromstring(drawing).findall(".//g/title")) == len(told["rows"]) / 4


def test_anchors_are_unique_and_every_link_arrives(page: str) -> None:
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) == len(set(names))
    assert {target for target in re.findall(r'href="#([^"]+)"', page)} <= set(names)


def test_words_of_a_comparison_never_become_markup(told: dict[str, Any]) -> None:
    pages = []
    for word in ("h" * len(HOSTILE), HOSTILE):
        hostile = copy.deepcopy(told) | {"dataset": word}
        hostile["models"] = {"slm": word, "llm": word}
        for row in hostile["rows"]:
            row["families"] = {word + name: found for name, found in row["families"].items()}
            row["mode"] = row["mode"].replace("fusion", word)
            row["device_profile"] = row["device_profile"].replace("phone-sd730", word)
            row["failures"] = {word: 0.5}
            row["failed"] = 0.5
        pages.append(Elements(comparison_report(hostile | {"pareto": {}})))
    harmless, hostile_page = pages
    assert hostile_page.tags == harmless.tags


def test_same_input_same_bytes_and_the_input_stays(told: dict[str, Any], page: str) -> None:
    before = copy.deepcopy(told)
    assert comparison_report(copy.deepcopy(told)) == page
    assert before == told


def test_a_front_that_is_told_is_the_front_that_is_drawn(told: dict[str, Any], page: str) -> None:
    for axis, title in (("llm_tokens", "tokens of the large model"), ("exposed_bytes_share", "exposure")):
        front = told["pareto"][axis]["front"]
        chapter = page.split(f"<h3>Quality against {title}")[1].split("</figure>")[0]
        marked = re.findall(r'<tr class="marked"><th scope="row">([^<]*)', chapter)
        assert sorted(marked) == sorted(front) and front
        volume = told["pareto"][axis]["hypervolume"]
        assert 0 < volume["always-local"] <= volume["auto"] <= volume["all"] <= 1


def test_one_query_type_makes_no_chapter_and_few_questions_a_note(told: dict[str, Any]) -> None:
    lone = copy.deepcopy(told)
    for row in lone["rows"]:
        row["families"] = {"all": {"questions": 1, "quality": row["quality"], "escalation_rate": 0.0}}
        row["device_profile"] = "here" if not row["emulated"] else row["device_profile"]
    small = comparison_report(lone | {"n": 12})
    assert 'id="families"' not in small and "Few questions." in small
    assert "Few questions." not in comparison_report(lone)


def test_what_is_no_comparison_is_refused() -> None:
    found: list[dict[str, Any]] = [{}, {"rows": []}, {"rows": [{"mode": "x"}]}]
    for wrong in found:
        with pytest.raises(BadInput, match="not a result of tacit bench modes"):
            comparison_report(wrong)


def test_every_field_of_a_row_is_explained() -> None:
    documented = re.findall(r"^\| `(\w+)` \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name in FIELDS if name not in documented] == []
    assert [name for name in documented if name not in FIELDS] == []
