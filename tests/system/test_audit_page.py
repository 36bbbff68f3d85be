"""The audit report in a real browser: it opens offline, asks nothing of the network, fits a phone, and can be read."""

from pathlib import Path
from typing import Any

import pytest
from browsers import FAINT, WIDTHS, Opened, overrun
from ledgers import FIXED, KEY, Books, policy

from tacit_privacy.accounting.events import GaussianEvent
from tacit_privacy.audit.page import page as page_of
from tacit_privacy.audit.report import report

OVERRUN = overrun("section")


@pytest.fixture(scope="module", params=["whole", "broken", "no ledger"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    books = Books(policy(participations=2), GaussianEvent(noise_multiplier=0.9, sampling=FIXED), run="r" * 200)
    for number in range(1, 16):
        books.round(number, range(10 * number, 10 * number + 20))
    lines = books.lines()
    if request.param == "broken":
        lines[4:6] = [lines[5], lines[4]]
    found = report([] if request.param == "no ledger" else lines, KEY.public, None, books.receipt_lines())
    file = tmp_path_factory.mktemp("audit") / "audit.html"
    file.write_text(page_of(found), encoding="utf-8")
    return file


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS.keys())
def test_it_opens_offline_and_fits(browser: Any, written: Path, width: int, scheme: str) -> None:
    shown = Opened(
        browser, written.as_uri(), viewport={"width": width, "height": 800}, offline=True, color_scheme=scheme
    )
    page = shown.page
    assert (shown.elsewhere(), shown.complaints) == ([], [])
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert [drawing.evaluate(OVERRUN) for drawing in page.locator("svg:visible").all()] in ([[], []], [])
    assert page.evaluate(FAINT) == []
    shown.context.close()
