"""Learning: how well each model does, and what privacy costs."""

from collections.abc import Sequence

from tacit_simulations.report.document import Exhibit, Section, both, filled, table_of
from tacit_simulations.report.figures import (
    NOTHING,
    Format,
    count,
    is_share,
    lower_is_better,
    percent,
    plural,
    significant,
    worded,
)
from tacit_simulations.report.lines import Level, LineChart, Series, draw_lines
from tacit_simulations.report.reading import Evaluation, Point, Run

NAMES = {
    "untrained": "untrained",
    "local_only": "local only",
    "centralised": "centralised",
    "federated": "federated",
    "federated_private": "federated + DP",
    "personalised": "personalised",
}
MEANINGS = {
    "untrained": "the model as it was shipped",
    "local_only": "every device trains alone and shares nothing",
    "centralised": "all data in one place: the upper mark that federation tries to reach",
    "federated": "updates are averaged without noise and without a guarantee",
    "federated_private": "updates are clipped, averaged and noised: the model this run releases",
    "personalised": "the private model plus an adapter that never leaves its device",
}
SHAPES = {"federated": "square", "federated_private": "circle"}


def metric_format(evaluation: Evaluation) -> Format:
    """Per cent for shares of right answers, three digits for anything else."""
    values = [s.metric for s in evaluation.scores.values() if s.metric is not None]
    values += [p.metric for s in evaluation.scores.values() for p in s.curve if p.metric is not None]
    values += [v for t in evaluation.per_tier.values() for v in (t.federated_private, t.personalised) if v is not None]
    return percent if values and is_share(evaluation.metric_name, values) else significant


def metric_of(run: Run, key: str) -> float | None:
    """The final task metric of one model."""
    score = run.evaluation.scores.get(key) if run.evaluation else None
    return score.metric if score else None


def gap_closed(run: Run, key: str = "federated_private") -> float | None:
    """Share of the way from the untrained to the federated model (without DP) that ``key`` went; None if there is none.

    Unitless; 1 is the federated model without DP, negative is worse than untrained.
    """
    untrained, federated, own = (metric_of(run, name) for name in ("untrained", "federated", key))
    if run.evaluation is None or untrained is None or federated is None or own is None:
        return None
    sign = -1 if lower_is_better(run.evaluation.metric_name) else 1
    way = sign * (federated - untrained)
    return sign * (own - untrained) / way if way > 1e-12 else None


def learning(run: Run) -> Section | None:
    """Curves of the metric and the loss, and the models side by side."""
    exhibits = []
    if run.evaluation is not None and run.evaluation.scores:
        show = metric_format(run.evaluation)
        exhibits += _curves(run, run.evaluation, "metric", worded(run.evaluation.metric_name), show)
        exhibits += _curves(run, run.evaluation, "loss", "loss", significant)
        if len(run.evaluation.scores) > 1:
            exhibits.append(_side_by_side(run, run.evaluation, show))
    elif any(r.metric is not None or r.loss is not None for r in run.rounds):
        exhibits += _watched(run)
    if not exhibits:
        return None
    return Section("learning", "What was learned", _lead(run), tuple(exhibits))


def _lead(run: Run) -> str:
    closed = gap_closed(run)
    if run.evaluation is None:
        return "How the shared model did after each round."
    seen = "These figures exist because the fleet is emulated; a deployment never releases them outside a mechanism."
    seen += _panel(run.evaluation)
    if closed is None:
        return seen
    return (
        f"The private model went {percent(closed)} of the way from the untrained model to the one that the same "
        f"federation learns without noise. {seen}"
    )


def _panel(evaluation: Evaluation) -> str:
    """Who was scored, where not everybody was who was to be."""
    wanted, scored = evaluation.panel, evaluation.panel_scored
    if wanted is None or scored is None or scored >= wanted:
        return ""
    return (
        f" {count(scored)} of the {plural(wanted, 'panel device')} were scored: scoring the rest hung or crashed "
        "twice, and they are left out of every model's figures alike."
    )


def _curves(run: Run, evaluation: Evaluation, quantity: str, label: str, show: Format) -> list[Exhibit]:
    series, levels = [], []
    for key, score in evaluation.scores.items():
        final = score.metric if quantity == "metric" else score.loss
        points = _points(score.curve, quantity)
        tone = key.replace("_", "-")
        if len(points) > 1:
            series.append(Series(NAMES[key], tone, points, SHAPES.get(key, "triangle")))
        elif final is not None:
            levels.append(Level(NAMES[key], tone, final))
    if not series and len(levels) < 2:
        return []
    better = "lower" if quantity == "loss" or lower_is_better(label) else "higher"
    chart = LineChart(
        described=_described(label, series, levels, show),
        y_label=f"{label} ({better} is better)",
        x_label="round",
        series=tuple(series),
        levels=tuple(levels),
        y_format=show,
    )
    title = f"{label[:1].upper()}{label[1:]} over the rounds"
    rows = _curve_rows(evaluation, quantity, show)
    table = table_of(title, ("round", *(NAMES[key] for key in _watched_keys(evaluation))), rows) if rows else None
    return [Exhibit(title, _reading(len(series), len(levels)), both(draw_lines, chart), table, simulator_only=True)]


def _reading(curves: int, levels: int) -> str:
    if not curves:
        return "Each level is a model after training; none was watched round by round."
    watched = "The curve is the model" if curves == 1 else "Curves are models"
    if not levels:
        return f"{watched} as watched round by round."
    return (
        f"{watched} as watched round by round, on no more than evaluation.curve_examples of the panel's examples; "
        "dotted levels and the table below are scores on all of them, so the two differ a little."
    )


def _described(label: str, series: Sequence[Series], levels: Sequence[Level], show: Format) -> str:
    ends = [f"{s.name} goes from {show(s.points[0][1])} to {show(s.points[-1][1])}" for s in series]
    ends += [f"{level.name} stands at {show(level.y)}" for level in levels]
    return f"Line chart of {label} over the rounds: " + "; ".join(ends) + "."


def _points(curve: Sequence[Point], quantity: str) -> tuple[tuple[float, float], ...]:
    found = ((point.round, point.metric if quantity == "metric" else point.loss) for point in curve)
    return tuple(sorted((float(x), y) for x, y in found if y is not None))


def _watched_keys(evaluation: Evaluation) -> list[str]:
    return [key for key, score in evaluation.scores.items() if len(score.curve) > 1]


def _curve_rows(evaluation: Evaluation, quantity: str, show: Format) -> list[list[str]]:
    found = [dict(_points(evaluation.scores[key].curve, quantity)) for key in _watched_keys(evaluation)]
    spots = sorted({spot for at in found for spot in at})
    return [[f"{spot:g}", *(show(at[spot]) if spot in at else NOTHING for at in found)] for spot in spots]


def _side_by_side(run: Run, evaluation: Evaluation, show: Format) -> Exhibit:
    rows = []
    for key, score in evaluation.scores.items():
        closed = gap_closed(run, key)
        rows.append(
            [
                NAMES[key],
                MEANINGS[key],
                NOTHING if score.metric is None else show(score.metric),
                significant(score.loss),
                NOTHING if closed is None else percent(closed),
            ]
        )
    columns = ("model", "what it is", worded(evaluation.metric_name), "loss", "gap closed")
    table = filled(table_of("Every model at the end of the run", columns, rows, wordy=(1,)))
    takeaway = "Gap closed: the share of the way from the untrained model to the federated one without noise."
    return Exhibit(
        "The models side by side",
        takeaway if "gap closed" in table.columns else "",
        (),
        table,
        simulator_only=True,
    )


def _watched(run: Run) -> list[Exhibit]:
    """Runs without an evaluation part: whatever the rounds themselves saw."""
    exhibits = []
    for quantity in ("metric", "loss"):
        found = ((r.number, r.metric if quantity == "metric" else r.loss) for r in run.rounds)
        points = tuple((float(x), y) for x, y in found if y is not None)
        if len(points) < 2:
            continue
        series = Series("this run", "federated-private", points)
        chart = LineChart(
            _described(quantity, [series], [], significant),
            quantity,
            "round",
            (series,),
            y_format=significant,
        )
        title = f"{quantity.capitalize()} over the rounds"
        rows = [[f"{x:g}", significant(y)] for x, y in points]
        exhibits.append(
            Exhibit(
                title,
                "",
                both(draw_lines, chart),
                table_of(title, ("round", quantity), rows),
                simulator_only=True,
            )
        )
    return exhibits
