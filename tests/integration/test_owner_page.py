"""The owner's page over HTTP: who may see it, what its headers forbid, what a change needs, thousands of records."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gateways import ANNA, EMAIL, JSON, ROBERT, Running, Scripted, policy_of, running, user
from hypothesis import given, settings
from hypothesis import strategies as st
from upstreams import Reply, Upstream, message, upstream, whole

from tacit_clients.distilling.buffer import DISTILLED, DistillationBuffer
from tacit_clients.egress import Book, Ending, Entry
from tacit_clients.gateway.page.index import PAGE, Filter, Index
from tacit_clients.gateway.page.shown import MOST, blocks
from tacit_privacy.pii.policy import DEFAULT_ACTIONS
from tacit_privacy.pii.pseudonyms.conversation import Conversation
from tacit_privacy.pii.vault.keys import RawKey
from tacit_privacy.pii.vault.store import Vault

SECRET = "sk-proj-Zx81kQw93mTnB72LpVcR5dYhA6uJ0sEf"
PAGES = ("/", "/try", "/answers", "/erase", "/examples.jsonl", "/records/1", "/records/1/bytes")
CHANGES = (
    "/owner/pause",
    "/owner/collect",
    "/owner/try",
    "/owner/leave",
    "/owner/answers/1",
    "/owner/erase/record/1",
    "/owner/erase/conversation",
    "/owner/erase/records",
    "/owner/erase/everything",
    "/owner/erase/example/1",
    "/owner/erase/examples",
)


@pytest.fixture
def end() -> Iterator[Upstream]:
    with upstream() as found:
        yield found


@pytest.fixture
def gate(end: Upstream) -> Iterator[Running]:
    with running(end, local=Scripted()) as found:
        yield found


class Browser:
    """The owner's browser as far as HTTP goes."""

    def __init__(self, gate: Running) -> None:
        self.gate = gate
        self.client = httpx.Client(base_url=gate.url, trust_env=False)
        opened = self.client.get(gate.gateway.sessions.link())
        cookie = opened.headers["set-cookie"].split(";")[0]
        self.headers = {"cookie": cookie, "accept": "text/html", "sec-fetch-site": "same-origin", "origin": gate.url}
        self.client.cookies.clear()
        self.csrf = str(re.findall(r'name="csrf" value="([^"]+)"', self.get("/").text)[0])

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path, headers=self.headers)

    def post(self, path: str, **fields: str) -> httpx.Response:
        return self.client.post(path, data={"csrf": self.csrf, **fields}, headers=self.headers)


@pytest.fixture
def browser(gate: Running) -> Iterator[Browser]:
    found = Browser(gate)
    yield found
    found.client.close()


def test_without_a_session_nothing_is_shown_or_changed(gate: Running) -> None:
    gate.said(f"Greet {ANNA}")
    for path in PAGES:
        assert gate.client.get(path).status_code == 401
        page = gate.client.get(path, headers={"accept": "text/html"})
        assert page.status_code == 401 and "This page is closed" in page.text and "PERSON" not in page.text
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
    for path in CHANGES:
        assert gate.client.post(path, data={"csrf": "x", "paused": "1"}).status_code == 401
    assert not gate.gateway.runtime.paused()


def test_a_change_needs_the_token_of_this_session(gate: Running, browser: Browser) -> None:
    other = Browser(gate)
    for path in CHANGES:
        for token in ("", "x", other.csrf):
            answered = browser.client.post(path, data={"csrf": token, "paused": "1"}, headers=browser.headers)
            assert answered.status_code == 403, path
        without = browser.client.post(path, data={"paused": "1"}, headers=browser.headers)
        assert without.status_code == 403 and "Nothing was changed" in without.text
    assert not gate.gateway.runtime.paused()
    hostile = browser.headers | {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    for headers in (hostile, browser.headers | {"origin": "null"}):
        answered = browser.client.post("/owner/pause", data={"csrf": browser.csrf, "paused": "1"}, headers=headers)
        assert answered.status_code == 403
    assert browser.post("/owner/pause", paused="1").status_code == 303 and gate.gateway.runtime.paused()
    other.client.close()


def test_forms_are_taken_from_the_owner_alone(gate: Running, browser: Browser) -> None:
    for path in ("/v1/chat/completions", "/", "/try", "/anything"):
        assert browser.post(path).status_code == 415
    huge = "&".join(f"f{n}=1" for n in range(100)).encode()
    headers = browser.headers | {"content-type": "application/x-www-form-urlencoded"}
    assert browser.client.post("/owner/pause", content=huge, headers=headers).status_code == 400
    assert browser.client.post("/owner/pause", content=b"\xff", headers=headers).status_code == 400


def test_a_session_ends_by_itself_and_by_its_owner(gate: Running, browser: Browser) -> None:
    assert browser.post("/owner/leave").status_code == 303
    assert browser.get("/").status_code == 401
    again = Browser(gate)
    gate.gateway.sessions._clock = lambda: time.monotonic() + 31 * 86400
    assert again.get("/").status_code == 401
    again.client.close()


def test_every_page_forbids_what_it_does_not_need(browser: Browser, gate: Running) -> None:
    gate.said(f"Greet {ANNA}")
    for path in (*PAGES, "/static/page.css", "/static/page.js", "/static/icon.svg"):
        answered = browser.get(path)
        assert answered.status_code == 200, path
        rules = dict(rule.strip().split(" ", 1) for rule in answered.headers["content-security-policy"].split(";"))
        assert rules["default-src"] == "'none'" and rules["script-src"] == rules["style-src"] == "'self'"
        assert rules["form-action"] == "'self'" and rules["frame-ancestors"] == "'none'"
        assert answered.headers["x-frame-options"] == "DENY" and answered.headers["cache-control"] == "no-store"
        assert answered.headers["x-content-type-options"] == "nosniff"
        assert answered.headers["referrer-policy"] == "same-origin"
        if answered.headers["content-type"].startswith("text/html"):
            assert not re.findall(r"<style|\sstyle=|\son\w+=|javascript:|(?:src|href)=\"(?!/)[^\"#?]", answered.text)
    for odd in (
        "/static/nothing",
        "/static/..%2frender.py",
        "/records/0",
        "/records/x",
        "/records/99999999999999999999",
    ):
        assert browser.get(odd).status_code in (400, 404)


def test_a_record_tells_who_why_what_and_how_much(gate: Running, browser: Browser, end: Upstream) -> None:
    gate.chat(f"Write to {ANNA} at {EMAIL}", model="tacit/llm").raise_for_status()
    gate.chat(f"My key is {SECRET}")
    said = browser.get("/").text
    for words in ("tacit/llm", "up-1", "python-httpx", "person <b>1</b>", "email address <b>1</b>", "holds SECRET"):
        assert words in said
    number = gate.gateway.book.numbers()[0]
    _, ending = Index(gate.gateway.book).find(number) or (None, None)
    assert ending is not None and ending.outcome == "answered" and ending.bytes_down > 100
    assert browser.get(f"/records/{number}/bytes").content == end.received[0]
    for path in ("/", f"/records/{number}", f"/records/{number}?as=json", f"/records/{number}?as=bytes&names=1"):
        assert ANNA not in browser.get(path).text and SECRET not in browser.get(path).text
    assert ANNA in browser.get(f"/records/{number}?names=1").text
    assert ANNA in browser.get(f"/records/{number}?as=json&names=1").text


def test_a_policy_that_masks_nothing_is_called_that(end: Upstream) -> None:
    nothing = dict.fromkeys(DEFAULT_ACTIONS, "keep")
    with running(end, policy_of(default="keep", types=nothing)) as gate:
        browser = Browser(gate)
        assert "nothing is masked" in browser.get("/").text
        assert "would leave" in browser.post("/owner/try", text=ANNA).text
        browser.client.close()


def test_what_fails_is_told_as_failed(gate: Running, browser: Browser, end: Upstream) -> None:
    end.script = lambda body: Reply([b"{}"], status=400)
    assert gate.chat("Hello").status_code == 400
    assert "with status 400" in browser.get("/").text
    end.script = lambda body: Reply([b"no json"])
    assert gate.chat("Hello").status_code == 502
    assert "could not be understood" in browser.get("/").text


def test_erasing_a_conversation_erases_its_names_and_all_that_is_kept_of_it(gate: Running, browser: Browser) -> None:
    browser.post("/owner/collect", collect="1")
    for name, text in (("one", f"Greet {ANNA}"), ("one", f"Thank {ANNA}"), ("two", f"Greet {ROBERT}")):
        body = {"model": "tacit/llm", "messages": [user(text)]}
        gate.post("/v1/chat/completions", body, x_tacit_conversation=name).raise_for_status()
        gate.post("/v1/responses", {"model": "tacit/llm", "input": text}, x_tacit_conversation=name)
    book, vault = gate.gateway.book, gate.gateway.vault
    number = next(n for n in book.numbers() if "Thank" in _entry(book, n).body)
    conversation = _entry(book, number).conversation
    gate.gateway.collector.accept(gate.gateway.collector.waiting()[-1].number)
    other = next(c for c in (_entry(book, n).conversation for n in book.numbers()) if c != conversation)
    pairs = DistillationBuffer(vault)
    assert pairs.keep(conversation, "Thank PERSON_a2b3c", "Thanks") and pairs.keep(other, "Greet PERSON_a2b3c", "Hello")
    assert browser.post("/owner/erase/conversation", conversation=conversation).status_code == 400  # not sure
    before = {row.number for row in vault.rows("response")}
    assert browser.post("/owner/erase/conversation", conversation=conversation, sure="1").status_code == 303
    assert vault.peek(conversation) is None and book.find(number) is None
    assert all(_entry(book, n).conversation != conversation for n in book.numbers()) and book.numbers()
    left = [json.loads(row.row)["conversation"] for kind in ("answer", "example") for row in vault.rows(kind)]
    assert left and conversation not in left
    assert {row.number for row in vault.rows("response")} < before
    assert [json.loads(row.row)["conversation"] for row in vault.rows(DISTILLED)] == [other]
    assert f"conversation={conversation}" not in browser.get("/").text


def _entry(book: Book, number: int) -> Entry:
    found = book.find(number)
    assert found is not None
    return found


def test_nothing_is_kept_of_answers_until_the_owner_opts_in(gate: Running, browser: Browser) -> None:
    gate.said(f"Greet {ANNA}")
    gate.said("Local one", model="tacit/local")
    assert [gate.gateway.vault.numbers(kind) for kind in ("answer", "example")] == [[], []]
    browser.post("/owner/collect", collect="1")
    gate.said(f"Greet {ANNA}")
    gate.said(f"Local {ROBERT}", model="tacit/local")
    gate.chat(f"My key is {SECRET}", model="tacit/local").raise_for_status()  # the policy blocks it: no example
    stream = gate.stream({"messages": [user(f"Stream {ANNA}")]})
    assert stream.done
    waiting = gate.gateway.collector.waiting()
    assert [kept.answered_by for kept in waiting] == ["llm", "local", "llm"]
    raw = json.dumps([each.row.decode() for each in gate.gateway.vault.rows("answer")])
    assert ANNA not in raw and ROBERT not in raw and SECRET not in raw
    browser.post("/owner/collect", collect="0")
    assert gate.gateway.collector.waiting() == []
    gate.said(f"Greet {ANNA}")
    assert gate.gateway.vault.numbers("answer") == []


def test_verdicts_make_examples_once(gate: Running, browser: Browser) -> None:
    browser.post("/owner/collect", collect="1")
    for text in (f"Greet {ANNA}", f"Thank {ROBERT}", "Bye"):
        gate.said(text)
    bye, thank, greet = (kept.number for kept in gate.gateway.collector.waiting())
    assert browser.post(f"/owner/answers/{greet}", verdict="accept").headers["location"] == "/answers?done=accepted"
    assert browser.post(f"/owner/answers/{greet}", verdict="accept").headers["location"] == "/answers?done=gone"
    refused = browser.post(f"/owner/answers/{thank}", verdict="correct", answer=f"the key {SECRET}")
    assert refused.status_code == 400 and SECRET not in refused.text and SECRET not in gate.log
    placeholder = str(re.findall(r"PERSON_\w+", gate.gateway.collector.waiting()[1].prompt)[0])
    text = f"{placeholder}, or {ROBERT},\r\nsays {ANNA}"
    assert browser.post(f"/owner/answers/{thank}", verdict="correct", answer=text).status_code == 303
    assert browser.post(f"/owner/answers/{bye}", verdict="drop").status_code == 303
    assert browser.post(f"/owner/answers/{bye}", verdict="other").status_code == 400
    rows = [json.loads(line) for line in browser.get("/examples.jsonl").text.splitlines()]
    assert [set(row) for row in rows] == [{"prompt", "answer"}] * 2
    assert rows[1]["answer"].startswith(f"{placeholder}, or {placeholder},\nsays PERSON_")
    assert browser.post("/owner/erase/examples", sure="1").status_code == 303
    assert browser.get("/examples.jsonl").text == ""


def test_switches_hold_over_a_restart(end: Upstream, tmp_path: Path) -> None:
    file = tmp_path / "vault.db"
    keeping = {"vault": file}
    key = RawKey.generate()
    for paused in (True, False):
        with Vault.open(file, key) as vault, running(end, vault=vault, keeping=keeping) as gate:
            browser = Browser(gate)
            browser.post("/owner/pause", paused="1" if paused else "0")
            browser.client.close()
        with Vault.open(file, key) as vault, running(end, vault=vault, keeping=keeping) as gate:
            assert gate.gateway.runtime.paused() is paused
            assert gate.chat("Hello").status_code == (403 if paused else 200)


def test_trying_sends_keeps_and_logs_nothing(gate: Running, browser: Browser, end: Upstream) -> None:
    headers = browser.headers | JSON | {"x-tacit-csrf": browser.csrf}
    before = gate.log
    told = browser.client.post("/owner/try", json={"text": f"{ANNA} 😀 {EMAIL}"}, headers=headers).json()
    assert "".join(piece["text"] for piece in told["pieces"]) == f"{ANNA} 😀 {EMAIL}"
    assert [piece["type"] for piece in told["pieces"]] == ["PERSON", "", "EMAIL_ADDRESS"]
    assert told["leaves"].startswith("PERSON_") and ANNA not in told["leaves"]
    refused = browser.client.post("/owner/try", json={"text": SECRET}, headers=headers).json()
    assert refused["leaves"] is None and "SECRET" in refused["refused"] and SECRET not in refused["refused"]
    assert browser.client.post("/owner/try", json={"text": 7}, headers=headers).status_code == 400
    assert browser.client.post("/owner/try", json={"text": "x" * 20_001}, headers=headers).status_code == 413
    assert end.received == [] and gate.gateway.book.numbers() == [] and gate.gateway.vault.conversations() == []
    assert ANNA not in gate.log and len(gate.log) - len(before) < 1000


def test_thousands_of_records_are_filtered_and_paged(
    gate: Running, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = gate.gateway.book
    for number in range(1200):
        if number % 5 == 0:
            book.refused("auto", "block", {}, "tc-a", "it holds SECRET")
        else:
            masked = {"PERSON": 1} if number % 2 else {"LOCATION": 2}
            body = json.dumps({"model": "up-1", "messages": [user(f"{number}")]}).encode()
            record = book.left(body, "llm", "asked", masked, f"tc-{number % 3}", "<script>bot</script>")
            book.ended(record, Ending("answered", 10, 1))
    first = browser.get("/")
    opened: list[int] = []
    entries = book.entries

    def counted(after: int = 0, limit: int | None = None) -> list[Entry]:
        found = entries(after, limit)
        opened.extend(entry.number for entry in found)
        return found

    monkeypatch.setattr(book, "entries", counted)
    again = browser.get("/?page=2")
    assert opened == []  # the first look opened every seal, the second none
    assert first.text.count('class="badge"') == again.text.count('class="badge"') == PAGE
    assert "<script>bot" not in first.text and "&lt;script&gt;bot" in first.text
    index = Index(book)
    view = index.view(Filter("left", type="PERSON"), 10**6)
    assert (view.totals.left, view.totals.refused, view.totals.masked) == (480, 0, {"PERSON": 480})
    assert view.totals.bytes_down == 4800 and view.number == view.pages == 10
    seen = [row.entry.number for page in range(1, 25) for row in index.view(Filter(), page).rows]
    assert seen == sorted(book.numbers(), reverse=True) and len(seen) == 1200
    book.erase(seen[:100])
    after = index.view(Filter(), 1).totals
    assert (after.left, after.refused) == (880, 220)
    for odd in (
        "/?page=x",
        "/?page=-1",
        "/?page=%00",
        "/?since=2024-99-99",
        "/?until=0001-01-01",
        "/?mode=%22%3E%3Cb%3E",
    ):
        assert browser.get(odd).status_code == 200


@given(text=st.text(max_size=200), quoted=st.booleans())
@settings(deadline=None, max_examples=60)
def test_reading_changes_no_character(text: str, quoted: bool) -> None:
    names = Conversation("c", bytes(32))
    placeholder = names.placeholder("PERSON", 'Anna "A" Kowalska')
    said = f"{text} {placeholder} {text}" if quoted else text
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": said}], "temperature": 0.5})
    message_, rest = blocks(body, "messages", None)[0]
    assert "".join(part.text for part in message_.parts) == said
    assert json.loads("".join(part.text for part in rest.parts)) == {"model": "m", "temperature": 0.5}
    for how in ("json", "bytes"):
        (only,) = blocks(body, how, None)[0]
        assert json.loads("".join(part.text for part in only.parts)) == json.loads(body)
    resolved = blocks(body, "json", names)[0][0]
    assert json.loads("".join(part.text for part in resolved.parts))["messages"][0]["content"].count("Anna") >= quoted


def test_a_long_body_is_cut_on_the_page_alone(gate: Running, browser: Browser, end: Upstream) -> None:
    end.script = lambda body: whole(message("ok"))
    gate.said("word " * (MOST // 4))
    number = gate.gateway.book.numbers()[0]
    page = browser.get(f"/records/{number}")
    assert "only its beginning is shown" in page.text and len(page.text) < MOST + 20_000
    assert browser.get(f"/records/{number}/bytes").content == end.received[0]
