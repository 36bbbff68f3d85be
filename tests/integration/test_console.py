"""The console over HTTP: who gets in, who may change what, what is written down, what is never shown."""

import io
import json
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from consoles import AUDITOR, OPERATOR, PASSWORD, Kept, Person, furnished, person, stranger, token_in
from sqlalchemy import delete, select, update

from tacit_privacy.ledger import bodies
from tacit_privacy.ledger.tables import LeafRow, LedgerRow, ParticipationRow
from tacit_privacy.ledger.verify import verify
from tacit_server.deployment import looking, people
from tacit_server.deployment.database import ServerDatabase
from tacit_server.store.tables import (
    ApplicantRow,
    AuditRow,
    DeviceRow,
    RoundRow,
    RunRow,
    SessionRow,
    TokenRow,
    UserRow,
)
from tacit_server.web.console import catalogue, wording
from tacit_server.web.console.door import POLL, Attempts, safe_path
from tacit_server.web.console.wording import plain

PAGES = (
    *("/console", "/console/devices", "/console/enrolment", "/console/runs", "/console/runs/first"),
    *("/console/adapters", "/console/adapters/first/3", "/console/budget", "/console/ledger", "/console/report"),
    *("/console/log", "/console/account", "/console/users"),
)
FILES = (
    *("/console/adapters/first/3/peft.zip", "/console/ledger/ledger.jsonl", "/console/ledger/ledger.pub"),
    *("/console/ledger/receipts.jsonl", "/console/report/audit.html", "/console/report/audit.json"),
)
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>'; DROP TABLE devices; --\u202e\u2066gpj\x00"
OVER_EACH = pytest.mark.parametrize("kept", ["sqlite", "postgresql"], indirect=True)
TABLES = (ApplicantRow, DeviceRow, RunRow, SessionRow, TokenRow, UserRow)


def state_of(kept: Kept) -> list[Any]:
    """Everything that a change could change, the audit log and the use of log-ins apart."""
    found: list[Any] = []
    with kept.database.begin() as session:
        for table in TABLES:
            for row in session.scalars(select(table)):
                columns = [column.name for column in table.__table__.columns if column.name != "used"]
                found.append((table.__name__, *(getattr(row, name) for name in columns)))
    return sorted(found, key=str)


def test_without_a_log_in_nothing_is_shown_and_nothing_changed(kept: Kept) -> None:
    nobody, before = stranger(kept), state_of(kept)
    for path in (*PAGES, *FILES):
        answer = nobody.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/console/login?next={path}")
        assert nobody.get(path, **{POLL: "1"}).status_code == 401
    for page in catalogue.PAGES:
        path = re.sub(r"\{.*?\}", "first", page.path.replace("{round:int}", "3"))
        for do in page.changes:
            assert nobody.post(path, do=do).headers["location"].startswith("/console/login")
    assert state_of(kept) == before
    assert nobody.get("/").headers["location"] == "/console"


@OVER_EACH
def test_a_log_in_shows_every_page(kept: Kept) -> None:
    who = person(kept)
    for path in PAGES:
        answer = who.get(path)
        assert answer.status_code == 200, path
        assert answer.text.count("<h1") == 1, path
    for path in FILES:
        assert who.get(path).status_code == 200, path
    assert who.get("/console/nowhere").status_code == 404
    assert who.get("/console/runs/none").status_code == 404
    assert who.get("/console/devices/none").status_code == 404
    for number in (9, 10**20):
        assert who.get(f"/console/adapters/first/{number}").status_code == 404
        assert who.get(f"/console/adapters/first/{number}/peft.zip").status_code == 404


def test_the_cookie_is_for_this_host_and_no_script(kept: Kept) -> None:
    who = stranger(kept)
    answer = who.log_in()
    cookie = next(value for value in answer.headers.get_list("set-cookie") if "__Host-tacit-console=" in value)
    told = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"secure", "httponly", "samesite=strict", "path=/"} <= told
    assert not any(part.startswith("domain") for part in told)


def test_pages_forbid_whatever_they_do_not_need(kept: Kept) -> None:
    who = person(kept)
    for path in (*PAGES, *FILES, "/console/login", "/console/static/console.js"):
        headers = who.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy, path
        assert "script-src 'self'" in policy or "sandbox" in policy, path
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
    for path in PAGES:
        page = who.get(path).text
        assert not re.search(r"<style|<script(?! src=\"/console/static/)|\son\w+=|\sstyle=|javascript:", page), path
        assert set(re.findall(r'(?:src|href)="(https?:[^"]*)"', page)) == set(), path


def test_a_wrong_password_is_no_log_in_and_is_written_down(kept: Kept) -> None:
    who = stranger(kept)
    for name, password in ((OPERATOR, "wrong"), ("nobody", PASSWORD), ("server", PASSWORD), ("", "")):
        answer = who.log_in(name, password)
        assert answer.status_code == 403 and "Name or password is wrong" in answer.text
        assert "__Host-tacit-console" not in answer.headers.get("set-cookie", "")
    assert kept.counted(SessionRow) == 0
    found = [row for row in kept.audited() if row[1] == "login"]
    assert {row[3] for row in found} == {"refused"} and {row[0] for row in found} == {"a stranger"}
    assert OPERATOR in {row[2] for row in found}


def test_after_five_wrong_passwords_the_right_one_has_to_wait(kept: Kept) -> None:
    who = stranger(kept)
    for _ in range(5):
        who.log_in(OPERATOR, "wrong")
    assert who.log_in().status_code == 403
    assert who.log_in(AUDITOR).status_code == 303
    with kept.database.begin() as session:
        session.execute(update(UserRow).values(locked=time.time() - 1))
    assert who.log_in().status_code == 303


def test_one_address_guesses_only_so_often() -> None:
    attempts = Attempts()
    for _ in range(20):
        assert attempts.begin("192.0.2.1")
        attempts.end("192.0.2.1", right=False)
    assert not attempts.begin("192.0.2.1")
    assert attempts.begin("192.0.2.2") and attempts.begin("192.0.2.3")
    assert not attempts.begin("192.0.2.4")  # two are being looked at
    attempts.end("192.0.2.2", right=True)
    assert attempts.begin("192.0.2.4")


def test_the_log_in_form_has_a_token_of_its_own(kept: Kept) -> None:
    who = stranger(kept)
    who.csrf = token_in(who.get("/console/login").text)
    good = {"name": OPERATOR, "password": PASSWORD}
    assert who.post("/console/login", **good, csrf="0" * 64).status_code == 403
    assert who.post("/console/login", {"origin": "https://evil.example"}, **good).status_code == 403
    assert who.post("/console/login", {"sec-fetch-site": "cross-site"}, **good).status_code == 403
    assert who.post("/console/login", {"content-type": "application/json"}, **good).status_code == 400
    assert kept.counted(SessionRow) == 0
    assert who.post("/console/login", **good).status_code == 303


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("/console/runs?x=1", "/console/runs?x=1"),
        ("//evil.example", "/console"),
        ("https://evil.example/console", "/console"),
        ("/console//evil", "/console"),
        ("/consolevil", "/console"),
        ("/console/\\evil", "/console"),
        ("/console/\r\nset-cookie: x", "/console"),
        ("", "/console"),
    ],
)
def test_a_log_in_leads_to_a_page_of_the_console_alone(said: str, meant: str) -> None:
    assert safe_path(said) == meant


def _aged(kept: Kept, **columns: float) -> None:
    with kept.database.begin() as session:
        session.execute(update(SessionRow).values(**columns))


def test_a_log_in_ends_when_it_is_not_used_and_after_so_long(kept: Kept) -> None:
    settings, now = kept.directory.settings.console, time.time()
    who = person(kept)
    _aged(kept, used=now - 60 * settings.idle_minutes + 60)
    assert who.get("/console").status_code == 200
    _aged(kept, used=now - 60 * settings.idle_minutes - 1)
    assert who.get("/console").status_code == 303
    who = person(kept)
    _aged(kept, created=now - 3600 * settings.longest_hours - 1)
    assert who.get("/console").status_code == 303
    assert kept.counted(SessionRow) == 0


def test_a_page_that_looks_by_itself_keeps_no_log_in_from_ending(kept: Kept) -> None:
    who, past = person(kept), time.time() - 60
    _aged(kept, used=past)
    assert who.get("/console", **{POLL: "1"}).status_code == 200
    with kept.database.begin() as session:
        assert session.scalars(select(SessionRow.used)).one() == past
    assert who.get("/console").status_code == 200
    with kept.database.begin() as session:
        assert session.scalars(select(SessionRow.used)).one() > past


def test_who_logs_out_is_out_and_so_is_whoever_was_removed(kept: Kept) -> None:
    app = kept.app()
    one, other = person(kept, app=app), person(kept, AUDITOR, app=app)
    cookies = dict(one.client.cookies)
    assert one.post("/console/account", do="leave").headers["location"] == "/console/login?done=left"
    one.client.cookies.update(cookies)
    assert one.get("/console").status_code == 303  # the cookie alone brings nobody back
    one.client.cookies.clear()
    one.log_in()
    assert one.post("/console/users", do="remove", name=AUDITOR).headers["location"] == "/console/users?done=removed"
    assert other.get("/console").status_code == 303
    assert [row[:3] for row in kept.audited()][:1] == [(OPERATOR, "user.remove", AUDITOR)]


CHANGES: list[tuple[str, dict[str, str], str]] = [
    ("/console/devices/{device}", {"do": "revoke"}, "device.revoke"),
    ("/console/devices/{device}", {"do": "erase"}, "device.erase"),
    ("/console/devices/{revoked}", {"do": "restore"}, "device.restore"),
    ("/console/enrolment", {"do": "approve", "key": "{key}"}, "device.approve"),
    ("/console/enrolment", {"do": "reject", "key": "{key}"}, "device.reject"),
    ("/console/enrolment", {"do": "token", "note": "hall", "hours": "2"}, "token.create"),
    ("/console/enrolment", {"do": "revoke", "all": "yes"}, "token.revoke"),
    ("/console/runs", {"do": "schedule", "name": "third", "rounds": "2"}, "run.schedule"),
    ("/console/runs/second", {"do": "pause"}, "run.pause"),
    ("/console/runs/second", {"do": "resume"}, "run.resume"),
    ("/console/runs/second", {"do": "stop"}, "run.stop"),
    (
        "/console/users",
        {"do": "add", "name": "new", "role": "auditor", "password": "p" * 15, "again": "p" * 15},
        "user.add",
    ),
    ("/console/users", {"do": "remove", "name": AUDITOR}, "user.remove"),
]
OWN = [
    (
        "/console/account",
        {"do": "password", "present": PASSWORD, "password": "n" * 15, "again": "n" * 15},
        "user.password",
    ),
    ("/console/account", {"do": "leave"}, "logout"),
]


@pytest.fixture
def filled(kept: Kept) -> Callable[[str], str]:
    """Names in a change put in their places."""
    from tacit_server.deployment import admission, audit

    names = {"revoked": kept.device(30, "old", state="revoked"), "device": kept.device(31, "tablet")}
    names["key"] = kept.applicant(9, "applies")
    with kept.database.begin() as session:
        admission.new_token(session, audit.COMMAND_LINE, "f" * 64, note="spare", hours=1.0)
    return lambda text: text.format(**names)


def asked(
    who: Person,
    change: tuple[str, dict[str, str], str],
    filled: Callable[[str], str],
    headers: dict[str, str] | None = None,
    **more: str,
) -> Any:
    path, fields, _ = change
    return who.post(filled(path), headers, **{name: filled(value) for name, value in fields.items()} | more)


def test_no_change_is_forgotten_here() -> None:
    there = {(page.path, do) for page in catalogue.PAGES for do in page.changes}
    tried = {(re.sub(r"/(\{\w+\}|second)$", "/{}", path), fields["do"]) for path, fields, _ in (*CHANGES, *OWN)}
    assert {(re.sub(r"/\{\w+\}$", "/{}", path), do) for path, do in there} == tried


@OVER_EACH
@pytest.mark.parametrize("change", [*CHANGES, *OWN], ids=lambda change: change[2])
def test_every_change_is_made_and_written_down(
    kept: Kept, filled: Callable[[str], str], change: tuple[str, dict[str, str], str]
) -> None:
    who, before = person(kept), state_of(kept)
    answer = asked(who, change, filled)
    assert answer.status_code == (200 if change[2] == "token.create" else 303), answer.text
    assert state_of(kept) != before or change[2] == "run.resume"
    newest = kept.audited()[0]
    assert (newest[0], newest[1], newest[3]) == (OPERATOR, change[2], "done")
    with kept.database.begin() as session:
        assert session.scalars(select(AuditRow.address).order_by(AuditRow.number.desc())).first() == "testclient"


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change[2])
def test_an_auditor_changes_nothing_and_the_log_says_who_tried(
    kept: Kept, filled: Callable[[str], str], change: tuple[str, dict[str, str], str]
) -> None:
    who, before = person(kept, AUDITOR), state_of(kept)
    answer = asked(who, change, filled)
    assert answer.status_code == 403 and "You are an auditor" in answer.text
    assert state_of(kept) == before
    newest = kept.audited()[0]
    assert (newest[0], newest[1], newest[3]) == (AUDITOR, "console.change", "refused")
    assert newest[2].endswith(change[1]["do"])


def test_an_auditor_sees_no_form_that_would_be_refused(kept: Kept) -> None:
    who = person(kept, AUDITOR)
    for path in PAGES[:-1]:
        page = who.get(path).text
        assert re.findall(r'name="do" value="(\w+)"', page) in (["leave"], ["leave", "password"]), path
        assert "/console/users" not in page
    answer = who.get("/console/users")
    assert answer.status_code == 403 and "Only operators see" in answer.text


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("token", {"csrf": ""}),
    ("token", {"csrf": "0" * 64}),
    ("token", {"csrf": "not ascii: \u00e9"}),
    ("token", {"csrf": "of another log-in"}),
    ("origin", {"headers": {"origin": "https://evil.example"}}),
    ("origin", {"headers": {"origin": "null"}}),
    ("origin", {"headers": {"origin": "http://fleet.example"}}),
    ("origin", {"headers": {"sec-fetch-site": "cross-site"}}),
    ("origin", {"headers": {"sec-fetch-site": "same-site"}}),
    ("malformed", {"headers": {"content-type": "multipart/form-data; boundary=x"}}),
    ("malformed", {"headers": {"content-type": "text/plain"}}),
    ("unknown", {"do": "destroy"}),
    ("oversized", {"note": "x" * 70_000}),
]


@pytest.mark.parametrize("change", [CHANGES[0], CHANGES[5], *OWN], ids=lambda change: change[2])
@pytest.mark.parametrize(("why", "how"), REFUSED)
def test_a_stolen_cookie_without_its_token_changes_nothing_and_is_written_down(
    kept: Kept, filled: Callable[[str], str], change: tuple[str, dict[str, str], str], why: str, how: dict[str, Any]
) -> None:
    app = kept.app()
    who = person(kept, app=app)
    if how.get("csrf") == "of another log-in":
        how = {"csrf": person(kept, app=app).csrf}
    before, written = state_of(kept), len(kept.audited())
    answer = asked(who, change, filled, **how)
    assert answer.status_code in (400, 403)
    assert state_of(kept) == before
    assert len(kept.audited()) == written + 1
    with kept.database.begin() as session:
        row = session.scalars(select(AuditRow).order_by(AuditRow.number.desc())).first()
        assert row is not None
        assert (row.actor, row.action, row.outcome) == (OPERATOR, "console.change", "refused")
        assert json.loads(row.detail) == {"why": why}


def test_a_change_that_cannot_be_made_says_why_and_keeps_what_was_typed(kept: Kept) -> None:
    who, before = person(kept), state_of(kept)
    tried = [
        ("/console/runs", {"do": "schedule", "name": "second", "rounds": "2"}, "is a run second already"),
        ("/console/runs", {"do": "schedule", "name": "a b", "rounds": "2"}, "cannot be called"),
        ("/console/runs", {"do": "schedule", "name": "x", "rounds": "two"}, "whole number"),
        ("/console/runs", {"do": "schedule", "name": "x", "epsilon": "much"}, "a number"),
        ("/console/runs", {"do": "schedule", "name": "x", "epsilon": "nan"}, "privacy.epsilon"),
        ("/console/runs", {"do": "schedule", "name": "x", "epsilon": "99"}, "passes the server"),
        ("/console/runs", {"do": "schedule", "name": "x", "starts": "soon"}, "no time"),
        ("/console/runs", {"do": "schedule", "name": "x", "more": "rounds"}, "key=value"),
        ("/console/runs", {"do": "schedule", "name": "x", "more": 'privacy.roster="sealed"'}, "promise"),
        ("/console/runs/first", {"do": "stop"}, "nothing more can be asked"),
        ("/console/enrolment", {"do": "approve", "key": "00"}, "nobody of that key"),
        ("/console/enrolment", {"do": "token", "hours": "soon"}, "no number of hours"),
        ("/console/enrolment", {"do": "token", "hours": "nan"}, "nan hours"),
        ("/console/enrolment", {"do": "revoke"}, "say which token"),
        ("/console/enrolment", {"do": "revoke", "token": "ab"}, "say which token"),
        ("/console/users", {"do": "remove", "name": OPERATOR}, "nobody removes their own"),
        (
            "/console/users",
            {"do": "add", "name": "n", "role": "god", "password": "p" * 15, "again": "p" * 15},
            "no role",
        ),
        (
            "/console/users",
            {"do": "add", "name": "n", "role": "auditor", "password": "p" * 14, "again": "p" * 14},
            "15",
        ),
        ("/console/users", {"do": "add", "name": "n", "role": "auditor", "password": "p" * 15, "again": ""}, "same"),
        (
            "/console/users",
            {"do": "add", "name": "server", "role": "auditor", "password": "p" * 15, "again": "p" * 15},
            "told from",
        ),
        ("/console/account", {"do": "password", "present": "no", "password": "p" * 15, "again": "p" * 15}, "is wrong"),
    ]
    for path, fields, why in tried:
        answer = who.post(path, **fields)
        assert answer.status_code == 400 and why in answer.text, (fields, answer.text)
        assert 'role="alert"' in answer.text
        newest = kept.audited()[0]
        assert (newest[0], newest[1], newest[3]) == (OPERATOR, "console.change", "refused")
        typed = fields.get("name", "x")
        assert f'value="{typed}"' in answer.text or path != "/console/runs"
        assert "p" * 15 not in answer.text and "short" not in answer.text
    assert state_of(kept) == before


def test_a_token_is_shown_once_and_enrols(kept: Kept) -> None:
    who = person(kept)
    answer = who.post("/console/enrolment", do="token", note="hall", hours="2")
    token = re.findall(r"tacit1\.[\w-]+\.[0-9a-f]{64}", answer.text)[0]
    assert token.endswith(kept.directory.fingerprint)
    page = who.get("/console/enrolment").text
    assert "hall" in page and token not in page and token.split(".")[1] not in page
    assert token.split(".")[1] not in "".join(map(str, kept.audited()))


@OVER_EACH
def test_names_are_text_wherever_they_come_from(kept: Kept) -> None:
    """No letter of a name is markup, SQL, or turns what stands beside it; a log shows them, too."""
    from tacit_server.deployment import admission, audit

    stored = HOSTILE if kept.database.engine.name == "sqlite" else HOSTILE.replace("\x00", "")
    identity = kept.device(40, stored)
    kept.applicant(41, stored, address=stored)
    with kept.database.begin() as session:
        admission.new_token(session, audit.Actor(stored, stored), "f" * 64, note=stored, hours=1.0)
        row = session.get(DeviceRow, 40)
        assert row is not None
        told = {name: stored for name in ("version", "activity", "refusal", "installed")}
        row.report = json.dumps(told)
        run = session.get(RunRow, "second")
        assert run is not None
        run.reason = stored
        session.add(UserRow(name=stored[:60], role=stored[:20], password="x", created=0.0))
    who = person(kept)
    for path in (*PAGES, "/console/runs/second", f"/console/devices/{identity}"):
        page = who.get(path).text
        assert "<script>" not in page and "<img" not in page and "\u202e" not in page and "\u2066" not in page, path
        assert "\x00" not in page, path
    for query in (HOSTILE, "'; DROP TABLE devices; --", "%", "_", "\\", "' OR '1'='1", "\u202e"):
        for path in ("/console/devices", "/console/log"):
            answer = who.client.get(path, params={"q": query, "state": query, "page": query})
            assert answer.status_code == 200 and "<script>" not in answer.text
        assert who.client.get("/console/ledger", params={"witness": query}).status_code == 200
        assert who.client.get("/console/adapters", params={"run": query}).status_code == 200
        assert who.client.get("/console", params={"done": query}).status_code == 200
        for path in ("/console/runs/", "/console/devices/"):
            assert who.client.get(path + query.replace("\x00", "")).status_code in (200, 404)
    for name in (HOSTILE, "'; DROP TABLE runs; --"):
        assert who.post("/console/runs", do="schedule", name=name, rounds="2").status_code == 400
        assert who.post("/console/enrolment", do="token", note=name, hours="1").status_code == 200
        assert (
            who.post("/console/users", do="add", name=name, role=name, password="p" * 15, again="p" * 15).status_code
            == 400
        )
    assert kept.counted(DeviceRow) == 7 and kept.counted(RunRow) == 2


def test_every_kind_of_entry_is_explained() -> None:
    assert set(wording.KINDS) == set(bodies.KINDS)


def test_a_letter_that_hides_or_turns_others_is_spelt_out() -> None:
    assert plain("a\u202eb\n\x00c\u200bd") == "a\\u202eb\\n\\x00c\\u200bd"
    assert len(plain("x" * 1000)) == 120
    assert plain("Gr\u00fc\u00dfe \u6f22\u5b57") == "Gr\u00fc\u00dfe \u6f22\u5b57"


@OVER_EACH
def test_devices_are_found_by_what_is_known_of_them(kept: Kept) -> None:
    who = person(kept)

    def shown(**query: str) -> list[str]:
        page = who.client.get("/console/devices", params=query).text
        return re.findall(r'<a href="/console/devices/device-\w+"><bdi>(.*?)</bdi>', page)

    assert len(shown()) == 6
    assert shown(q="TABLET") == ["kitchen tablet"]
    assert shown(q="3") == ["workshop board"]
    assert shown(q="%") == [] and shown(q="_") == []
    assert shown(state="online") == ["kitchen tablet", "hall panel", "Grandma&#39;s phone", "workshop board"]
    assert shown(state="revoked") == []
    with kept.database.begin() as session:
        row = looking.devices(session, "hall", "", 1, time.time()).rows[0]
        identity, key = row.identity, row.public_key
    assert shown(q=identity) == shown(q=key[:16]) == ["hall panel"]


@OVER_EACH
def test_long_lists_come_by_the_page(kept: Kept) -> None:
    for number in range(100, 220):
        kept.device(number, f"device {number}")
    who = person(kept)
    first = who.get("/console/devices").text
    assert "Page 1 of 3, 126 in all" in first and 'rel="prev"' not in first
    last = who.client.get("/console/devices", params={"page": "99"}).text
    assert "Page 3 of 3" in last and 'rel="next"' not in last and "device 219" in last
    assert "state=online&amp;page=2" in who.client.get("/console/devices", params={"state": "online"}).text
    for _ in range(60):
        who.post("/console/runs/second", do="pause")
    assert "Page 1 of 2" in who.get("/console/log").text


def test_a_run_shows_its_rounds_and_who_took_part_how_often(kept: Kept) -> None:
    page = person(kept).get("/console/runs/second").text
    assert "4 of 4" in page and "3 of 4" in page and "late 4" in page
    assert "updates that rounds completed with, of a cohort of 4: 4 in round 1, 0 in round 2, 3 in round 3" in page
    assert "5 devices in 1 releases; 1 devices in 2 releases" in page
    assert "epsilon is 1.726 after round 1 and 1.726 after round 3; the cap is 8" in page


def test_what_a_device_spent_is_what_its_count_costs(kept: Kept) -> None:
    who = person(kept)
    budget = who.get("/console/budget").text
    rows = re.findall(r'data-label="Releases">(\d+)</th><td data-label="Devices">(\d+)</td><td[^>]*>ε ([\d.]+)', budget)
    assert [(row[0], row[1]) for row in rows] == [("2", "1"), ("3", "4"), ("4", "1")]
    assert rows[-1][2] == re.findall(r"<b>ε ([\d.]+) ", budget)[0]  # the busiest device is what the promise is about
    assert sorted(float(row[2]) for row in rows) == [float(row[2]) for row in rows]
    with kept.database.begin() as session:
        identity = looking.devices(session, "2", "", 1, time.time()).rows[0].identity
    page = who.get(f"/console/devices/{identity}").text
    assert f"<b>ε {rows[-1][2]}</b>" in page and "<b>4</b>" in page


@OVER_EACH
def test_the_files_verify_elsewhere(kept: Kept) -> None:
    who = person(kept)
    texts = {name: who.get(f"/console/ledger/{name}").text for name in ("ledger.jsonl", "ledger.pub", "receipts.jsonl")}
    found = verify(
        texts["ledger.jsonl"].splitlines(), texts["ledger.pub"].strip(), None, texts["receipts.jsonl"].splitlines()
    )
    assert found.ok and found.histogram == {2: 1, 3: 4, 4: 1}
    page = who.get("/console/ledger").text
    assert found.head in page and "It verifies." in page
    assert "hash of entry 14" in who.get(f"/console/ledger?witness={found.head}").text
    assert "not in this ledger" in who.get(f"/console/ledger?witness={'0' * 64}").text
    told = who.get("/console/report/audit.json").json()
    assert told["verification"]["head"] == found.head and told["verification"]["receipts_checked"]
    assert {row[1] for row in kept.audited()} >= {"ledger.download", "report.download"}


def test_a_ledger_that_was_tampered_with_is_called_that(kept: Kept) -> None:
    with kept.database.begin() as session:
        row = session.get(LedgerRow, 3)
        assert row is not None
        row.payload = row.payload.replace('"completed":4', '"completed":3')
    page = person(kept).get("/console/ledger").text
    assert "It does NOT verify" in page and "entry 3: hash" in page


def test_an_unreadable_entry_is_shown_and_called_that(kept: Kept) -> None:
    with kept.database.begin() as session:
        row = session.get(LedgerRow, 3)
        assert row is not None
        row.payload = "<script>no json"
    who = person(kept)
    page = who.get("/console/ledger").text
    assert "It does NOT verify" in page and "unreadable" in page and "<script>no" not in page
    assert who.get("/console/ledger/ledger.jsonl").status_code == 503
    assert who.get("/console/budget").status_code == 200


def test_the_ledger_is_checked_once_for_a_head(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    from tacit_server.web.console import checking

    calls: list[int] = []

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        return verify(*arguments)

    monkeypatch.setattr(checking, "verify", counted)
    who = person(kept)
    for _ in range(3):
        who.get("/console/ledger"), who.get("/console/budget")
    assert len(calls) == 1
    kept.run("third", [[7]])
    who.get("/console/ledger")
    assert len(calls) == 2


def test_an_adapter_is_taken_along_in_pefts_format(kept: Kept) -> None:
    who = person(kept)
    data = who.get("/console/adapters/first/3/peft.zip").content
    assert data == who.get("/console/adapters/first/3/peft.zip").content
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = set(archive.namelist())
        config = json.loads(archive.read("first-3/adapter_config.json"))
    assert names == {
        f"first-3/{name}" for name in ("adapter_config.json", "adapter_model.safetensors", "tacit_spec.json")
    }
    assert (config["peft_type"], config["r"]) == ("LORA", 2)
    page = who.get("/console/adapters/first/3").text
    assert re.findall(r"round \d", page.split('class="chain"')[1]) == ["round 3", "round 2", "round 1"]
    assert "the untrained adapter" in page
    assert ("olga", "adapter.download", "first-3", "done") in kept.audited()


@pytest.fixture
def sealed(tmp_path: Path) -> Iterator[Kept]:
    found = furnished(tmp_path / "server", privacy={"roster": "sealed"})
    yield found
    found.database.close()


def test_behind_a_sealed_roster_nothing_tells_who_took_part(sealed: Kept) -> None:
    who = person(sealed)
    with sealed.database.begin() as session:
        identities = [row.identity for row in looking.devices(session, "", "", 1, time.time()).rows]
        run = session.get_one(RunRow, "second")
        run.state, run.reason = "paused", "round 3: fewer than 3 devices could be asked"
    for path in (*PAGES, "/console/runs/second", *(f"/console/devices/{identity}" for identity in identities)):
        page = who.get(path).text
        for word in ("Completed", "late 1", "working", "exhausted", "Participations", "in 1 releases", "fewer than 3"):
            assert word not in page, (path, word)
    pages = {who.get(f"/console/devices/{identity}").text.split("What it contributed")[1] for identity in identities}
    assert len(pages) == 1  # who was in three releases looks like who was in none
    assert who.get("/console/ledger/receipts.jsonl").status_code == 404
    assert not who.get("/console/report/audit.json").json()["verification"]["receipts_checked"]


def test_behind_a_sealed_roster_pages_do_not_depend_on_who_took_part(sealed: Kept) -> None:
    """Everything that the database knows of it is changed, and no byte of any page follows."""
    who = person(sealed)
    with sealed.database.begin() as session:
        identity = looking.devices(session, "", "", 1, time.time()).rows[0].identity
    paths = (*PAGES, "/console/runs/second", f"/console/devices/{identity}", *FILES[1:3], "/console/report/audit.html")
    before = {path: who.get(path).content for path in paths if path != "/console/log"}
    with sealed.database.begin() as session:
        for row in session.scalars(select(RoundRow)):
            told = {
                "sampled": 9,
                "completed": 7,
                "dropped": {"late": 9},
                "accepted": [9],
                "bytes_up": 9,
                "bytes_down": 9,
            }
            row.record = json.dumps(json.loads(row.record) | told)
        session.execute(update(ParticipationRow).values(count=4, last_round=1))
        report = {"activity": "delivering", "refusal": "noise", "rounds": 9, "outbox": 1, "version": "0.1.0"}
        session.execute(update(DeviceRow).values(report=json.dumps(report)))
        session.execute(delete(LeafRow))
    after = {path: who.get(path).content for path in before}
    lately = b"Lately"  # what was taken along stands there
    assert {path: text.split(lately)[0] for path, text in after.items()} == {
        path: text.split(lately)[0] for path, text in before.items()
    }


def test_what_the_ledger_promised_counts_whatever_the_settings_say_now(sealed: Kept) -> None:
    config = sealed.directory.config
    config.write_text(config.read_text().replace('"sealed"', '"open"'))
    again = Kept(sealed.directory.path)
    assert again.directory.settings.privacy.roster == "open"
    who = person(again)
    page = who.get("/console/runs/second").text
    assert "The roster is sealed" in page and "Completed" not in page
    assert who.get("/console/ledger/receipts.jsonl").status_code == 404
    again.database.close()


def test_a_budget_that_is_renewed_shows_its_period_and_all_of_them(tmp_path: Path) -> None:
    kept = furnished(tmp_path / "server", privacy={"period_s": 7 * 86400.0})
    page = person(kept).get("/console/budget").text
    assert "in this period" in page and "over all periods" in page
    kept.database.close()


def test_runs_that_begin_alike_are_told_apart(kept: Kept) -> None:
    kept.run("fir", [[6, 7]])
    kept.run("first-2", [[6]])
    with kept.database.begin() as session:
        assert looking.often(session, "fir") == [(1, 2)]
        assert looking.often(session, "first-2") == [(1, 1)]
        assert looking.often(session, "first") == [(2, 4), (3, 1)]
        assert looking.often(session, "f%") == []


def test_log_ins_that_ended_are_dropped_with_the_next(kept: Kept) -> None:
    person(kept)
    _aged(kept, created=0.0)
    person(kept, AUDITOR)
    assert kept.counted(SessionRow) == 1


def test_what_needs_somebody_stands_first(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    who = person(kept)
    assert "1 device waits to be let in" in who.get("/console").text
    with kept.database.begin() as session:
        run = session.get(RunRow, "second")
        assert run is not None
        run.state, run.ended = "failed", time.time()
    for number in range(50, 70):
        kept.device(number, "many", seen_ago=9999)
    with kept.database.begin() as session:
        session.execute(update(DeviceRow).values(seen=0.0))
    monkeypatch.setattr("tacit_server.web.console.overview._CERTIFICATE_S", 500 * 86400.0)
    monkeypatch.setattr("tacit_server.web.console.overview._NEARLY", 0.1)
    page = who.get("/console").text
    for words in ("Run second has failed", "certificate ends in", "26 devices are in and 20 were planned for"):
        assert words in page
    assert "of the budget is spent" in page and "No device is online" in page


def test_a_database_that_is_away_is_said_and_not_explained(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    who = person(kept)

    def broken(*_: Any) -> Any:
        raise RuntimeError("a name that nobody may see")

    monkeypatch.setattr(looking, "audited", broken)
    answer = who.get("/console/log")
    assert answer.status_code == 500 and "nobody may see" not in answer.text


def test_an_empty_server_has_every_page(tmp_path: Path) -> None:
    kept = Kept.made(tmp_path / "server")
    who = person(kept)
    for path in (page for page in PAGES if "first" not in page):
        assert who.get(path).status_code == 200, path
    assert who.get("/console/ledger/ledger.pub").status_code == 404
    assert who.get("/console/report/audit.html").status_code == 200
    kept.database.close()


def test_a_password_is_looked_at_while_nobody_holds_the_database(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    def looking_on(stored: str, password: str) -> bool:
        with ServerDatabase(kept.directory.database_url) as other, other.begin() as session:
            session.add(AuditRow(time=0.0, actor="x", action="x", subject="x", outcome="done", detail="{}", address=""))
        return right(stored, password)

    right = people.is_password
    monkeypatch.setattr(people, "is_password", looking_on)
    person(kept)
