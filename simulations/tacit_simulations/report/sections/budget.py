"""Privacy: what was spent of what was allowed, under which assumption, and how loud the noise was."""

import math

from tacit_simulations.report.document import Exhibit, Section, Table, both, filled, table_of
from tacit_simulations.report.figures import NOTHING, count, percent, trimmed
from tacit_simulations.report.lines import Level, LineChart, Series, draw_lines
from tacit_simulations.report.marks import SMALL_NAMED
from tacit_simulations.report.reading import Bound, Empirical, ExampleLevel, Privacy, Run


def upwards(epsilon: float | None, digits: int = 3) -> str:
    """Epsilon rounded up: a guarantee must not be made to look smaller than it is."""
    if epsilon is None or not math.isfinite(epsilon):
        return "unbounded" if epsilon is not None else NOTHING
    if epsilon <= 0:
        return "0"
    unit = 10.0 ** (math.floor(math.log10(epsilon)) - digits + 1)
    return trimmed(math.ceil(epsilon / unit * (1 - 1e-12)) * unit, digits)


def downwards(epsilon: float, digits: int = 3) -> str:
    """A lower bound rounded down: an attack must not be made to look stronger than it is."""
    if epsilon <= 0 or not math.isfinite(epsilon):
        return "0" if epsilon <= 0 else "unbounded"
    unit = 10.0 ** (math.floor(math.log10(epsilon)) - digits + 1)
    return trimmed(math.floor(epsilon / unit * (1 + 1e-12)) * unit, digits)


def seeded_mark(privacy: Privacy) -> str:
    """What stands beside an epsilon of seeded noise wherever it is shown; empty otherwise."""
    return " (seeded noise)" if privacy.noise_source == "seeded" else ""


def chosen_bound(privacy: Privacy) -> Bound | None:
    """The smallest bound within the adjacency that the policy names; others are shown, never chosen."""
    own = [b for b in privacy.bounds if b.adjacency == privacy.adjacency and b.epsilon is not None]
    return min(own, key=lambda bound: bound.epsilon if bound.epsilon is not None else math.inf, default=None)


def budget(run: Run) -> Section | None:
    """Epsilon against its cap, the bounds, the settings, the noise."""
    privacy = run.privacy
    if privacy is None:
        return None
    exhibits = [*_spent(run, privacy)]
    if privacy.bounds:
        exhibits.append(_bounds(privacy))
    exhibits.append(_terms(privacy))
    if privacy.empirical is not None:
        exhibits.append(_measured(privacy, privacy.empirical))
    exhibits += _noise(run)
    if privacy.example_level is not None:
        exhibits.append(_example_level(privacy.example_level))
    return Section("privacy", "What privacy was spent", _lead(privacy), tuple(exhibits))


def _lead(privacy: Privacy) -> str:
    if not privacy.guaranteed:
        return "This run makes no promise of privacy: its epsilon is unbounded."
    chosen = chosen_bound(privacy)
    cap = "" if privacy.epsilon_cap is None else f" of at most {trimmed(privacy.epsilon_cap)}"
    assumption = f" The bound assumes: {chosen.assumption}." if chosen and chosen.assumption else ""
    seeded = " Its noise is seeded and protects nobody." if privacy.noise_source == "seeded" else ""
    delta = "" if privacy.delta is None else f" at \N{GREEK SMALL LETTER DELTA} = {trimmed(privacy.delta, 3)}"
    return (
        f"Spent: \N{GREEK SMALL LETTER EPSILON} = {upwards(privacy.epsilon)}{cap}{delta}. The unit protected is the "
        f"{privacy.unit}, the adjacency is {privacy.adjacency}.{assumption}{seeded}"
    )


def _spent(run: Run, privacy: Privacy) -> list[Exhibit]:
    points = tuple(
        (float(r.number), r.epsilon) for r in run.rounds if r.epsilon is not None and math.isfinite(r.epsilon)
    )
    if not points:
        return []
    cap = privacy.epsilon_cap
    levels = (Level("cap", "alarm", cap),) if cap is not None and math.isfinite(cap) else ()
    chart = LineChart(
        described=(
            f"Step chart of epsilon after each round: {upwards(points[0][1])} after the first, "
            f"{upwards(points[-1][1])} after the last" + (f", cap {trimmed(cap)}." if levels and cap else ".")
        ),
        y_label=f"\N{GREEK SMALL LETTER EPSILON} spent{seeded_mark(privacy)}",
        x_label="round",
        series=(Series("spent", "federated-private", points, step="centred", area=True),),
        levels=levels,
        y_format=trimmed,
        y_from_zero=True,
    )
    left = "" if cap is None else f" After the last round {percent(max(0.0, 1 - points[-1][1] / cap))} is left."
    rows = [[f"{x:g}", upwards(y, 4), NOTHING if not cap else percent(y / cap)] for x, y in points]
    table = filled(table_of("Epsilon after each round", ("round", "epsilon", "share of the cap"), rows))
    flat = len(points) > 1 and points[0][1] == points[-1][1]
    once = " Later rounds cost nothing more: what counts is how often one device took part, and that did not rise."
    once = once if flat else ""
    takeaway = f"A round is charged before anything of it is released.{once}{left}"
    return [Exhibit("Budget spent against the cap", takeaway, both(draw_lines, chart), table)]


def _bounds(privacy: Privacy) -> Exhibit:
    chosen = chosen_bound(privacy)
    rows = [
        (
            bound.assumption or NOTHING,
            bound.adjacency or NOTHING,
            upwards(bound.epsilon, 4),
            bound.accountant or NOTHING,
            "reported" if bound == chosen else "",
        )
        for bound in privacy.bounds
    ]
    marked = frozenset(index for index, bound in enumerate(privacy.bounds) if bound == chosen)
    columns = ("assumption", "adjacency", "epsilon", "accountant", "")
    table = Table("Every bound whose assumption holds", columns, tuple(rows), frozenset({1, 3, 4}), marked)
    takeaway = (
        "The reported figure is the smallest within the adjacency that the policy names; others are never chosen."
    )
    return Exhibit("Every bound and what it assumes", takeaway, (), table)


def _terms(privacy: Privacy) -> Exhibit:
    measured = privacy.empirical_lower_bound
    rows = (
        ("unit of privacy", privacy.unit, "what the guarantee hides: a whole device, not one example"),
        ("adjacency", privacy.adjacency, "how two neighbouring fleets differ"),
        ("delta", trimmed(privacy.delta, 3), "probability mass that the guarantee leaves out"),
        (
            "noise multiplier",
            trimmed(privacy.noise_multiplier, 4),
            "standard deviation of the noise over the clip",
        ),
        ("clipping norm", trimmed(privacy.clip_norm, 4), "the longest update a device may send"),
        ("noise source", privacy.noise_source, _source_meaning(privacy.noise_source)),
        (
            "measured lower bound",
            "not measured in this run" if measured is None else downwards(measured),
            "what an attack by canaries could show; the truth lies between it and epsilon",
        ),
    )
    return Exhibit(
        "The terms", "", (), Table("Privacy settings", ("setting", "value", "meaning"), rows, frozenset({2}))
    )


def _measured(privacy: Privacy, shown: Empirical) -> Exhibit:
    """The lower bound beside the upper one, and how to read the two."""
    title, epsilon = "What an attack could show", "\N{GREEK SMALL LETTER EPSILON}"
    measured = privacy.empirical_lower_bound
    if measured is None:
        return Exhibit(title, f"None of the {count(shown.planned)} canaries took part.", (), None, simulator_only=True)
    rows = [
        ("measured lower bound", f"{epsilon} \u2265 {downwards(measured)}", _guessing(shown)),
        ("one-shot estimate", *_estimated(shown)),
        ("upper bound", f"{epsilon} \u2264 {upwards(privacy.epsilon)}", "proved, whatever the attack"),
    ]
    refuted = privacy.epsilon is not None and measured > privacy.epsilon
    verdict = (
        "The lower bound passes the upper one: the mechanism does not keep what it claims."
        if refuted
        else f"The true {epsilon} lies between the two bounds. A small lower bound is no sign of privacy: few "
        "canaries, or a weak attack, show little."
    )
    takeaway = (
        f"{count(shown.asked)} of {count(shown.planned)} canary devices took part, each sending a secret random "
        "direction of full length or zeros, by the toss of a coin; an attacker who sees every round guesses the coins. "
        f"{verdict}"
    )
    table = Table("Epsilon from below and from above", ("figure", "value", "how"), tuple(rows), frozenset({2}))
    return Exhibit(title, takeaway, (), table, simulator_only=True)


def _guessing(shown: Empirical) -> str:
    said = f"{count(shown.correct)} of {count(shown.guesses)} guesses right"
    return said if shown.confidence is None else f"with confidence {percent(shown.confidence)}: {said}"


def _estimated(shown: Empirical) -> tuple[str, str]:
    if shown.estimate is None:
        return NOTHING, "too few canaries for it"
    between = f"{trimmed(shown.low, 3)} to {trimmed(shown.high, 3)}"
    return f"about {trimmed(shown.estimate, 3)}", f"no bound; {between} by its own sampling error"


def _example_level(spent: ExampleLevel) -> Exhibit:
    """One paragraph of its own: another unit and another reader, so nothing of it stands beside the figures above."""
    title = "Apart from all this: a second guarantee, for single examples"
    if spent.epsilon_max is None:
        return Exhibit(title, "No device has spent anything on it.", (), None, simulator_only=True)
    epsilon, delta = "\N{GREEK SMALL LETTER EPSILON}", "\N{GREEK SMALL LETTER DELTA}"
    seeded = " This noise, too, is seeded and protects nobody." if spent.noise_source == "seeded" else ""
    takeaway = (
        "Devices also noised their own training, which hides one example of a device from whoever reads its updates. "
        f"Over the {count(spent.devices)} devices that trained, {epsilon} for an example is "
        f"{upwards(spent.epsilon_max)} at most and {upwards(spent.epsilon_median)} in the median, at "
        f"{delta} = {trimmed(spent.delta, 2)}, adjacency {spent.adjacency}. It is neither a part of the device's "
        f"{epsilon} above nor to be added to it.{seeded}"
    )
    return Exhibit(title, takeaway, (), None, simulator_only=True)


def _source_meaning(source: str) -> str:
    if source == "seeded":
        return "drawn from a seed so that the run repeats: protects nobody"
    return "where the random bits of the noise came from"


def _noise(run: Run) -> list[Exhibit]:
    drawn, exhibits = [], []
    for title, name, takeaway, values, hidden in (
        (
            "Noise against the clip",
            "noise / clip",
            "Length of the noise over the clipping norm; below 1 the average of full-length updates stands out.",
            [(r.number, r.noise_to_clip) for r in run.rounds],
            False,
        ),
        (
            "Updates that were clipped",
            "clipped",
            "Share of updates longer than the clipping norm. Near 100% the clip hides what devices learned.",
            [(r.number, r.clipped_share) for r in run.rounds],
            True,
        ),
    ):
        points = tuple((float(x), y) for x, y in values if y is not None and math.isfinite(y))
        if not points:
            continue
        show = percent if hidden else trimmed
        most = 1.0 if hidden else None
        series = (Series(name, "federated-private", points),)
        said = f"Line chart: {name} is {show(points[0][1])} in the first round and {show(points[-1][1])} in the last."
        chart = LineChart(said, name, "round", series, y_format=show, y_from_zero=True, y_most=most)
        table = table_of(title, ("round", name), [[f"{x:g}", show(y)] for x, y in points])
        drawn.append((title, takeaway, chart, table, hidden))
    alone = len(drawn) == 1  # without a neighbour it has the width of the page
    for title, takeaway, chart, table, hidden in drawn:
        pictures = both(draw_lines, chart) if alone else (draw_lines(chart, SMALL_NAMED),)
        exhibits.append(Exhibit(title, takeaway, pictures, table, small=not alone, simulator_only=hidden))
    return exhibits
