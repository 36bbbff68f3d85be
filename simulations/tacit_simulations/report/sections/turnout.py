"""Who took part and who was lost: over the rounds, by tier, over the virtual day."""

from collections import Counter
from collections.abc import Iterable, Sequence

from tacit_simulations.report.bars import Columns, Layer, draw_columns
from tacit_simulations.report.document import Exhibit, Section, Table, both, table_of
from tacit_simulations.report.figures import NOTHING, count, percent, trimmed, worded
from tacit_simulations.report.lines import LineChart, Series, draw_lines
from tacit_simulations.report.reading import Round, Run, Turnout
from tacit_simulations.report.reasons import UNSTATED, explanations, reason_name
from tacit_simulations.report.rows import StackedRows, draw_stacked_rows
from tacit_simulations.report.scales import buckets

MOST_COLUMNS = 60
MOST_REASONS = 5  # the rest is one grey layer: more colours than that nobody can tell apart
DOTS_FOR_ROUNDS = 60
DAY, HOUR = 86400.0, 3600.0


def total(turnouts: Iterable[Turnout]) -> Turnout:
    """The sum; what was lost without a stated reason is kept under ``not stated``."""
    sampled = completed = 0
    dropped: Counter[str] = Counter()
    for turnout in turnouts:
        sampled += turnout.sampled
        completed += turnout.completed
        dropped.update(turnout.dropped)
        if turnout.unexplained:
            dropped[UNSTATED] += turnout.unexplained
    return Turnout(sampled, completed, dict(sorted(dropped.items(), key=lambda item: (-item[1], item[0]))))


def by_tier(rounds: Sequence[Round]) -> dict[str, Turnout]:
    """Each tier over all rounds, tiers in the order in which they first appear."""
    tiers = dict.fromkeys(tier for r in rounds for tier in r.tiers)
    return {tier: total(r.tiers[tier] for r in rounds if tier in r.tiers) for tier in tiers}


def turnout(run: Run) -> Section | None:
    """Columns over the rounds, a table of losses by tier, the day, reasons in words."""
    whole = total(r.turnout for r in run.rounds)
    if not whole.sampled:
        return None
    exhibits = [_over_rounds(run.rounds, whole)]
    tiers = by_tier(run.rounds)
    if tiers:
        exhibits.append(_tiers(tiers, whole))
    exhibits += _day(run)
    said = explanations(whole.dropped)
    if said:
        table = Table("What the reasons mean", ("reason", "meaning"), tuple(said), frozenset({1}))
        exhibits.append(Exhibit("The reasons in words", "", (), table))
    return Section("turnout", "Who took part, who was lost", _lead(whole), tuple(exhibits))


def _lead(whole: Turnout) -> str:
    said = (
        f"{count(whole.sampled)} invitations went out and {count(whole.completed)} came back as an update that counted "
        f"({percent(whole.completed / whole.sampled)})."
    )
    if not whole.dropped:
        return said + " Nobody was lost."
    reasons = [f"{reason_name(name)} ({count(n)})" for name, n in list(whole.dropped.items())[:3]]
    return f"{said} Most losses: {', '.join(reasons)}."


def _grouped(whole: Turnout) -> list[tuple[str, str, list[str]]]:
    """The reasons as ``(name, tone, reasons)``: the most frequent ones alone, the rest together."""
    ordered = list(whole.dropped)
    groups = [(reason_name(r), f"lost-{index}", [r]) for index, r in enumerate(ordered[:MOST_REASONS], start=1)]
    return [*groups, ("other", "lost-6", ordered[MOST_REASONS:])] if len(ordered) > MOST_REASONS else groups


def _over_rounds(rounds: Sequence[Round], whole: Turnout) -> Exhibit:
    groups = buckets(rounds, MOST_COLUMNS)
    sums = [total(r.turnout for r in group) for group in groups]
    labels = tuple(span_of(group) for group in groups)
    layers = [Layer("completed", "completed", tuple(s.completed / len(g) for s, g in zip(sums, groups, strict=True)))]
    for name, tone, reasons in _grouped(whole):
        lost = [sum(s.dropped.get(r, 0) for r in reasons) for s in sums]
        layers.append(Layer(name, tone, tuple(n / len(g) for n, g in zip(lost, groups, strict=True))))
    each = "" if len(groups) == len(rounds) else f", mean of {len(groups[0])} rounds"
    described = (
        f"Stacked columns of invited devices over the rounds: {count(whole.completed)} completed in all, "
        + ("lost " + ", ".join(f"{count(n)} {reason_name(name)}" for name, n in whole.dropped.items()) + "."
           if whole.dropped else "none lost.")
    )  # fmt: skip
    chart = Columns(described, f"devices invited{each}", "round", labels, tuple(layers), trimmed)
    stated = list(whole.dropped)
    rows = [_turnout_row(str(r.number), total([r.turnout]), stated) for r in rounds]
    columns = ("round", "invited", "completed", "share", *map(reason_name, stated))
    table = table_of("Devices invited, completed and lost in each round", columns, rows)
    takeaway = "Each column is everyone invited: who finished at the bottom, above it why the others did not."
    return Exhibit("Round by round", takeaway, both(draw_columns, chart), table)


def span_of(group: Sequence[Round]) -> str:
    """The rounds that one column stands for: ``7`` or ``7 to 12``."""
    first, last = group[0].number, group[-1].number
    return f"{first}" if first == last else f"{first} to {last}"


def _turnout_row(name: str, turnout: Turnout, reasons: Sequence[str]) -> list[str]:
    share = percent(turnout.completed / turnout.sampled) if turnout.sampled else NOTHING
    lost = [count(turnout.dropped[r]) if turnout.dropped.get(r) else NOTHING for r in reasons]
    return [name, count(turnout.sampled), count(turnout.completed), share, *lost]


def _tiers(tiers: dict[str, Turnout], whole: Turnout) -> Exhibit:
    known = {name: sums for name, sums in tiers.items() if sums.sampled}
    reasons = list(whole.dropped)
    rows = []
    for name, sums in known.items():
        lost = [percent(sums.dropped[r] / sums.sampled) if sums.dropped.get(r) else NOTHING for r in reasons]
        rows.append([worded(name), count(sums.sampled), percent(sums.completed / sums.sampled), *lost])
    columns = ("tier", "invited", "completed", *map(reason_name, reasons))
    table = table_of("Share of invited devices by what became of them", columns, rows)
    if not reasons or not known:
        return Exhibit("By device tier", "No tier lost a device.", (), table)
    worst = max(known, key=lambda name: known[name].lost / known[name].sampled)
    takeaway = (
        f"Most were lost in tier {worded(worst)}: {percent(known[worst].lost / known[worst].sampled)} of those invited."
    )
    chart = StackedRows(
        described=f"Stacked bars of the share of invited devices lost, a row a tier, by reason. {takeaway}",
        x_label="share of the invited that were lost",
        parts=tuple((name, tone) for name, tone, _ in _grouped(whole)),
        rows=tuple(
            (
                worded(name),
                tuple(sum(sums.dropped.get(r, 0) for r in group) / sums.sampled for _, _, group in _grouped(whole)),
            )
            for name, sums in known.items()
        ),
        x_format=percent,
    )
    return Exhibit("By device tier", takeaway, both(draw_stacked_rows, chart), table)


def _day(run: Run) -> list[Exhibit]:
    hours = run.fleet.availability_by_hour if run.fleet else ()
    placed = [(r.virtual_start, r.turnout) for r in run.rounds if r.virtual_start is not None and r.turnout.sampled]
    if not hours and not placed:
        return []
    by_hour: dict[int, list[Turnout]] = {}
    for start, asked in placed:
        by_hour.setdefault(int(start % DAY // HOUR), []).append(asked)
    finished = {hour: _finished(total(by_hour[hour])) for hour in sorted(by_hour)}
    each, dots = "Each dot is a round", sorted((start % DAY / HOUR, _finished(asked)) for start, asked in placed)
    if len(placed) > DOTS_FOR_ROUNDS:
        each, dots = "Each dot is all rounds begun in an hour", [(h + 0.5, share) for h, share in finished.items()]
    rows = [
        [
            f"{hour:02d}:00",
            percent(hours[hour]) if hours else NOTHING,
            count(len(by_hour.get(hour, ()))),
            percent(finished.get(hour)),
        ]
        for hour in range(24)
    ]
    table = table_of("The virtual day", ("hour (UTC)", "reachable", "rounds begun", "finished"), rows)
    takeaway = (
        f"The area is the share of the fleet that can be reached. {each}: the share of those invited that finished."
    )
    return [Exhibit("Over the virtual day", takeaway, both(draw_lines, _day_chart(hours, dots)), table)]


def _finished(turnout: Turnout) -> float:
    return turnout.completed / turnout.sampled


def _day_chart(hours: Sequence[float], dots: Sequence[tuple[float, float]]) -> LineChart:
    """Reachable devices as steps over the hours, ``(hour, share finished)`` as dots."""
    series = []
    if hours:
        steps = tuple((float(hour), share) for hour, share in enumerate((*hours, hours[-1])))
        series.append(Series("reachable", "completed", steps, step="after", area=True))
    if dots:
        series.append(Series("finished", "federated-private", tuple(dots), joined=False))
    return LineChart(
        described=_day_in_words(hours, dots),
        y_label="share of devices",
        x_label="hour of the virtual day (UTC)",
        series=tuple(series),
        y_format=percent,
        x_format=lambda hour: f"{int(hour):02d}:00",
        x_ticks=(0.0, 6.0, 12.0, 18.0, 24.0),
        y_from_zero=True,
        y_most=1.0,
    )


def _day_in_words(hours: Sequence[float], dots: Sequence[tuple[float, float]]) -> str:
    said = "Chart over the 24 hours of the virtual day."
    if hours:
        low, high = min(hours), max(hours)
        said += (
            f" Reachable devices range from {percent(low)} at {hours.index(low):02d}:00 to {percent(high)} at "
            f"{hours.index(high):02d}:00."
        )
    if dots:
        shares = [share for _, share in dots]
        said += f" Between {percent(min(shares))} and {percent(max(shares))} of invited devices finished."
    return said
