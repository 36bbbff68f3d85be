"""What is said of peers is still so: at the versions that were examined, each finding comes out again."""

import importlib.metadata
import json
import logging
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from laws.book import SUBJECTS, law, subject_at

ROOT = Path(__file__).parents[2]
RESULTS: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / "conformance.json").read_text(encoding="utf-8"))
DISTRIBUTIONS = {"Flower": "flwr", "Opacus": "opacus", "dp-accounting": "dp-accounting"}
# These take minutes, or print what absl cannot compute; `python benchmarks/conformance.py` has them.
LONG = {"answers", "equal-releases", "fixed-cohort", "poisson-bound", "ledger"}
CASES = [
    (name, rule)
    for name in DISTRIBUTIONS
    for rule, found in RESULTS[name]["findings"].items()
    if rule not in LONG and found["verdict"] != "has none"
]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Flower logs every round."""
    logger = logging.getLogger("flwr")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.mark.filterwarnings("ignore")  # of other people's libraries
@pytest.mark.parametrize(("name", "rule"), CASES)
def test_a_peer_does_what_the_page_says(name: str, rule: str) -> None:
    examined = RESULTS[name]["version"]
    installed = importlib.metadata.version(DISTRIBUTIONS[name])
    if installed != examined:
        pytest.skip(f"{name} {installed} is installed and {examined} was examined: python benchmarks/conformance.py")
    told, found = RESULTS[name]["findings"][rule], law(rule).finding(subject_at(SUBJECTS[name]))
    assert found.verdict == told["verdict"], found.shown
    assert dict(found.figures) == pytest.approx(told["figures"], rel=0.05, abs=1e-6)


def test_the_page_shows_the_newest_findings() -> None:
    made = runpy.run_path(str(ROOT / "benchmarks" / "conformance.py"))
    page = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
    assert page == made["page"](), "type: python benchmarks/conformance.py --page"


def test_every_law_was_put_to_every_subject() -> None:
    made = runpy.run_path(str(ROOT / "benchmarks" / "conformance.py"))
    assert {name: set(RESULTS[name]["findings"]) for name in SUBJECTS} == {
        name: {law.name for law in made["LAWS"]} for name in SUBJECTS
    }
