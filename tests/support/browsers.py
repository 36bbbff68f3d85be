"""A real browser for pages: one that is installed, pages that note what they ask for, and scripts that find faults."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDTHS: Final = {"phone": 360, "desktop": 1280}


@contextmanager
def installed_browser() -> Iterator[Any]:
    """A running browser; skips the test where none is installed."""
    driving = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser found (looked for {', '.join(NAMES)}); apt-get install chromium")
    with driving.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=list(FLAGS))
        yield opened
        opened.close()


class Opened:
    """A page below ``url`` with everything it asked for and everything it complained about."""

    def __init__(self, browser: Any, url: str, path: str = "", **context: Any) -> None:
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.url = url
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.go(path)

    def go(self, path: str) -> None:
        self.page.goto(self.url + path)

    def main(self) -> str:
        return str(self.page.locator("main").inner_text())

    def elsewhere(self) -> list[str]:
        """What it asked of others than ``url``."""
        return [url for url in self.requests if not url.startswith((self.url, "data:"))]


def overrun(card: str, text: str = "text") -> str:
    """A script over a drawing: its texts that reach out of the nearest ``card``."""
    return f"""svg => {{
        const card = svg.closest('{card}').getBoundingClientRect();
        return [...svg.querySelectorAll('{text}')].filter(text => {{
            const box = text.getBoundingClientRect();
            return box.right > card.right + 1 || box.left < card.left - 1;
        }}).map(text => text.textContent);
    }}"""


FAINT: Final = """() => {
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
    const said = [...document.querySelectorAll('body *:not(svg *)')].filter(each => each.getClientRects().length
        && [...each.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()));
    return said.filter(element => {
        const [one, other] = [light(numbers(getComputedStyle(element).color)), light(paper(element))];
        return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05) < 4.5;
    }).map(element => element.tagName + ': ' + element.textContent.slice(0, 40));
}"""
"""A script over a page: texts whose contrast against the paper below is under 4.5:1 (WCAG 2.2, 1.4.3)."""
