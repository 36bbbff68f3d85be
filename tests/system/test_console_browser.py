"""The console in a real browser: pages fit and can be read, the keyboard is enough, and a real server has it."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from browsers import FAINT, Opened, overrun
from consoles import AUDITOR, OPERATOR, PASSWORD, Kept, served
from deployments import ENVIRONMENT, TACIT, Deployment, Process, eventually, tacit, told, write_examples

from tacit_server.store.tables import ApplicantRow, RunRow
from tacit_server.web.console.door import CSRF

pytestmark = pytest.mark.timeout(300)
SIZES = {"phone": (390, 844), "desktop": (1280, 850)}
PAGES = (
    *("/console", "/console/devices", "/console/enrolment", "/console/runs", "/console/runs/first"),
    *("/console/runs/second", "/console/adapters", "/console/adapters/first/3", "/console/budget", "/console/ledger"),
    *("/console/report", "/console/log", "/console/users", "/console/account", "/console/nowhere"),
)
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>" + "w" * 200


@contextmanager
def opened(browser: Any, url: str, size: str = "desktop", name: str = OPERATOR, **context: Any) -> Iterator[Opened]:
    """A browser's window, logged in; nothing may have been asked elsewhere, or complained about."""
    width, height = SIZES[size]
    context = {"viewport": {"width": width, "height": height}, "ignore_https_errors": True} | context
    shown = Opened(browser, url, "/", **context)
    shown.page.get_by_label("Name").fill(name)
    shown.page.get_by_label("Password").fill(PASSWORD)
    shown.page.get_by_role("button", name="Log in").click()
    shown.page.get_by_role("heading", name="Overview", level=1).wait_for()
    yield shown
    assert ([each for each in shown.complaints if "404" not in each], shown.elsewhere()) == ([], [])
    shown.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_page_fits_and_can_be_read(browser: Any, kept: Kept, size: str, scheme: str) -> None:
    """TACIT_SCREENSHOTS names a folder for the pictures, so that a person can look at them."""
    kept.device(50, HOSTILE)
    kept.applicant(51, HOSTILE, HOSTILE)
    with served(kept) as url, opened(browser, url, size, color_scheme=scheme) as shown:
        for path in (*PAGES, "/console/devices?q=img", "/console/log?q=login"):
            shown.go(path)
            shown.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
            assert shown.page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0], path
            assert shown.page.evaluate(FAINT) == [], path
            assert shown.page.evaluate(FAULTS) == [], path
            assert [each.evaluate(overrun("section")) for each in shown.page.locator("section svg:visible").all()] in (
                [[]] * shown.page.locator("section svg:visible").count(),
            ), path
            if pictures := os.environ.get("TACIT_SCREENSHOTS"):
                name = re.sub(r"\W+", "-", path).strip("-")
                shown.page.screenshot(path=Path(pictures) / f"{name}-{size}-{scheme}.png", full_page=True)


# What assistive technology would stumble over: names, headings, landmarks, tables, ids, targets too small to hit.
FAULTS = """() => {
    const found = [], all = (what) => [...document.querySelectorAll(what)];
    const say = (fault, each) => found.push(fault + ': ' + each.outerHTML.slice(0, 90));
    const seen = each => each.getClientRects().length > 0;
    const text = each => (each.textContent || '').trim();
    for (const each of all('input:not([type=hidden]), select, textarea'))
        if (!each.getAttribute('aria-label') && !(each.labels && [...each.labels].some(text))) say('no label', each);
    for (const each of all('a, button, summary'))
        if (!text(each) && !each.getAttribute('aria-label')) say('no name', each);
    if (all('h1').length !== 1) found.push('not one h1');
    let level = 0;
    for (const each of all('h1, h2, h3, h4')) {
        const own = Number(each.tagName[1]);
        if (own > level + 1) say('a heading skips a level', each);
        level = own;
    }
    if (all('main').length !== 1) found.push('not one main');
    for (const each of all('table')) {
        if (!each.caption || !text(each.caption)) say('no caption', each);
        for (const cell of each.querySelectorAll('th')) if (!cell.scope) say('no scope', cell);
    }
    for (const each of all('svg'))
        if (each.getAttribute('role') !== 'img' || !each.getAttribute('aria-label')) say('a mute drawing', each);
    for (const each of all('nav, section, [role=region], form[role=search]'))
        if (!each.getAttribute('aria-label') && !each.getAttribute('aria-labelledby')) say('no name', each);
    for (const each of all('[aria-labelledby], [aria-describedby]'))
        for (const name of ['aria-labelledby', 'aria-describedby'])
            for (const id of (each.getAttribute(name) || '').split(' ').filter(Boolean))
                if (!document.getElementById(id)) say('points nowhere', each);
    const ids = all('[id]').map(each => each.id);
    for (const id of ids.filter((id, place) => ids.indexOf(id) !== place)) found.push('an id twice: ' + id);
    for (const each of all('button, nav a, select, input:not([type=hidden], [type=checkbox])')) {
        const box = each.getBoundingClientRect();
        if (seen(each) && (box.height < 24 || box.width < 24)) say('too small', each);
    }
    if (!document.documentElement.lang || !document.title) found.push('no language or title');
    return found;
}"""


def test_the_log_in_page_fits_and_can_be_read(browser: Any, kept: Kept) -> None:
    with served(kept) as url:
        for width, height in SIZES.values():
            shown = Opened(browser, url, "/", viewport={"width": width, "height": height}, ignore_https_errors=True)
            assert shown.page.url == f"{url}/console/login?next=/console"
            assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
            assert (shown.page.evaluate(FAINT), shown.page.evaluate(FAULTS)) == ([], [])
            shown.context.close()


def test_the_keyboard_is_enough_to_log_in_and_let_a_device_in(browser: Any, kept: Kept) -> None:
    with served(kept) as url:
        shown = Opened(browser, url, "/console/enrolment", ignore_https_errors=True)
        page, press = shown.page, shown.page.keyboard.press
        page.keyboard.type(OPERATOR)  # the first field has the focus
        press("Tab")
        page.keyboard.type(PASSWORD)
        press("Enter")
        page.get_by_role("heading", name="Enrolment", level=1).wait_for()  # where the link led
        press("Tab")
        assert focused(page) == "Skip to the content"
        press("Enter")
        for _ in range(5):
            press("Tab")
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            if focused(page).startswith("Let in"):
                break
        assert focused(page) == "Let in new tablet"
        press("Enter")
        page.get_by_text("The device is let in").wait_for()
        assert kept.counted(ApplicantRow) == 0
        assert kept.audited()[0][:2] == (OPERATOR, "device.approve")
        assert shown.complaints == []
        shown.context.close()


def focused(page: Any) -> str:
    return str(page.evaluate("(document.activeElement.textContent || '').replace(/\\s+/g, ' ').trim()"))


def test_everything_works_without_a_script(browser: Any, kept: Kept) -> None:
    with served(kept) as url, opened(browser, url, "phone", java_script_enabled=False) as shown:
        page = shown.page
        shown.go("/console/runs")
        page.get_by_label("Name", exact=True).fill("third")
        page.get_by_label("Rounds", exact=True).fill("2")
        page.get_by_role("button", name="Plan it").click()
        assert page.get_by_role("heading", level=1).inner_text().startswith("third")
        page.get_by_role("button", name="Pause after this round").click()
        assert kept.state_of("third") == ("scheduled", "pause")
        page.get_by_role("button", name="Resume").click()
        page.get_by_label("Yes, for good").check()
        page.get_by_role("button", name="Stop for good").click()
        assert kept.state_of("third") == ("stopped", "stop")
        shown.go("/console/enrolment")
        page.get_by_label("Note").fill("for the hall")
        page.get_by_role("button", name="Make a token").click()
        assert page.get_by_label("Token", exact=True).input_value().startswith("tacit1.")
        page.get_by_role("button", name="Log out").click()
        assert "You are logged out" in shown.main()
        shown.go("/console")
        assert page.url.endswith("/console/login?next=/console")


def test_a_page_that_is_open_follows_what_happens(browser: Any, kept: Kept) -> None:
    with served(kept) as url, opened(browser, url) as shown:
        shown.go("/console/runs/second")
        page = shown.page
        assert "3 of 6" in shown.main().replace("\n", " ")
        with kept.database.begin() as session:
            session.get_one(RunRow, "second").state = "finished"
        page.locator("h1 .state.finished").wait_for(timeout=15_000)
        assert page.get_by_role("button", name="Pause").count() == 0
        page.context.clear_cookies()
        page.get_by_role("button", name="Log in").wait_for(timeout=15_000)  # it sees by itself that the log-in is over
        shown.complaints = [each for each in shown.complaints if "401" not in each]


def test_another_sites_form_changes_nothing(browser: Any, kept: Kept, tmp_path: Path) -> None:
    """A page elsewhere that posts to the console with the operator's browser: the cookie does not travel."""
    with served(kept) as url, opened(browser, url) as shown:
        before = kept.state_of("second")
        evil = tmp_path / "evil.html"
        evil.write_text(
            f'<form method="post" action="{url}/console/runs/second"><input name="do" value="stop">'
            f'<input name="{CSRF}" value="x"></form><script>document.forms[0].submit()</script>'
        )
        shown.page.goto(evil.as_uri())
        shown.page.wait_for_url(re.compile("/console/login"))
        assert kept.state_of("second") == before
        shown.requests.clear()


def test_an_auditor_reads_and_takes_the_report_along(browser: Any, kept: Kept) -> None:
    with served(kept) as url, opened(browser, url, name=AUDITOR, accept_downloads=True) as shown:
        page = shown.page
        assert page.get_by_role("link", name="Users").count() == 0
        shown.go("/console/report/audit.html")
        assert "Privacy audit" in shown.main() and page.evaluate("getComputedStyle(document.body).margin") == "0px"
        shown.go("/console/report")
        for name in ("Keep it as a page", "Keep it as JSON", "ledger.jsonl", "ledger.pub", "receipts.jsonl"):
            with page.expect_download() as download:
                page.get_by_role("link", name=name).click()
            assert Path(download.value.path()).stat().st_size > 60
        shown.go("/console/ledger")
        page.get_by_text("The ledger begins").click()
        assert '"participations": 5' in page.locator("details[open] pre").inner_text()


def test_the_command_serves_the_same_pages_to_this_machine(browser: Any, kept: Kept) -> None:
    kept.database.close()
    folder = kept.directory.path
    command = [TACIT, "console", "--dir", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | ENVIRONMENT) as running:
        assert running.stdout is not None
        try:
            url = running.stdout.readline().split(" ")[0].removesuffix("/console")
            assert url.startswith("http://127.0.0.1:")
            with opened(browser, url) as shown:
                assert "down" in shown.main()
                cookie = next(each for each in shown.context.cookies() if each["name"].startswith("tacit-console"))
                assert (cookie["httpOnly"], cookie["sameSite"], cookie["secure"]) == (True, "Strict", False)
                shown.go("/console/runs/second")
                shown.page.get_by_role("button", name="Pause after this round").click()
                shown.page.get_by_text("The run rests once").wait_for()
        finally:
            running.terminate()
            assert running.wait(30) in (0, -15)
    assert Kept(folder).state_of("second") == ("running", "pause")
    said = tacit("console", "--dir", str(folder), "--where", folder=folder, code=2)
    assert "no server runs on" in said


def test_on_a_real_server_an_operator_lets_a_device_in_and_sees_a_round(browser: Any, tmp_path: Path) -> None:
    with Deployment(tmp_path, devices=10).start() as fleet:
        tacit(
            *("server", "user", "add", OPERATOR, "--dir", "server"),
            folder=tmp_path,
            environment={"TACIT_CONSOLE_PASSWORD": PASSWORD},
        )
        assert told("console", "--dir", "server", "--where", folder=tmp_path)["address"] == f"{fleet.url}/console"
        fleet.enrol(1).start()
        waiting = applying(fleet, 2)
        with opened(browser, fleet.url) as shown:
            page = shown.page
            assert "up" in shown.main()
            eventually(lambda: waiting.said().count("the key to compare"), "the device does not ask to be let in")
            digits = re.findall(r"compare at the server: (\w{16})", waiting.said())[0]
            shown.go("/console/enrolment")
            assert page.locator(".digits").inner_text().replace(" ", "") == digits
            page.get_by_role("button", name="Let in").click()
            page.get_by_text("The device is let in").wait_for()
            eventually(lambda: not waiting.alive, "the device does not notice that it is in")
            device = Process(["device", "run", "--dir", "device2"], tmp_path, tmp_path / "device2.log").start()
            fleet.devices.append(device)
            shown.go("/console/runs")
            for label, value in (("Name", "first"), ("Rounds", "1"), ("Cohort", "2")):
                page.get_by_label(label, exact=True).fill(value)
            page.get_by_role("button", name="Plan it").click()
            page.locator("h1 .state.finished").wait_for(timeout=90_000)  # nobody reloads the page
            assert "2 of 2" in shown.main()
            shown.go("/console/ledger")
            page.get_by_text("It verifies.").wait_for()
            shown.go("/console/devices")
            assert page.locator(".state.online").count() == 2


def applying(fleet: Deployment, number: int) -> Process:
    """A device that asks to be let in without a token, and waits."""
    name = f"device{number}"
    write_examples(fleet.folder / f"{name}.jsonl", 30, seed=number)
    words = ["device", "enroll", "--server", fleet.url, "--fingerprint", fleet.made["fingerprint"], "--wait", "60"]
    words += ["--dir", name, "--data", f"{name}.jsonl", "--name", name]
    found = Process(words, fleet.folder, fleet.folder / f"{name}-enrol.log").start()
    fleet.devices.append(found)
    return found
