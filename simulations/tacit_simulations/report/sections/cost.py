"""Cost: time, energy, bytes and money, for each round and in all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tacit_simulations.report.bars import Columns, Layer, draw_columns
from tacit_simulations.report.document import Exhibit, Section, filled, table_of
from tacit_simulations.report.figures import (
    BYTES,
    DURATIONS,
    ENERGY,
    Format,
    amount,
    duration,
    energy,
    moment,
    size,
    trimmed,
)
from tacit_simulations.report.marks import SMALL, SMALL_NAMED
from tacit_simulations.report.reading import Round, Run
from tacit_simulations.report.scales import buckets
from tacit_simulations.report.sections.turnout import span_of

MOST_COLUMNS = 60
Value = Callable[[Round], float | None]


@dataclass(frozen=True, slots=True)
class Quantity:
    """One kind of cost: its parts (name, tone, where it stands), its units, how its total is said."""

    title: str
    parts: tuple[tuple[str, str, Value], ...]
    units: tuple[tuple[float, str], ...]
    said: Format


def currency_of(run: Run) -> str:
    """The currency that the configuration names, if it names one anywhere in its fleet part."""
    fleet = run.config.get("fleet")
    named = fleet.get("currency") if isinstance(fleet, dict) else None
    return named if isinstance(named, str) else ""


def summed(rounds: Sequence[Round], value: Value) -> float | None:
    """Total over the rounds that state it; None when none does."""
    found = [amount for r in rounds if (amount := value(r)) is not None]
    return sum(found) if found else None


def quantities(run: Run) -> tuple[Quantity, ...]:
    """The four costs that a fleet study asks about."""
    currency = currency_of(run)
    return (
        Quantity("Time", (("time", "completed", lambda r: r.virtual_seconds),), DURATIONS, duration),
        Quantity("Energy", (("energy", "lost-2", lambda r: r.energy_j),), ENERGY, energy),
        Quantity(
            "Traffic",
            (("down", "completed", lambda r: r.bytes_down), ("up", "lost-1", lambda r: r.bytes_up)),
            BYTES,
            size,
        ),
        Quantity(
            "Money",
            (("money", "lost-4", lambda r: r.money),),
            ((1.0, currency),),
            lambda value: amount(value, currency),
        ),
    )


def cost(run: Run) -> Section | None:
    """A small chart for each cost that the rounds state, and one table with all of them."""
    shown = [q for q in quantities(run) if any(summed(run.rounds, value) is not None for _, _, value in q.parts)]
    if not shown:
        return None
    exhibits = [_exhibit(run, quantity) for quantity in shown]
    return Section("cost", "What it cost", _lead(run), (*exhibits, _every_round(run)))


def _lead(run: Run) -> str:
    joules = summed(run.rounds, lambda r: r.energy_j)
    moved = summed(run.rounds, lambda r: (r.bytes_up or 0.0) + (r.bytes_down or 0.0))
    done = sum(r.turnout.completed for r in run.rounds)
    said = (
        "All figures are the emulated fleet's, in virtual time; they come from the device catalogue, not from meters."
    )
    each = []
    if done and joules:
        each.append(energy(joules / done))
    if done and moved:
        each.append(f"{size(moved / done)} of traffic")
    if not each:
        return said
    others = "that were lost or still at work at the end" if run.buffered else "that were lost"
    return f"{said} One update that counted took {' and '.join(each)}, those {others} included."


def _exhibit(run: Run, quantity: Quantity) -> Exhibit:
    groups = buckets(run.rounds, MOST_COLUMNS)
    columns = [[_mean(group, value) for group in groups] for _, _, value in quantity.parts]
    highest = max((sum(column) for column in zip(*columns, strict=True)), default=0.0)
    unit_size, unit = _unit(highest, quantity.units)
    layers = tuple(
        Layer(name, tone, tuple(value / unit_size for value in column))
        for (name, tone, _), column in zip(quantity.parts, columns, strict=True)
    )
    if quantity.title == "Money" and not highest:
        return Exhibit("Money", "Nothing: no transfer went over a connection with a price.", (), None, small=True)
    totals = [(name, summed(run.rounds, value)) for name, _, value in quantity.parts]
    whole = sum(value for _, value in totals if value is not None)
    each = "" if len(groups) == len(run.rounds) else f", mean of {len(groups[0])} rounds"
    takeaway = f"{quantity.said(whole)} in all."
    if len(totals) > 1:
        takeaway = f"{', '.join(f'{quantity.said(v or 0.0)} {name}' for name, v in totals)}."
    chart = Columns(
        described=f"Columns of {quantity.title.lower()} for each round{each}: {takeaway}",
        y_label=f"{unit or quantity.title.lower()} a round{each}",
        x_label="round",
        labels=tuple(span_of(group) for group in groups),
        layers=layers,
        y_format=trimmed,
    )
    canvas = SMALL_NAMED if len(layers) > 1 else SMALL
    return Exhibit(quantity.title, takeaway, (draw_columns(chart, canvas),), None, small=True)


def _unit(highest: float, units: tuple[tuple[float, str], ...]) -> tuple[float, str]:
    return next(((unit_size, name) for unit_size, name in reversed(units) if highest >= unit_size), units[0])


def _mean(group: Sequence[Round], value: Value) -> float:
    found = summed(group, value)
    return 0.0 if found is None else found / len(group)


def _every_round(run: Run) -> Exhibit:
    currency = currency_of(run)
    rows = [
        [
            str(r.number),
            moment(r.virtual_start),
            duration(r.virtual_seconds),
            energy(r.energy_j),
            size(r.bytes_down),
            size(r.bytes_up),
            amount(r.money, currency),
        ]
        for r in run.rounds
    ]
    columns = ("round", "began (UTC)", "took", "energy", "down", "up", "money")
    table = filled(table_of("Time, energy, traffic and money of each round", columns, rows))
    return Exhibit("All costs, round by round", "", (), table)
