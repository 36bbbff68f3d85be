"""The owner's page in a real browser, on a real gateway: what left is there, switches switch, it fits a phone."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from browsers import FAINT, WIDTHS, Opened
from gateways import ANNA, EMAIL, ROBERT, Running, Scripted, running
from upstreams import Upstream

SECRET = "sk-proj-Zx81kQw93mTnB72LpVcR5dYhA6uJ0sEf"
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture
def gate(end: Upstream) -> Iterator[Running]:
    """A gateway that has been used."""
    with running(end, local=Scripted()) as found:
        found.said(f"Please write to {ANNA} at {EMAIL} about the offer, and copy {ROBERT}.")
        found.said("What is the capital of France?")
        found.said(f"{HOSTILE} asked {ANNA}")
        found.chat(f"My key is {SECRET}")
        yield found


def entered(browser: Any, gate: Running, **context: Any) -> Opened:
    """The owner's page, opened by its link."""
    context = {"viewport": {"width": 1280, "height": 800}} | context
    return Opened(browser, gate.url, gate.gateway.sessions.link(), **context)


@contextmanager
def opened(browser: Any, gate: Running, **context: Any) -> Iterator[Opened]:
    found = entered(browser, gate, **context)
    yield found
    assert (found.complaints, found.elsewhere()) == ([], [])
    found.context.close()


def test_the_link_opens_the_list_and_a_record_shows_the_very_bytes(browser: Any, gate: Running, end: Upstream) -> None:
    with opened(browser, gate) as shown:
        page = shown.page
        assert page.url == gate.url + "/" and "key=" not in page.content()
        assert page.locator(".records > li").count() == 4
        assert "the policy blocks it: it holds SECRET" in shown.main().replace("The policy", "the policy")
        for name in (ANNA, EMAIL, SECRET):
            assert name not in page.content()
        page.get_by_role("link", name="See what left in record 1").click()
        assert "PERSON_" in page.locator("pre").first.inner_text() and ANNA not in page.content()
        page.get_by_role("link", name="Put the names back").click()
        assert ANNA in page.locator("mark").all_inner_texts() and "did not leave" in shown.main()
        page.get_by_role("link", name="Raw bytes").click()
        said = page.locator("pre").inner_text()
        assert said.encode() in end.received and ANNA not in page.content()
        with page.expect_download() as download:
            page.get_by_role("link", name="Download").click()
        assert Path(download.value.path()).read_bytes() in end.received


def test_hostile_text_is_text(browser: Any, gate: Running) -> None:
    with opened(browser, gate) as shown:
        hostile = gate.gateway.book.numbers()[2]
        for how in ("", "?as=json", "?as=bytes", "?names=1"):
            path = f"/records/{hostile}{how}"
            shown.go(path)
            assert shown.page.locator("main img, main script").count() == 0
            assert "onerror=alert(1)" in shown.main()
        shown.go("/try")
        shown.page.get_by_label("Your text").fill(f"{HOSTILE} {ANNA}")
        shown.page.get_by_text("1 found").wait_for()
        assert shown.page.locator("main img, main script").count() == 0


def test_the_switch_pauses_what_leaves_and_says_so(browser: Any, gate: Running, end: Upstream) -> None:
    with opened(browser, gate) as shown:
        page = shown.page
        assert page.get_by_role("heading", level=1).inner_text().startswith("Open")
        page.get_by_role("button", name="Pause everything").click()
        assert page.get_by_role("heading", level=1).inner_text() == "Paused: nothing leaves"
        assert "Nothing leaves" in page.get_by_role("status").inner_text()
        before = len(end.received)
        assert gate.chat(f"Ask {ANNA}").status_code == 403 and len(end.received) == before
        shown.go("/try")
        assert page.get_by_text("Paused: nothing leaves this device").is_visible()
        shown.go("/")
        assert "You had paused everything that leaves" in shown.main()
        page.get_by_role("button", name="Resume").click()
        assert gate.chat(f"Ask {ANNA}").status_code == 200


def test_the_live_box_shows_spans_and_what_would_leave(browser: Any, gate: Running, end: Upstream) -> None:
    before, records = len(end.received), len(gate.gateway.book.numbers())
    with opened(browser, gate) as shown:
        page = shown.page
        shown.go("/try")
        page.get_by_label("Your text").press_sequentially(f"😀 {ANNA} met {ROBERT} on 2024-05-06.")
        page.get_by_text("3 found").wait_for()
        spans = page.locator("#found .span")
        assert spans.first.inner_text().startswith(ANNA)
        assert "PERSON 1.00" in spans.first.inner_text()  # known from before
        assert "DATE_TIME" in spans.last.inner_text() and "kept" in (spans.last.get_attribute("class") or "")
        leaves = page.locator("#leaves").inner_text()
        assert leaves.startswith("😀 PERSON_") and ANNA not in leaves and "2024-05-06" in leaves
        page.get_by_label("Your text").fill(f"the key {SECRET}")
        page.get_by_text("Nothing: the policy blocks it").wait_for()
        assert page.locator("#leaves").inner_text() == ""
    assert len(end.received) == before and len(gate.gateway.book.numbers()) == records
    assert not [each for each in gate.gateway.vault.conversations() if each.identifier == "try"]


def test_without_a_script_everything_works_by_forms(browser: Any, gate: Running) -> None:
    with opened(browser, gate, java_script_enabled=False) as shown:
        page = shown.page
        shown.go("/try")
        page.get_by_label("Your text").fill(f"{ANNA} called.")
        page.get_by_role("button", name="Look").click()
        assert page.locator("#found .span").count() == 1
        assert page.locator("#leaves").inner_text().startswith("PERSON_")
        shown.go("/")
        page.get_by_text("Filter").first.click()
        page.get_by_label("Show").select_option("refused")
        page.get_by_role("button", name="Filter").click()
        assert page.locator(".records > li").count() == 1
        page.get_by_role("button", name="Pause everything").click()
        assert gate.gateway.runtime.paused()
        page.get_by_role("button", name="Close the page").click()
        assert "This page is closed" in shown.main()
        shown.complaints = [c for c in shown.complaints if "401" not in c]


def test_answers_are_judged_and_exported_in_placeholders(browser: Any, gate: Running) -> None:
    with opened(browser, gate) as shown:
        page = shown.page
        shown.go("/answers")
        page.get_by_role("button", name="Keep answers for me").click()
        for text in (f"Greet {ANNA}", f"Thank {ROBERT}", "Say nothing"):
            gate.said(text)
        page.reload()
        assert page.locator("article").count() == 3 and ANNA not in page.content()
        page.get_by_role("link", name="Put the names back").click()
        first = page.locator("article", has_text=f"Greet {ANNA}")
        first.get_by_role("textbox").fill(f"Dear {ANNA}, good morning")
        first.get_by_role("button", name="Keep my correction").click()
        page.locator("article", has_text="Thank").get_by_role("button", name="Accept").click()
        page.locator("article", has_text="Say nothing").get_by_role("button", name="Drop").click()
        assert page.locator("article").count() == 0
        with page.expect_download() as download:
            page.get_by_role("link", name="Download all as JSONL").click()
        exported = Path(download.value.path()).read_text("utf-8")
        assert exported.count("\n") == 2 and "good morning" in exported and "PERSON_" in exported
        assert ANNA not in exported and ROBERT not in exported


def test_what_is_erased_is_gone(browser: Any, gate: Running) -> None:
    with opened(browser, gate) as shown:
        page = shown.page
        shown.go(f"/records/{gate.gateway.book.numbers()[1]}")
        page.get_by_role("button", name="Erase this record").click()
        assert page.locator(".records > li").count() == 3
        shown.go("/records/1")
        card = page.locator("form", has_text="The whole conversation")
        card.get_by_role("button").click()  # the box is not ticked: the browser holds the form back
        assert page.url.endswith("/records/1")
        card.get_by_role("checkbox").check()
        card.get_by_role("button").click()
        assert page.locator(".records > li").count() == 2
        shown.go("/erase")
        card = page.locator("form", has_text="Everything")
        card.get_by_role("checkbox").check()
        card.get_by_role("button").click()
        assert "Nothing has left this device yet" in shown.main()
    assert gate.gateway.vault.conversations() == [] and gate.gateway.book.numbers() == []


@pytest.fixture
def process(end: Upstream, tmp_path: Path) -> Iterator[dict[str, str]]:
    """What ``tacit gateway`` prints, as a process of its own."""
    policy, key = tmp_path / "policy.toml", tmp_path / "key"
    policy.write_text('[detection]\nrecogniser = "none"\n')
    key.write_bytes(os.urandom(32))
    key.chmod(0o600)
    command = [str(Path(sys.executable).with_name("tacit")), "gateway", "--upstream", end.url, "--model", "up-1"]
    command += ["--no-local", "--port", "0", "--policy", str(policy), "--vault", str(tmp_path / "vault.db")]
    with subprocess.Popen([*command, "--vault-key", f"file:{key}"], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            base, page = re.findall(r"http://\S+?(?=;|\s)", running.stdout.readline())
            yield {"base_url": base, "page": page}
        finally:
            running.terminate()


def test_the_command_serves_the_page_by_its_link_once(browser: Any, process: dict[str, str], end: Upstream) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto(process["page"])
    assert "Nothing has left this device yet" in page.locator("main").inner_text()
    body = {"model": "tacit/llm", "messages": [{"role": "user", "content": f"Write to {EMAIL}"}]}
    httpx.post(process["base_url"] + "/chat/completions", json=body, trust_env=False).raise_for_status()
    assert EMAIL.encode() not in end.received[-1]
    page.reload()
    page.get_by_role("link", name="See what left").click()
    page.get_by_role("link", name="Put the names back").click()
    assert page.locator("mark").inner_text() == EMAIL
    stranger = browser.new_context().new_page()
    stranger.goto(process["page"])
    assert "This link is used up" in stranger.locator("main").inner_text()
    stranger.goto(process["base_url"].removesuffix("/v1"))
    assert "This page is closed" in stranger.locator("main").inner_text()
    if pictures := os.environ.get("TACIT_SCREENSHOTS"):
        stranger.screenshot(path=Path(pictures) / "closed.png")
    stranger.context.close()
    context.close()


PAGES = ("/", "/records/1?names=1", "/records/1?as=json", "/records/last", "/try", "/answers", "/erase", "/nowhere")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS.keys())
def test_every_page_fits_and_can_be_read(browser: Any, gate: Running, width: int, scheme: str) -> None:
    """TACIT_SCREENSHOTS names a folder for the pictures, so that a person can look at them."""
    gate.gateway.collector.switch(True)
    gate.said(f"Greet {ANNA}")
    number = gate.gateway.collector.waiting()[0].number
    gate.gateway.collector.accept(number)
    gate.said(f"Write a long and friendly letter to {ROBERT} in which everything is explained at length, please")
    refused = next(each.number for each in gate.gateway.book.entries() if not each.left)
    shown = entered(browser, gate, color_scheme=scheme, viewport={"width": width, "height": 800})
    for path in PAGES:
        shown.go(path.replace("last", str(refused)))
        if path == "/try":
            shown.page.get_by_label("Your text").fill(f"{ANNA} ({EMAIL}) met {ROBERT} on 2024-05-06.\nShe is fine.")
            shown.page.get_by_text("4 found").wait_for()
        _readable(shown.page, width, path)
        if pictures := os.environ.get("TACIT_SCREENSHOTS"):
            name = path.strip("/").replace("/", "-").replace("?", "-") or "left"
            shown.page.screenshot(path=Path(pictures) / f"{name}-{width}-{scheme}.png", full_page=True)
    shown.context.close()


def _readable(page: Any, width: int, path: str) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    assert page.evaluate(FAINT) == [], path
    assert page.evaluate(NAMELESS) == [], path
    assert page.locator("h1").count() == 1 and page.title().endswith("Tacit")


def test_the_keyboard_reaches_everything_and_shows_where_it_is(browser: Any, gate: Running) -> None:
    with opened(browser, gate) as shown:
        page = shown.page
        shown.go("/")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        seen = []
        for _ in range(40):
            seen.append(page.evaluate("(document.activeElement.textContent || '').trim()"))
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none" or page.evaluate("document.activeElement === document.body")
            page.keyboard.press("Tab")
        for words in ("What left", "Try it", "Pause everything", "Filter", "See what left", "Details"):
            assert words in seen
        page.get_by_role("button", name="Pause everything").focus()
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Resume").wait_for()
        assert gate.gateway.runtime.paused()


# Controls that assistive technology could not name.
NAMELESS = """() => {
    const controls = [...document.querySelectorAll('a, button, input:not([type=hidden]), select, textarea')];
    const said = each => each.matches('a, button') && each.textContent.trim();
    const named = each => said(each) || each.getAttribute('aria-label') || (each.labels && each.labels.length);
    return controls.filter(each => !named(each)).map(each => each.outerHTML.slice(0, 80));
}"""
