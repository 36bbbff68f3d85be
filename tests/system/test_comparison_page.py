"""The report on a comparison of modes in a real browser: offline, quiet, readable, and inside its window."""

import os
from pathlib import Path
from typing import Any

import pytest
from browsers import FAINT, WIDTHS, Opened, overrun
from made_up_modes import made_up

from tacit_simulations.report.comparison import comparison_report

OVERRUN = overrun("figure", "text:not(.said)")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("comparison") / "report.html"
    file.write_text(comparison_report(made_up()), encoding="utf-8")
    return file


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", list(WIDTHS))
def test_it_opens_offline_and_fits(browser: Any, written: Path, name: str, scheme: str) -> None:
    """TACIT_SCREENSHOTS names a folder for the pictures, so that a person can look at them."""
    viewport = {"width": WIDTHS[name], "height": 900}
    opened = Opened(browser, written.as_uri(), viewport=viewport, offline=True, color_scheme=scheme)
    assert (opened.elsewhere(), opened.complaints) == ([], [])
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[name]
    charts = [chart for chart in opened.page.locator("figure svg.chart").all() if chart.is_visible()]
    assert len(charts) == 5
    assert [chart.evaluate(OVERRUN) for chart in charts] == [[]] * len(charts)
    opened.page.evaluate(UNMARK)
    assert opened.page.evaluate(FAINT) == []
    opened.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[name]
    if pictures := os.environ.get("TACIT_SCREENSHOTS"):
        opened.page.screenshot(path=Path(pictures) / f"modes-{name}-{scheme}.png", full_page=True)
    opened.context.close()


def test_no_name_lies_over_another_on_a_wide_page(browser: Any, written: Path) -> None:
    opened = Opened(browser, written.as_uri(), viewport={"width": WIDTHS["desktop"], "height": 900})
    for plot in opened.page.locator("#trade-offs svg.wide").all():
        assert plot.evaluate(MEETING) == []
    opened.context.close()


# a row that stands out is a mix of colours, which the measure of contrast cannot read
UNMARK = "document.querySelectorAll('.marked').forEach(row => row.classList.remove('marked'))"
MEETING = """svg => {
    const boxes = [...svg.querySelectorAll('text.name')].map(text => [text.textContent, text.getBoundingClientRect()]);
    return boxes.flatMap(([one, a], index) => boxes.slice(index + 1)
        .filter(([, b]) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 4 && b.top < a.bottom - 4)
        .map(([other]) => one + ' / ' + other));
}"""
