"""The auditor's report: every field for every kind of ledger, figures of the accountant, rounded to the safe side."""

import json
import math
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledgers import FIXED, KEY, Books, policy
from scipy.special import ndtr, ndtri

from tacit_privacy.accounting.bounds import bounds
from tacit_privacy.accounting.events import Adjacency, Correlation, GaussianEvent, Sampling
from tacit_privacy.accounting.gaussian import delta_of, epsilon_of
from tacit_privacy.accounting.policy import Planned
from tacit_privacy.audit.curve import Point, detected, guessed, touching
from tacit_privacy.audit.document import Report
from tacit_privacy.audit.page import page
from tacit_privacy.audit.reading import as_given, percent_up
from tacit_privacy.audit.report import report
from tacit_privacy.cli import finite, main
from tacit_privacy.contract import canonical
from tacit_privacy.ledger.keys import SigningKey
from tacit_privacy.mechanisms.noise import SystemNoise

EVENT = GaussianEvent(noise_multiplier=0.8, sampling=FIXED)
POISSON = GaussianEvent(noise_multiplier=1.2, sampling=Sampling(kind="poisson", cohort=20, population=2000))
HOSTILE = '<script>alert("1")</script>'
SECTIONS = set(Report.model_fields)


def opened(**settings: Any) -> Books:
    books = Books(policy(participations=3), EVENT, **settings)
    for number in (1, 2, 3):
        books.round(number, range(10 * number, 10 * number + 20))
    return books


def closed() -> Books:
    books = opened()
    books.close()
    return books


def sealed() -> Books:
    plan = Planned(event=POISSON, rounds=10)
    books = Books(policy(participations=10, roster_sealed=True, plan=plan), POISSON, noise=SystemNoise())
    for number in range(1, 5):
        books.round(number, [number, 7])
    books.close()
    return books


def periods() -> Books:
    books = Books(policy(participations=3, period_s=100.0, epsilon=20.0), EVENT, replay=False, noise=SystemNoise())
    for number in range(1, 6):
        books.time += 40
        books.round(number, range(20))
    return books


def rotated() -> Books:
    books = opened(run=HOSTILE)
    books.budget.abandon(books.session, books.reserve(4, [90]), "1 of 60 <i>needed</i>")
    books.hand_over(SigningKey.simulated(99))
    books.close()
    return books


def correlated() -> Books:
    event = EVENT.model_copy(update={"correlation": Correlation(bands=2, rounds=6), "noise_multiplier": 2.0})
    books = Books(policy(participations=3, separation=2), event)
    for number in (1, 2, 3):
        books.round(number, [number])
    return books


KINDS: dict[str, Callable[[], Books]] = {
    "open": opened,
    "closed": closed,
    "sealed": sealed,
    "periods": periods,
    "rotated": rotated,
    "correlated": correlated,
}


@pytest.fixture(scope="module", params=KINDS)
def told(request: pytest.FixtureRequest) -> tuple[str, Books, Report]:
    books = KINDS[request.param]()
    return request.param, books, report(books.lines(), KEY.public, receipts=books.receipt_lines())


def holes(value: Any, path: str = "") -> Iterator[str]:
    """Where a document is silent."""
    if value is None or value == "" or value == ():
        yield path
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from holes(inner, f"{path}.{key}")


# ---- every field, for every kind of ledger


def test_every_field_is_there_and_json_holds_it(told: tuple[str, Books, Report]) -> None:
    kind, books, found = told
    assert found.verification.ok and found.verification.problems == ()
    document = json.loads(json.dumps(finite(found.as_json()), allow_nan=False))
    assert set(document) == SECTIONS
    allowed = {
        ".verification.problems",
        ".verification.witness",
        ".dropouts.given_back",
        ".accounting.second",
        ".accounting.largest_disagreement",
        *(f".empirical.{name}" for name in ("lower_bound", "confidence", "estimate", "canaries", "included")),
        *((".budget.period_s", ".budget.periods", ".budget.lifetime_epsilon") if kind != "periods" else ()),
    }
    if kind == "sealed":
        allowed |= {".notes", ".unit.epsilon_two", ".participation.histogram", ".dropouts.completed"}
    assert set(holes(found.as_json())) <= allowed
    assert found.book.state == ("closed" if kind in ("closed", "sealed", "rotated") else "open")
    assert found.participation is not None and found.participation.releases == len(books.told("release"))


def test_the_page_holds_every_section_and_asks_nothing_of_the_network(told: tuple[str, Books, Report]) -> None:
    _, _, found = told
    text = page(found)
    assert text == page(found)
    for name in SECTIONS - {"ledger", "tacit", "notes", "reading"}:
        assert f'<section class="chapter" id="{name}"' in text
    for sentence in found.reading:
        assert sentence in text
    assert not re.search(r"https?://|src=|@import|url\(|<script|<link[^>]*href=\"(?!data:)", text)
    assert text.count("<table>") == text.count("<caption>") > 4
    Balanced().feed(text)


class Balanced(HTMLParser):
    """Raises on tags that do not close in order, and on drawings without words."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "svg" or len(dict(attrs)["aria-label"] or "") > 20
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert self.open[-1] == "svg"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_names_that_somebody_else_chose_stay_names() -> None:
    books = rotated()
    text = page(report(books.lines(), KEY.public, name=HOSTILE))
    assert "<script" not in text and "<i>" not in text
    assert "&lt;script&gt;" in text and "&lt;i&gt;needed" in text


# ---- figures


def test_figures_are_the_accountants(told: tuple[str, Books, Report]) -> None:
    kind, books, found = told
    assert found.guarantees is not None and found.bounds is not None
    spent = books.budget.spent(books.session)
    first = found.guarantees[0]
    assert (first.epsilon, first.assumption) == (spent.epsilon, spent.assumption)
    assert next(row.epsilon for row in found.bounds.listed if row.chosen) == spent.epsilon
    listed = {(row.assumption, row.adjacency, row.epsilon) for row in found.bounds.listed}
    for bound in books.budget.listed(books.session):
        assert (bound.assumption, str(bound.adjacency), bound.epsilon) in listed
    assert len(first.epsilons) >= 4 and len(found.guarantees) == (2 if kind == "periods" else 1)
    curve = [(row.delta, row.epsilon) for row in first.curve]
    assert curve == sorted(curve, reverse=True, key=lambda row: row[0])
    assert all(low[1] <= high[1] for low, high in pairwise(curve))
    assert (first.delta, first.epsilon) in curve


def test_a_gaussian_curve_is_exact_and_a_sampled_one_is_no_gaussian() -> None:
    found = report(closed().lines(), KEY.public).guarantees
    assert found is not None and found[0].mu is not None
    mu = math.sqrt(2) / 0.8
    assert found[0].mu == pytest.approx(mu, rel=1e-12) and found[0].rho == pytest.approx(mu * mu / 2, rel=1e-12)
    for row in found[0].curve:
        assert epsilon_of(mu, row.delta) <= row.epsilon <= epsilon_of(mu, row.delta) * (1 + 1e-6)
        assert delta_of(mu, row.epsilon) <= row.delta
    for test in found[0].tests:
        exact = float(ndtr(ndtri(test.false_positive_rate) + mu))
        assert exact <= test.true_positive_rate <= exact * (1 + 1e-6)
    assert float(ndtr(mu / 2)) <= found[0].right_guess <= float(ndtr(mu / 2)) * (1 + 1e-6)
    sampled = report(sealed().lines(), KEY.public).guarantees
    assert sampled is not None and sampled[0].mu is None and sampled[0].rho is None


def test_a_sampled_figure_is_that_of_the_whole_plan_and_says_with_what_grid() -> None:
    books = sealed()
    found = report(books.lines(), KEY.public, cross_check=True)
    assert found.guarantees is not None and found.accounting is not None and found.bounds is not None
    exposure = books.budget.policy.exposure(10)
    (_, amplified) = bounds({POISSON: 10}, exposure, books.budget.policy.delta, within=Adjacency.ZERO_OUT)
    assert found.guarantees[0].epsilon == pytest.approx(amplified.epsilon, rel=1e-6)
    assert "0.0001" in found.accounting.accountants[1].grid
    assert 0 < (found.accounting.largest_disagreement or 0.0) < 0.011  # what Opacus adds to its own figure
    assert not [row for row in found.bounds.unlisted if "Poisson" in row.assumption]


def test_two_devices_of_one_person_cost_twice_the_mu() -> None:
    unit = report(closed().lines(), KEY.public).unit
    assert unit is not None
    assert unit.epsilon_two == pytest.approx(epsilon_of(2 * math.sqrt(2) / 0.8, 2.3e-4), rel=1e-6)


def test_receipts_are_counted_and_a_sealed_roster_stays_sealed() -> None:
    books = opened()
    counted = report(books.lines(), KEY.public, receipts=books.receipt_lines()).participation
    assert counted is not None and counted.histogram is not None
    assert {row.times: row.devices for row in counted.histogram} == {0: 1960, 1: 20, 2: 20}
    unknown = report(books.lines(), KEY.public).participation
    assert unknown is not None and unknown.histogram is None and "unknown" in unknown.histogram_from
    one, other = sealed(), sealed()
    for books in (one, other):
        assert (told := report(books.lines(), KEY.public, receipts=books.receipt_lines()).participation) is not None
        assert told.histogram is None and {row.completed for row in told.rounds} == {None}


def test_why_other_bounds_are_not_listed_is_said() -> None:
    found = report(opened().lines(), KEY.public).bounds
    assert found is not None
    assert {row.assumption: row.why for row in found.unlisted}["Poisson sampling"] == "no cohort was drawn that way"
    shown = Books(policy(participations=10), POISSON)
    shown.round(1, [1])
    listed = report(shown.lines(), KEY.public).bounds
    assert listed is not None
    assert {row.assumption: row.why for row in listed.unlisted}["Poisson sampling"] == "who took part is not sealed"


def test_keys_and_what_came_to_nothing_are_told() -> None:
    books = rotated()
    found = report(books.lines(), KEY.public)
    assert [key.public_key for key in found.book.keys] == [KEY.public, SigningKey.simulated(99).public]
    assert found.book.keys[1].since == found.book.entries - 1
    assert found.dropouts.given_back[0].what == "1 of 60 <i>needed</i>" and found.dropouts.given_back[0].count == 1


# ---- what must not be missed


def test_seeded_noise_is_said_first_and_wherever_epsilon_stands() -> None:
    seeded, real = report(closed().lines(), KEY.public), report(opened(noise=SystemNoise()).lines(), KEY.public)
    assert seeded.notes[0].title == "Seeded noise protects nobody." and seeded.notes[0].alarm
    assert not any("Seeded" in note.title for note in real.notes)
    text = page(seeded)
    labels = re.findall(r"<dt>([^<]*epsilon[^<]*)</dt><dd>(.*?)</dd>", text)
    tables = re.findall(r"<caption>([^<]*)</caption>\n<thead>(.*?)</thead>", text)
    captions = [(caption, "") for caption, columns in tables if "epsilon" in columns]
    tiles = [(label, "") for label, said in labels if "<b>not measured</b>" in said]
    assert len(labels) > 8 and len(captions) == 3 and len(tiles) == 1
    for label, said in (*labels, *captions):
        assert "protects nobody" in label + said or (label, "") in tiles
    assert "protects nobody" not in page(real)


def test_a_key_that_nobody_vouched_for_is_said() -> None:
    lines = closed().lines()
    own = report(lines, None)
    assert own.verification.ok and not own.verification.key_vouched_for
    assert own.notes[-1].title == "Nobody vouched for the key."
    assert not any("vouched" in note.title for note in report(lines, KEY.public).notes)


def test_a_ledger_that_does_not_verify_says_so_first_and_claims_nothing() -> None:
    lines = closed().lines()
    lines[3] = lines[3].replace('"completed":20', '"completed":19')
    found = report(lines, KEY.public)
    assert found.notes[0].title == "This ledger does NOT verify." and "entry 3: hash" in found.notes[0].body
    assert set(found.as_json()) == SECTIONS and "can be relied on" in found.reading[1]
    assert not any("at most" in sentence for sentence in found.reading[1:])
    assert "right guesses, at most" not in page(found).split("<nav")[0]


@pytest.mark.parametrize("lines", [[], ["nonsense"], ["{}"], ["[1]\n"], [closed().lines()[2]], closed().lines()[1:]])
@pytest.mark.parametrize("key", [None, KEY.public])
def test_whatever_the_file_holds_there_is_a_report(lines: list[str], key: str | None) -> None:
    found = report(lines, key)
    assert not found.verification.ok and found.guarantees is None
    text = page(found)
    assert "does NOT verify" in text and "nobody can say what it promises" in text


# ---- rounding


@given(st.floats(1e-12, 1.0))
def test_a_percentage_is_never_below_the_share(share: float) -> None:
    shown = float(percent_up(share).removesuffix(" %"))
    assert share * 100 * (1 - 1e-12) <= shown <= min(100.0, share * 100 * 1.02)


@given(st.floats(1e-12, 1e6))
def test_a_number_that_was_given_is_never_shown_smaller(value: float) -> None:
    assert value <= float(as_given(value)) <= value * 1.002


@given(mu=st.floats(1e-3, 12.0), alarms=st.floats(1e-6, 0.5))
def test_no_test_of_a_gaussian_finds_more_than_is_said(mu: float, alarms: float) -> None:
    points = touching(mu, [alarms], lambda delta: epsilon_of(mu, delta))
    exact = float(ndtr(ndtri(alarms) + mu))
    assert exact * (1 - 1e-9) <= detected(alarms, points) <= exact * (1 + 1e-5) + 1e-9
    assert float(ndtr(mu / 2)) * (1 - 1e-9) <= guessed(points) <= float(ndtr(mu / 2)) * (1 + 1e-6)


@given(epsilon=st.floats(0, 20), delta=st.floats(0, 0.5), alarms=st.floats(1e-6, 1.0))
def test_a_single_point_bounds_as_randomised_response_attains(epsilon: float, delta: float, alarms: float) -> None:
    """The mechanism that shows the truth with probability delta and else tells it with odds e^epsilon."""
    points = [Point(epsilon, delta)]
    right = delta + (1 - delta) / (1 + math.exp(-epsilon))
    wrong = (1 - delta) / (1 + math.exp(epsilon))
    assert detected(wrong, points) >= right * (1 - 1e-9)
    assert guessed(points) >= (right + 1 - wrong) / 2 * (1 - 1e-9)
    assert min(alarms, 1.0) <= detected(alarms, points) * (1 + 1e-12) and detected(alarms, points) <= 1


# ---- the command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    books = opened()
    books.close()
    (tmp_path / "ledger.jsonl").write_text("".join(line + "\n" for line in books.lines()))
    (tmp_path / "ledger.pub").write_text(KEY.public + "\n")
    (tmp_path / "receipts.jsonl").write_text("".join(line + "\n" for line in books.receipt_lines()))
    return tmp_path


def arguments(folder: Path, *more: str) -> list[str]:
    written = ["--out", str(folder / "audit.html"), "--key", str(folder / "ledger.pub")]
    return ["audit", "report", str(folder / "ledger.jsonl"), *written, *more]


def test_the_command_writes_page_and_json_and_prints_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(folder, "--receipts", "--json")) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((folder / "audit.json").read_text())
    assert printed["verification"]["ok"] and set(printed) == SECTIONS
    assert (folder / "audit.html").read_text().startswith("<!doctype html>")
    assert main(arguments(folder)) == 0
    assert "a coin is right half of it" in capsys.readouterr().out


def test_a_broken_ledger_gives_a_page_and_exit_code_1(folder: Path) -> None:
    text = (folder / "ledger.jsonl").read_text()
    (folder / "ledger.jsonl").write_text(text.replace('"epsilon":8.0', '"epsilon":9.0', 1))
    assert main(arguments(folder)) == 1
    shown = (folder / "audit.html").read_text()
    assert shown.index("does NOT verify") < shown.index("<p>This ledger")


def test_bad_input_is_one_sentence_and_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger, key = str(folder / "ledger.jsonl"), str(folder / "ledger.pub")
    cases = (
        (["audit", "report", str(folder / "none"), "--out", str(folder / "a.html")], "cannot read"),
        (["audit", "report", ledger, "--out", str(folder / "a.json")], "end it in .html"),
        (["audit", "report", ledger, "--out", str(folder)], "is a folder"),
        (["audit", "report", ledger, "--out", str(folder / "no" / "a.html")], "there is no folder"),
        (["audit", "report", ledger, "--out", str(folder / "a.html"), "--key", ledger], "does not hold a public key"),
        (["audit", "report", ledger, "--out", str(folder / "a.html"), "--witness", "x"], "--witness is not a head"),
        (["audit", "report", ledger, "--out", str(folder / "a.html"), "--result", str(folder)], "cannot read"),
        (
            ["audit", "report", "-", "--out", str(folder / "a.html"), "--key", key, "--receipts"],
            "name the ledger's file",
        ),
    )
    before = sorted(folder.iterdir())
    for words, said in cases:
        assert main(words) == 2
        assert said in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


def result(folder: Path, head: str, delta: float = 2.3e-4, right: float = 1.0) -> None:
    """The files of a simulated run with canaries, of which an attacker tells ``right`` apart."""
    privacy = {"delta": delta, "ledger_head": head, "epsilon": 1.0}
    config = {"privacy": {"sampling": "fixed", "roster": "open"}}
    (folder / "result.json").write_text(
        json.dumps({"privacy": privacy, "config": config, "config_digest": "0" * 64}), encoding="utf-8"
    )
    rows = []
    for number in range(600):
        included = number % 2 == 0
        seen = included if number < 600 * right else not included
        row = {"canary": number, "device": number, "participations": 1, "included": included}
        rows.append(canonical({**row, "score": 3.0 if seen else -3.0}).decode())
    (folder / "canaries.jsonl").write_text("\n".join(rows) + "\n")


def test_what_was_measured_stands_beside_what_is_proven(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = json.loads((folder / "ledger.jsonl").read_text().splitlines()[-1])["hash"]
    result(folder, head, right=0.7)
    assert main(arguments(folder, "--result", str(folder), "--json")) == 0
    told = json.loads(capsys.readouterr().out)["empirical"]
    assert told["measured"] and 0 < told["lower_bound"] < told["upper_bound"] and not told["refuted"]
    assert (told["confidence"], told["canaries"], told["included"]) == (0.95, 600, 300)


def test_a_refuted_claim_is_said_in_red_and_fails(tmp_path: Path) -> None:
    quiet = Books(policy(participations=1), EVENT.model_copy(update={"noise_multiplier": 50.0}))
    quiet.round(1, range(600))
    quiet.close()
    (tmp_path / "ledger.jsonl").write_text("".join(line + "\n" for line in quiet.lines()))
    (tmp_path / "ledger.pub").write_text(KEY.public)
    result(tmp_path, json.loads(quiet.lines()[-1])["hash"])
    assert main(arguments(tmp_path, "--result", str(tmp_path))) == 1
    assert "The claim is refuted." in (tmp_path / "audit.html").read_text()


@pytest.mark.parametrize(("head", "delta"), [("1" * 64, 2.3e-4), (None, 1e-3)])
def test_the_result_of_another_run_is_refused(
    folder: Path, head: str | None, delta: float, capsys: pytest.CaptureFixture[str]
) -> None:
    own = json.loads((folder / "ledger.jsonl").read_text().splitlines()[-1])["hash"]
    result(folder, head or own, delta)
    assert main(arguments(folder, "--result", str(folder))) == 2
    assert "than this ledger" in capsys.readouterr().err
    assert not (folder / "audit.html").exists()
