"""The report in a real browser: it opens offline, runs nothing, fits a phone, and says what it must."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import Opened, overrun
from tiny import TINY

from tacit_privacy.randomness import stream
from tacit_simulations.progress import Silent
from tacit_simulations.report import report
from tacit_simulations.run import simulate
from tacit_simulations.scenario import load_scenario

OVERRUN = overrun("figure", "text:not(.said)")
PHONE, DESKTOP = {"width": 360, "height": 780}, {"width": 1280, "height": 900}
CHAPTERS = ("learning", "privacy", "turnout", "cost", "fairness", "setup", "glossary")
TIERS = {"flagship_phone": 620, "budget_phone": 780, "laptop": 360, "single_board": 180, "gateway": 60}
REASONS = ("offline", "battery", "deadline", "network")


def made_up_result(rounds: int = 10, *, evaluated: bool = True) -> dict[str, Any]:
    """A result.json of the shape that a simulation writes. Every number is made up and round on purpose."""
    rng = stream(0, "made-up-report")
    result: dict[str, Any] = {
        "scenario": "made-up-homes",
        "seed": 7,
        "devices": 2000,
        "versions": {"tacit": "0.1.0", "python": "3.11.0", "numpy": "2.0.0"},
        "config": {
            "fleet": {"devices": 2000, "tiers": ["flagship_phone", "laptop"], "outages": True},
            "privacy": {"epsilon": 8.0, "noise_multiplier": 0.53, "adjacency": "zero-out"},
            "training": {"rounds": rounds, "learning_rate": 0.01, "rank": 8},
        },
        "rounds": [_round(number, rounds, rng) for number in range(1, rounds + 1)],
        "privacy": _privacy(),
        "fleet": {
            "devices": 2000,
            "tiers": TIERS,
            "availability_by_hour": [round(0.5 + 0.3 * np.cos((h - 2) * np.pi / 12), 2) for h in range(24)],
        },
        "wall_seconds": 123.4,
        "client_trainings_per_second": 16.2,
    }
    if evaluated:
        result["evaluation"] = _evaluation(rounds)
    else:
        for row in result["rounds"]:
            row.update(loss=None, metric=None, epsilon=None, noise_to_clip=None, clipped_share=None)
        del result["privacy"]
    return result


def _round(number: int, rounds: int, rng: np.random.Generator) -> dict[str, Any]:
    tiers: dict[str, dict[str, Any]] = {}
    for tier, devices in TIERS.items():
        sampled = devices // 10
        lost = rng.multinomial(sampled, [0.05, 0.01 if tier == "laptop" else 0.04, 0.03, 0.01, 0.0])
        dropped = {reason: int(n) for reason, n in zip(REASONS, lost, strict=False) if n}
        dropped = {} if number == 2 else {k: v for k, v in dropped.items() if v < sampled // 3}
        tiers[tier] = {"sampled": sampled, "completed": sampled - sum(dropped.values()), "dropped": dropped}
    lost_by = {r: sum(t["dropped"].get(r, 0) for t in tiers.values()) for r in REASONS}
    completed = sum(t["completed"] for t in tiers.values())
    return {
        "round": number,
        "sampled": sum(t["sampled"] for t in tiers.values()),
        "completed": completed,
        "dropped": {reason: n for reason, n in lost_by.items() if n},
        "virtual_start": 3.5 * 3600 * (number - 1) + 600,
        "virtual_seconds": 900.0 + 60 * (number % 4),
        "loss": 3.0 - 1.5 * number / rounds,
        "metric": 0.1 + 0.5 * number / rounds,
        "epsilon": 8.0 * (number / rounds) ** 0.5 * 0.97,
        "bytes_up": 33_000 * completed,
        "bytes_down": 34_000 * 200,
        "energy_j": 61.0 * completed,
        "money": 0.0004 * completed,
        "noise_to_clip": 0.24 + 0.01 * (number % 3),
        "clipped_share": 0.5 + 0.04 * number,
        "tiers": tiers,
    }


def _privacy() -> dict[str, Any]:
    bound = {"adjacency": "zero-out", "epsilon": 7.76, "accountant": "exact Gaussian"}
    return {
        "unit": "device",
        "adjacency": "zero-out",
        "delta": 2e-4,
        "epsilon": 7.76,
        "epsilon_cap": 8.0,
        "noise_multiplier": 0.53,
        "clip_norm": 1.0,
        "noise_source": "seeded",
        "bounds": [
            {"assumption": "fixed cohort, one participation a device, no amplification", **bound},
            {
                "assumption": "the same",
                "adjacency": "replace",
                "epsilon": 21.5,
                "accountant": "exact Gaussian",
            },
        ],
        "empirical_lower_bound": None,
    }


def _evaluation(rounds: int) -> dict[str, Any]:
    def curve(end: float) -> list[dict[str, float]]:
        shares = [1 - np.exp(-3.0 * k / rounds) for k in range(rounds + 1)]
        return [{"round": k, "loss": 3 - 2 * end * s, "metric": 0.12 + end * s} for k, s in enumerate(shares)]

    return {
        "metric_name": "action_accuracy",
        "simulator_only": True,
        "untrained": {"loss": 3.0, "metric": 0.12},
        "centralised": {"loss": 1.1, "metric": 0.83},
        "local_only": {"loss": 2.2, "metric": 0.35},
        "federated": {"loss": 1.4, "metric": 0.786, "curve": curve(0.7)},
        "federated_private": {"loss": 1.8, "metric": 0.636, "curve": curve(0.542)},
        "personalised": {"loss": 1.5, "metric": 0.73},
        "per_tier": {
            tier: {"devices": n // 10, "federated_private": 0.6 + n / 10_000, "personalised": 0.7 + n / 9000}
            for tier, n in TIERS.items()
        },
    }


@pytest.fixture
def written(tmp_path: Path) -> Path:
    file = tmp_path / "report.html"
    file.write_text(report(made_up_result()), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def of_a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a real run, small."""
    out = tmp_path_factory.mktemp("run") / "run"
    scored = ["evaluation.devices=4", "evaluation.curve_examples=8", "evaluation.personal.epochs=1", "fleet.mix=mixed"]
    arms = "evaluation.compare=['untrained', 'centralised', 'local_only', 'federated', 'personalised']"
    simulate(load_scenario("home-quick", [*TINY, *scored, arms]), out, resume=False, watch=Silent())
    return out / "report.html"


def test_the_report_of_a_real_run_opens_offline_and_fits(browser: Any, of_a_run: Path) -> None:
    for viewport in (DESKTOP, PHONE):
        opened = Opened(browser, of_a_run.as_uri(), viewport=viewport, offline=True)
        assert (opened.elsewhere(), opened.complaints) == ([], [])
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        charts = [chart for chart in opened.page.locator("figure svg.chart").all() if chart.is_visible()]
        assert len(charts) >= 8
        assert [chart.evaluate(OVERRUN) for chart in charts] == [[]] * len(charts)
        said = opened.page.locator("main").inner_text()
        for words in ("Seeded noise protects nobody", "personalised", "exact", "zero-out"):
            assert words in said
        opened.context.close()


def test_it_opens_offline_without_a_complaint(browser: Any, written: Path) -> None:
    assert 100_000 < written.stat().st_size < 200_000  # of ten rounds
    opened = Opened(browser, written.as_uri(), viewport=DESKTOP, offline=True)
    assert opened.elsewhere() == []
    assert opened.complaints == []
    assert opened.page.locator("script").count() == 0
    opened.context.close()


def test_every_chapter_is_there_and_reached_from_the_contents(browser: Any, written: Path) -> None:
    opened = Opened(browser, written.as_uri(), viewport=DESKTOP)
    assert [s.get_attribute("id") for s in opened.page.locator("main > section[id]").all()] == list(CHAPTERS)
    links = [link.get_attribute("href") for link in opened.page.locator("nav a").all()]
    assert links == [f"#{chapter}" for chapter in CHAPTERS]
    opened.context.close()


def test_every_visible_chart_has_a_description_and_stays_inside_its_card(browser: Any, written: Path) -> None:
    for viewport in (DESKTOP, PHONE):
        opened = Opened(browser, written.as_uri(), viewport=viewport)
        charts = [chart for chart in opened.page.locator("figure svg.chart").all() if chart.is_visible()]
        assert len(charts) >= 10
        for chart in charts:
            assert chart.get_attribute("role") == "img"
            assert len(chart.get_attribute("aria-label") or "") > 20
            assert chart.evaluate(OVERRUN) == []
        opened.context.close()


def test_a_phone_needs_no_sideways_scrolling(browser: Any, written: Path) -> None:
    opened = Opened(browser, written.as_uri(), viewport=PHONE, is_mobile=True, device_scale_factor=2)
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    smallest = page.evaluate(SMALLEST_TEXT)
    assert smallest >= 10
    opened.context.close()


SMALLEST_TEXT = """() => {
    const shown = [...document.querySelectorAll('svg.chart')].filter(svg => svg.getClientRects().length);
    return Math.min(...shown.map(svg => {
        const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
        return parseFloat(svg.getAttribute('font-size')) * scale;
    }));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_follows_the_reader_and_the_switch(browser: Any, written: Path, scheme: str) -> None:
    opened = Opened(browser, written.as_uri(), viewport=DESKTOP, color_scheme=scheme)
    own = _brightness(opened.page)
    assert (own > 128) == (scheme == "light")
    other = "dark" if scheme == "light" else "light"
    opened.page.locator(f"label:has(#theme-{other})").click()
    assert (_brightness(opened.page) > 128) != (own > 128)
    opened.context.close()


def _brightness(page: Any) -> float:
    shown = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return float(np.mean([float(part) for part in shown.strip("rgb()").split(",")]))


def test_a_pointer_over_a_round_reads_its_values(browser: Any, written: Path) -> None:
    opened = Opened(browser, written.as_uri(), viewport=DESKTOP)
    chart = opened.page.locator("#learning svg.wide").first
    chart.scroll_into_view_if_needed()
    assert [said for said in chart.locator(".said").all() if said.is_visible()] == []
    chart.locator(".hit").nth(4).hover()
    (said,) = [said for said in chart.locator(".said").all() if said.is_visible()]
    assert "round 4" in said.text_content()
    opened.context.close()


def test_on_paper_the_numbers_are_open(browser: Any, written: Path) -> None:
    opened = Opened(browser, written.as_uri(), viewport=DESKTOP, color_scheme="dark")
    opened.page.locator("label:has(#theme-dark)").click()
    opened.page.emulate_media(media="print")
    assert _brightness(opened.page) > 250
    assert all(table.is_visible() for table in opened.page.locator("details table").all())
    opened.context.close()


@pytest.mark.parametrize(("name", "viewport"), [("desktop", DESKTOP), ("phone", PHONE)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("evaluated", [True, False])
def test_every_dress_fits_its_window(
    browser: Any, tmp_path: Path, name: str, viewport: dict[str, int], scheme: str, evaluated: bool
) -> None:
    """TACIT_SCREENSHOTS names a folder for the pictures, so that a person can look at them."""
    file = tmp_path / "report.html"
    file.write_text(report(made_up_result(10 if evaluated else 500, evaluated=evaluated)), encoding="utf-8")
    opened = Opened(browser, file.as_uri(), viewport=viewport, color_scheme=scheme)
    assert opened.complaints == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert (_brightness(opened.page) > 128) == (scheme == "light")
    if pictures := os.environ.get("TACIT_SCREENSHOTS"):
        kind = "trained" if evaluated else "timing"
        opened.page.screenshot(path=Path(pictures) / f"{kind}-{name}-{scheme}.png", full_page=True)
    opened.context.close()
