"""The audit report in a real browser: it opens offline, asks nothing of the network, fits a phone, and can be read."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ledgers import FIXED, KEY, Books, policy

from tacit_privacy.accounting.events import GaussianEvent
from tacit_privacy.audit.page import page
from tacit_privacy.audit.report import report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTHS = {"phone": 360, "desktop": 1280}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser found (looked for {', '.join(BROWSERS)}); apt-get install chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


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
    file.write_text(page(found), encoding="utf-8")
    return file


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS.keys())
def test_it_opens_offline_and_fits(browser: Any, written: Path, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, offline=True, color_scheme=scheme)
    shown = context.new_page()
    asked, complaints = [], []
    shown.on("request", lambda request: asked.append(request.url))
    shown.on("console", lambda message: complaints.append(message.text))
    shown.goto(written.as_uri())
    assert [url for url in asked if url != written.as_uri() and not url.startswith("data:")] == []
    assert complaints == []
    shown.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    assert [drawing.evaluate(OVERRUN) for drawing in shown.locator("svg:visible").all()] in ([[], []], [])
    assert shown.evaluate(FAINT) == []
    context.close()


OVERRUN = """svg => {
    const card = svg.closest('section').getBoundingClientRect();
    return [...svg.querySelectorAll('text')].filter(text => {
        const box = text.getBoundingClientRect();
        return box.right > card.right + 1 || box.left < card.left - 1;
    }).map(text => text.textContent);
}"""

# Text whose contrast against the paper below it is under 4.5:1 (WCAG 2.2, 1.4.3).
FAINT = """() => {
    const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const paper = element => {
        for (let at = element; at; at = at.parentElement) {
            const colour = numbers(getComputedStyle(at).backgroundColor);
            if (colour.length < 4 || colour[3] > 0) return colour;
        }
        return [255, 255, 255];
    };
    const said = [...document.querySelectorAll('p, dt, dd, th, td, h1, h2, h3, a, b, small, summary, caption')];
    return said.filter(element => {
        const [one, other] = [light(numbers(getComputedStyle(element).color)), light(paper(element))];
        return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05) < 4.5;
    }).map(element => element.textContent.slice(0, 40));
}"""
