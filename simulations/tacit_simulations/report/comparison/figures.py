"""How well by query type, how fast on which device, and every figure in tables."""

from collections.abc import Callable, Sequence
from typing import Any

from tacit_simulations.report.comparison.reading import Comparison, Row, Run, short
from tacit_simulations.report.document import Exhibit, Section, Table, filled, table_of
from tacit_simulations.report.figures import NOTHING, duration, energy, percent, size, trimmed
from tacit_simulations.report.ranges import NARROW, WIDE, Kind, Ranges, Value, draw_ranges

Cells = Sequence[tuple[str, Callable[[Row], str]]]
_DEVICE_LOOKS = (("centralised", "diamond"), ("federated", "circle"), ("local-only", "triangle"), ("lost-2", "square"))


def optional(show: Callable[[float], str]) -> Callable[[float | None], str]:
    """``show``, or a dash where there is no figure."""
    return lambda value: NOTHING if value is None else show(value)


SHARE, PLAIN, THREE = optional(percent), optional(trimmed), optional("{:.3f}".format)


def milliseconds(value: float | None) -> str:
    return NOTHING if value is None else duration(value / 1e3)


# --- by query type


def families(comparison: Comparison) -> Section | None:
    """Quality and escalation of each mode's best run by query type; left out where the data names none."""
    names = list(comparison.runs[0]["families"])
    if len(names) < 2:
        return None
    exhibits = [
        _by_family(comparison, names, "quality", "Answered right, by query type"),
        _by_family(comparison, names, "escalation_rate", "Large model asked, by query type"),
    ]
    lead = "The best run of each mode. A mode earns its keep where it asks for help only with what needs it."
    return Section("families", "Which questions", lead, tuple(exhibits))


def _by_family(comparison: Comparison, names: Sequence[str], field: str, title: str) -> Exhibit:
    best = comparison.best
    kinds = tuple(Kind(short(run.name), *comparison.look(run.name)) for run in best)
    groups = tuple(
        (name, tuple(Value(index, float(run["families"][name][field])) for index, run in enumerate(best)))
        for name in names
    )
    chart = Ranges(
        f"{title}: one mark a mode for each of {', '.join(names)}.", title.lower(), kinds, groups, x_most=1.0
    )
    counts = comparison.runs[0]["families"]
    rows = [
        (name, str(int(counts[name]["questions"])), *(percent(run["families"][name][field]) for run in best))
        for name in names
    ]
    columns = ("query type", "questions", *(run.label for run in best))
    return Exhibit(title, "", (draw_ranges(chart, WIDE), draw_ranges(chart, NARROW)), table_of(title, columns, rows))


# --- latency and energy


def latency(comparison: Comparison) -> Section:
    """Half of the answers within, 95 % within: here and on each emulated device; then what they would draw."""
    best = comparison.best
    places = [f"{row['device_profile']}, {row['link']}" for row in best[0].devices]
    looks = [_DEVICE_LOOKS[index % len(_DEVICE_LOOKS)] for index in range(len(places) + 1)]
    kinds = tuple(Kind(name, *look) for name, look in zip(("measured here", *places), looks, strict=True))
    groups = tuple((short(run.name), _waits(run)) for run in best)
    title = "Whole answers, from half of them to 95 %"
    chart = Ranges(
        f"{title}, of the best run of each mode on {', '.join(kind.name for kind in kinds)}.",
        "until the answer is whole",
        kinds,
        groups,
        x_format=lambda seconds: "0" if seconds == 0 else duration(seconds),
    )
    lead = (
        "The best run of each mode. Devices are emulated: the same work at the speed of the catalogue's profile, over "
        "its link, one step after another; the large model takes as long as stated or measured."
    )
    exhibits = [
        Exhibit(title, "", (draw_ranges(chart, WIDE), draw_ranges(chart, NARROW)), _waiting(comparison.runs)),
        *_tables("Measured on this machine", comparison, _HERE),
    ]
    if places:
        exhibits.append(_devices(comparison.runs))
    return Section("latency", "How long it takes, and what it draws", lead, tuple(exhibits))


def _waits(run: Run) -> tuple[Value, ...]:
    """Here and on each device; nothing where no question was answered."""
    if run["latency_ms_p50"] is None:
        return ()
    here = Value(0, run["latency_ms_p50"] / 1e3, run["latency_ms_p95"] / 1e3)
    return here, *(
        Value(index, row["device_latency_ms_p50"] / 1e3, row["device_latency_ms_p95"] / 1e3)
        for index, row in enumerate(run.devices, 1)
    )


def _waiting(runs: Sequence[Run]) -> Table:
    rows: list[tuple[str, ...]] = []
    for run in runs:
        rows.append((run.label, "here", milliseconds(run["latency_ms_p50"]), milliseconds(run["latency_ms_p95"])))
        for row in run.devices:
            shown = (milliseconds(row[name]) for name in ("device_latency_ms_p50", "device_latency_ms_p95"))
            rows.append((run.label, f"{row['device_profile']}, {row['link']}", *shown))
    return table_of("Whole answers", ("run", "where", "half within", "95 % within"), rows, wordy=(1,))


_HERE: Cells = (
    ("first text p50", lambda r: milliseconds(r["ttft_ms_p50"])),
    ("p95", lambda r: milliseconds(r["ttft_ms_p95"])),
    ("p99", lambda r: milliseconds(r["ttft_ms_p99"])),
    ("whole p50", lambda r: milliseconds(r["latency_ms_p50"])),
    ("p95", lambda r: milliseconds(r["latency_ms_p95"])),
    ("p99", lambda r: milliseconds(r["latency_ms_p99"])),
    ("gate", lambda r: milliseconds(r["gate_ms"])),
    ("small model", lambda r: milliseconds(r["local_ms"])),
    ("large model", lambda r: milliseconds(r["llm_ms"])),
)


def _devices(runs: Sequence[Run]) -> Exhibit:
    cells: Cells = (
        ("first text p50", lambda r: milliseconds(r["device_ttft_ms_p50"])),
        ("small model", lambda r: milliseconds(r["device_compute_ms"])),
        ("network", lambda r: milliseconds(r["device_network_ms"])),
        ("large model", lambda r: milliseconds(r["device_llm_ms"])),
        ("energy: computing", lambda r: optional(energy)(r["device_energy_j"])),
        ("energy: radio", lambda r: optional(energy)(r["network_energy_j"])),
        ("right per joule", lambda r: PLAIN(r["correct_per_joule"])),
    )
    rows = [
        (run.label, f"{row['device_profile']}, {row['link']}", *(show(row) for _, show in cells))
        for run in runs
        for row in run.devices
    ]
    columns = ("run", "device", *(name for name, _ in cells))
    said = "Means of a question. Energy is what the question adds to an idle device; the large model's own is unknown."
    return Exhibit("On emulated devices", said, (), table_of("On emulated devices", columns, rows), simulator_only=True)


# --- tables


def privacy(comparison: Comparison) -> Section:
    lead = (
        "A unit leaks where its text stands verbatim in any outbound byte. Exposure asks how much of everything that "
        "the person wrote crossed, secret or not."
    )
    cells: Cells = (
        ("units leaked", lambda r: SHARE(r["strict_leakage"])),
        ("questions with a leak", lambda r: SHARE(r["any_leak"])),
        ("words that crossed", lambda r: SHARE(r["exposed_words"])),
        ("text that crossed", lambda r: SHARE(r["exposed_bytes_share"])),
        ("bytes of it a question", lambda r: PLAIN(r["exposed_bytes"])),
        ("bytes up a question", lambda r: size(r["bytes_up"])),
        ("masked", lambda r: PLAIN(r["masked"])),
        ("restored", lambda r: PLAIN(r["restored"])),
        ("not restored", lambda r: PLAIN(r["unknown"] + r["malformed"])),
    )
    units = comparison.runs[0]["units"]
    title = f"What crossed, {trimmed(units)} units counted"
    return Section("privacy", "What left", lead, _tables(title, comparison, cells))


def cost(comparison: Comparison) -> Section:
    settings = comparison.told.get("settings") or {}
    prices = [settings.get("price_in") or 0.0, settings.get("price_out") or 0.0]
    lead = "Means of a question. Tokens of the large model are what its endpoint counted."
    if any(prices):
        lead += f" Prices: {trimmed(prices[0])} a million tokens read, {trimmed(prices[1])} a million written."
    priced: Cells = (
        ("cost", lambda r: PLAIN(r["cost"])),
        ("cost of one right", lambda r: PLAIN(r["cost_per_correct"])),
    )
    cells: Cells = (
        ("large: read", lambda r: PLAIN(r["tokens_up"])),
        ("written", lambda r: PLAIN(r["tokens_down"])),
        ("of always-LLM raw", lambda r: SHARE(r["llm_tokens_share"])),
        ("calls", lambda r: PLAIN(r["calls"])),
        ("bytes up", lambda r: size(r["bytes_up"])),
        ("bytes down", lambda r: size(r["bytes_down"])),
        ("small: read", lambda r: PLAIN(r["local_tokens_in"])),
        ("written", lambda r: PLAIN(r["local_tokens_out"])),
        ("GFLOP", lambda r: PLAIN(r["local_gflops"])),
        ("memory", lambda r: size(1e6 * r["peak_rss_mb"])),
        *(priced if any(prices) else ()),
    )
    return Section("cost", "What it cost", lead, _tables("Tokens, bytes and memory", comparison, cells))


def routing(comparison: Comparison) -> Section:
    lead = (
        "Over-escalation asks though the small model is right, under-escalation keeps what only the large one gets "
        "right, waste asks though neither does. PGR is the share of the gap between both models that a run closes."
    )
    cells: Cells = (
        ("asked", lambda r: SHARE(r["escalation_rate"])),
        ("over", lambda r: SHARE(r["over_escalation"])),
        ("under", lambda r: SHARE(r["under_escalation"])),
        ("waste", lambda r: SHARE(r["both_wrong_waste"])),
        ("PGR", lambda r: THREE(r["pgr"])),
        ("APGR", lambda r: THREE(r["apgr"])),
        ("CPT 20", lambda r: SHARE(r["cpt20"])),
        ("CPT 50", lambda r: SHARE(r["cpt50"])),
        ("CPT 80", lambda r: SHARE(r["cpt80"])),
        ("calibration error", lambda r: THREE(r["confidence_ece"])),
    )
    gone: Cells = (
        ("failed", lambda r: SHARE(r["failed"])),
        ("asked again", lambda r: PLAIN(r["outage_questions"])),
        ("answered without the large model", lambda r: SHARE(r["outage_answered"])),
        ("right without it", lambda r: SHARE(r["outage_quality"])),
    )
    exhibits = *_tables("Routing", comparison, cells), _table("When the large model is gone", comparison.best, gone)
    return Section("routing", "When it asked", lead, exhibits)


def setup(comparison: Comparison) -> Section:
    rows = [
        (f"{part}.{name}" if part else name, _said(value))
        for part in ("", "models", "settings", "machine")
        for name, value in (comparison.told if not part else comparison.told.get(part) or {}).items()
        if not isinstance(value, dict | list) or (part and isinstance(value, list))
    ]
    return Section(
        "setup", "How it was measured", "", (Exhibit("Settings", "", (), table_of("Settings", ("", ""), rows)),)
    )


def _said(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or NOTHING
    return NOTHING if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _tables(title: str, comparison: Comparison, cells: Cells) -> tuple[Exhibit, ...]:
    """The best run of each mode, then every run where there are more."""
    best = _table(f"{title}: the best run of each mode", comparison.best, cells)
    if len(comparison.runs) == len(comparison.best):
        return (best,)
    return best, _table(f"{title}: every run", comparison.runs, cells)


def _table(title: str, runs: Sequence[Run], cells: Cells) -> Exhibit:
    rows = [(run.label, *(show(run.here) for _, show in cells)) for run in runs]
    return Exhibit(title, "", (), filled(table_of(title, ("run", *(name for name, _ in cells)), rows)))
