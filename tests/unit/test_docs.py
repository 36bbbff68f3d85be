"""Documents follow the code: the scenario reference is current, every setting is explained, every named test exists."""

import re
from pathlib import Path

from tacit_simulations.reference import page

ROOT = Path(__file__).parents[2]


def test_the_scenario_reference_is_current() -> None:
    written = (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")
    assert written == page(), "run: python -m tacit_simulations.reference > docs/scenarios.md"


def test_every_setting_is_explained() -> None:
    rows = [line for line in page().splitlines() if line.startswith("| `") and line.count("|") == 4]
    unexplained = [row for row in rows if re.search(r"\|\s*\|$", row) and "." in row.split("|")[1]]
    assert unexplained == []


def test_every_test_that_the_architecture_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []
