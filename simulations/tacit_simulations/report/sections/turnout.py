"""Who took part and who was lost: over the rounds, by tier, over the virtual day."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tacit_simulations.report.bars import Columns, Layer, draw_columns
from tacit_simulations.report.document import Exhibit, Section, Table, both, filled, table_of
from tacit_simulations.report.figures import NOTHING, count, percent, tier_name, trimmed
from tacit_simulations.report.lines import LineChart, Series, draw_lines
from tacit_simulations.report.reading import Round, Run, Turnout
from tacit_simulations.report.reasons import UNSTATED, explanations, reason_name
from tacit_simulations.report.rows import StackedRows, draw_stacked_rows
from tacit_simulations.report.scales import buckets

MOST_COLUMNS = 60
MOST_REASONS = 5  # the rest is one grey layer: more colours than that nobody can tell apart
DOTS_FOR_ROUNDS = 60
DAY, HOUR = 86400.0, 3600.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What to call the devices that a round counts: ``7 invited``, ``all invited devices``."""

    word: str
    devices: str
    became: str  # of their invitations


def asked(run: Run) -> Asked:
    """Rounds that close count whom they invited, buffered rounds who settled in them: answered, or ran out of time."""
    if run.buffered:
        return Asked("settled", "devices that settled", "were answered or ran out of time")
    return Asked("invited", "invited devices", "went out")


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
    """Each tier over all rounds, tiers in the order in which they first appear.

    Nothing where the tiers of a round do not add up to the round: then they count other devices than the round does.
    """
    if not all(_adds_up(r) for r in rounds if r.tiers):
        return {}
    tiers = dict.fromkeys(tier for r in rounds for tier in r.tiers)
    return {tier: total(r.tiers[tier] for r in rounds if tier in r.tiers) for tier in tiers}


def _adds_up(r: Round) -> bool:
    """Tiers may lack devices that were drawn and never asked (Poisson cohorts), but no update that counted."""
    tiers = total(r.tiers.values())
    return tiers.completed == r.turnout.completed and tiers.sampled <= r.turnout.sampled


def turnout(run: Run) -> Section | None:
    """Columns over the rounds, a table of losses by tier, the day, reasons in words."""
    whole = total(r.turnout for r in run.rounds)
    if not whole.sampled:
        return None
    words, tiers = asked(run), by_tier(run.rounds)
    exhibits = [_over_rounds(run.rounds, whole, words)]
    if tiers:
        exhibits.append(_tiers(tiers, whole, words))
    exhibits += [*_staleness(run), *_day(run, words)]
    said = explanations(dict.fromkeys([*whole.dropped, *total(tiers.values()).dropped]))
    if said:
        table = Table("What the reasons mean", ("reason", "meaning"), tuple(said), frozenset({1}))
        exhibits.append(Exhibit("The reasons in words", "", (), table))
    return Section("turnout", "Who took part, who was lost", _lead(whole, words), tuple(exhibits))


def _lead(whole: Turnout, words: Asked) -> str:
    said = (
        f"{count(whole.sampled)} invitations {words.became} and {count(whole.completed)} came back as an update that "
        f"counted ({percent(whole.completed / whole.sampled)})."
    )
    if not whole.dropped:
        return said + " Nobody was lost."
    reasons = [f"{reason_name(name)} ({count(n)})" for name, n in list(whole.dropped.items())[:3]]
    return f"{said} Most losses: {', '.join(reasons)}."


def _grouped(whole: Turnout, others: Iterable[str] = ()) -> list[tuple[str, str, list[str]]]:
    """The reasons as ``(name, tone, reasons)``: the most frequent ones alone, the rest together.

    ``others`` come last: reasons of the tiers that the rounds do not know.
    """
    ordered = list(dict.fromkeys([*whole.dropped, *others]))
    groups = [(reason_name(r), f"lost-{index}", [r]) for index, r in enumerate(ordered[:MOST_REASONS], start=1)]
    return [*groups, ("other", "lost-6", ordered[MOST_REASONS:])] if len(ordered) > MOST_REASONS else groups


def _over_rounds(rounds: Sequence[Round], whole: Turnout, words: Asked) -> Exhibit:
    groups = buckets(rounds, MOST_COLUMNS)
    sums = [total(r.turnout for r in group) for group in groups]
    labels = tuple(span_of(group) for group in groups)
    layers = [Layer("completed", "completed", tuple(s.completed / len(g) for s, g in zip(sums, groups, strict=True)))]
    for name, tone, reasons in _grouped(whole):
        lost = [sum(s.dropped.get(r, 0) for r in reasons) for s in sums]
        layers.append(Layer(name, tone, tuple(n / len(g) for n, g in zip(lost, groups, strict=True))))
    each = "" if len(groups) == len(rounds) else f", mean of {len(groups[0])} rounds"
    described = (
        f"Stacked columns of {words.devices} over the rounds: {count(whole.completed)} completed in all, "
        + ("lost " + ", ".join(f"{count(n)} {reason_name(name)}" for name, n in whole.dropped.items()) + "."
           if whole.dropped else "none lost.")
    )  # fmt: skip
    chart = Columns(described, f"{words.devices}{each}", "round", labels, tuple(layers), trimmed)
    stated = list(whole.dropped)
    rows = [_turnout_row(str(r.number), total([r.turnout]), stated) for r in rounds]
    columns = ("round", words.word, "completed", "share", *map(reason_name, stated))
    table = table_of(f"Devices {words.word}, completed and lost in each round", columns, rows)
    takeaway = f"Each column is all {words.devices}: who finished at the bottom, above it why the others did not."
    if not stated:
        takeaway = f"Each column is all {words.devices}; everyone finished."
    return Exhibit("Round by round", takeaway, both(draw_columns, chart), table)


def span_of(group: Sequence[Round]) -> str:
    """The rounds that one column stands for: ``7`` or ``7 to 12``."""
    first, last = group[0].number, group[-1].number
    return f"{first}" if first == last else f"{first} to {last}"


def _turnout_row(name: str, turnout: Turnout, reasons: Sequence[str]) -> list[str]:
    share = percent(turnout.completed / turnout.sampled) if turnout.sampled else NOTHING
    lost = [count(turnout.dropped[r]) if turnout.dropped.get(r) else NOTHING for r in reasons]
    return [name, count(turnout.sampled), count(turnout.completed), share, *lost]


def _tiers(tiers: dict[str, Turnout], whole: Turnout, words: Asked) -> Exhibit:
    known = {name: sums for name, sums in tiers.items() if sums.sampled}
    found = total(known.values()).dropped
    groups = [group for group in _grouped(whole, found) if any(found.get(reason) for reason in group[2])]
    reasons = [reason for _, _, group in groups for reason in group if found.get(reason)]
    rows = []
    for name, sums in known.items():
        lost = [percent(sums.dropped[r] / sums.sampled) if sums.dropped.get(r) else NOTHING for r in reasons]
        rows.append([tier_name(name), count(sums.sampled), percent(sums.completed / sums.sampled), *lost])
    columns = ("tier", words.word, "completed", *map(reason_name, reasons))
    table = table_of(f"Share of the {words.devices} by what became of them", columns, rows)
    if not reasons or not known:
        return Exhibit("By device tier", "No tier lost a device.", (), table)
    worst = max(known, key=lambda name: known[name].lost / known[name].sampled)
    takeaway = (
        f"The highest share was lost in tier {tier_name(worst)}: {count(known[worst].lost)} of "
        f"{count(known[worst].sampled)}."
    )
    if sum(sums.sampled for sums in known.values()) < whole.sampled:
        takeaway += " A tier counts those of its devices that were asked and whose fate is known by device."
    chart = StackedRows(
        described=f"Stacked bars of the share of {words.devices} lost, a row a tier, by reason. {takeaway}",
        x_label=f"lost, share of the {words.devices}",
        parts=tuple((name, tone) for name, tone, _ in groups),
        rows=tuple(
            (
                tier_name(name),
                tuple(sum(sums.dropped.get(r, 0) for r in group) / sums.sampled for _, _, group in groups),
            )
            for name, sums in known.items()
        ),
        x_format=percent,
    )
    return Exhibit("By device tier", takeaway, both(draw_stacked_rows, chart), table)


def _staleness(run: Run) -> list[Exhibit]:
    """How old the updates were that buffered rounds used, where the run states it."""
    stated = [(r, r.staleness) for r in run.rounds if r.staleness is not None]
    if not run.buffered or not stated:
        return []
    points = tuple((float(r.number), mean) for r, mean in stated)
    mean = sum(age for _, age in points) / len(points)
    chart = LineChart(
        described=f"Line chart of the mean age of the updates that each round used: {trimmed(mean)} server steps.",
        y_label="mean age of the updates, server steps",
        x_label="round",
        series=(Series("age", "federated-private", points),),
        y_format=trimmed,
        y_from_zero=True,
    )
    title = "How old the updates were"
    rows = [[str(r.number), trimmed(age), trimmed(r.staleness_max)] for r, age in stated]
    takeaway = (
        f"{trimmed(mean)} server steps on the average between a device's start and the use of its update. "
        "An older update counts less."
    )
    columns = ("round", "mean age", "oldest")
    table = filled(table_of("Age of the updates of each round, in server steps", columns, rows))
    return [Exhibit(title, takeaway, both(draw_lines, chart), table)]


def _day(run: Run, words: Asked) -> list[Exhibit]:
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
    table = table_of("The virtual day", ("hour (UTC)", "could be asked", "rounds begun", "finished"), rows)
    takeaway = (
        f"The area is the share of the fleet that could be asked. {each}: the share of the {words.devices} that "
        "finished."
    )
    return [Exhibit("Over the virtual day", takeaway, both(draw_lines, _day_chart(hours, dots)), table)]


def _finished(turnout: Turnout) -> float:
    return turnout.completed / turnout.sampled


def _day_chart(hours: Sequence[float], dots: Sequence[tuple[float, float]]) -> LineChart:
    """Reachable devices as steps over the hours, ``(hour, share finished)`` as dots."""
    series = []
    if hours:
        steps = tuple((float(hour), share) for hour, share in enumerate((*hours, hours[-1])))
        series.append(Series("could be asked", "completed", steps, step="after", area=True, ends=False))
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
            f" The share that could be asked ranges from {percent(low)} at {hours.index(low):02d}:00 to "
            f"{percent(high)} at {hours.index(high):02d}:00."
        )
    if dots:
        shares = [share for _, share in dots]
        said += f" Between {percent(min(shares))} and {percent(max(shares))} of the devices of a round finished."
    return said
