"""Fairness: does every tier get a model as good, and is every tier heard?"""

from tacit_simulations.report.document import Exhibit, Section, both, filled, table_of
from tacit_simulations.report.figures import NOTHING, count, lower_is_better, percent, tier_name, worded
from tacit_simulations.report.reading import Evaluation, Run
from tacit_simulations.report.rows import Dumbbells, Pair, draw_dumbbells
from tacit_simulations.report.sections.learning import metric_format
from tacit_simulations.report.sections.turnout import by_tier


def fairness(run: Run) -> Section | None:
    """Quality by tier, then each tier's share of the fleet beside its share of the updates."""
    exhibits = []
    if run.evaluation and run.evaluation.per_tier:
        exhibits.append(_quality(run.evaluation))
    exhibits += _heard(run)
    if not exhibits:
        return None
    lead = "An average can hide that one kind of device carries the cost and another has the use."
    return Section("fairness", "Fairness across tiers", lead, tuple(exhibits))


def _quality(evaluation: Evaluation) -> Exhibit:
    show, metric = metric_format(evaluation), worded(evaluation.metric_name)
    pairs = tuple(
        Pair(tier_name(tier), score.federated_private, score.personalised)
        for tier, score in evaluation.per_tier.items()
    )
    rows = [
        (
            tier_name(tier),
            count(score.devices),
            NOTHING if score.federated_private is None else show(score.federated_private),
            NOTHING if score.personalised is None else show(score.personalised),
        )
        for tier, score in evaluation.per_tier.items()
    ]
    takeaway = _spread(evaluation)
    chart = Dumbbells(
        described=f"Two dots a tier, {metric} of the shared private model and of the personalised one. {takeaway}",
        x_label=metric,
        before=("federated + DP", "federated-private"),
        after=("personalised", "personalised"),
        pairs=pairs,
        x_format=show,
        from_zero=False,
    )
    columns = ("tier", "devices scored", "federated + DP", "personalised")
    table = filled(table_of(f"{metric} by tier", columns, rows))
    title = "How good the model is for each tier"
    return Exhibit(title, takeaway, both(draw_dumbbells, chart), table, simulator_only=True)


def _spread(evaluation: Evaluation) -> str:
    show, said = metric_format(evaluation), []
    for name, key in (("shared private model", "federated_private"), ("personalised model", "personalised")):
        values = {tier: v for tier, s in evaluation.per_tier.items() if (v := getattr(s, key)) is not None}
        if len(values) < 2:
            continue
        low, high = min(values, key=lambda t: values[t]), max(values, key=lambda t: values[t])
        best, worst = (low, high) if lower_is_better(evaluation.metric_name) else (high, low)
        said.append(
            f"{name}: best for {tier_name(best)} ({show(values[best])}), "
            f"worst for {tier_name(worst)} ({show(values[worst])})"
        )
    joined = "; ".join(said)
    return f"{joined[:1].upper()}{joined[1:]}." if joined else ""


def _heard(run: Run) -> list[Exhibit]:
    tiers = by_tier(run.rounds)
    fleet = dict(run.fleet.tiers) if run.fleet else {}
    population, updates = sum(fleet.values()), sum(t.completed for t in tiers.values())
    if len(fleet) < 2 or not population or not updates:
        return []
    done = {name: tiers[name].completed if name in tiers else 0 for name in fleet}
    pairs = tuple(Pair(tier_name(name), n / population, done[name] / updates) for name, n in fleet.items())
    rows = [
        (tier_name(name), count(n), percent(n / population), count(done[name]), percent(done[name] / updates))
        for name, n in fleet.items()
    ]
    ratio = {name: done[name] / updates / (n / population) for name, n in fleet.items() if n}
    least = min(ratio, key=lambda name: ratio[name])
    takeaway = (
        f"Heard least for its number: {tier_name(least)}, {percent(fleet[least] / population)} of the fleet and "
        f"{percent(done[least] / updates)} of the updates."
    )
    chart = Dumbbells(
        described=f"Two dots a tier, its share of the fleet and its share of the updates that counted. {takeaway}",
        x_label="share",
        before=("of the fleet", "untrained"),
        after=("of the updates", "federated"),
        pairs=pairs,
        x_format=percent,
    )
    columns = ("tier", "devices", "share of the fleet", "updates", "share of the updates")
    table = table_of("Who is in the fleet and who is heard", columns, rows)
    return [Exhibit("Whether every tier is heard", takeaway, both(draw_dumbbells, chart), table)]
