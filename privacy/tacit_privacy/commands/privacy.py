"""Compute epsilon for a plan, or the noise for a budget."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tacit_privacy.cli import JsonOption, json_on_stdout
from tacit_privacy.contract import LEVELS
from tacit_privacy.wording import rounded_up

if TYPE_CHECKING:
    from tacit_privacy.accounting.affordable import Row
    from tacit_privacy.accounting.bounds import Bound
    from tacit_privacy.accounting.crosscheck import Second

app = typer.Typer(help="Compute epsilon for a plan, or the noise for a budget.", no_args_is_help=True)


class SamplingName(StrEnum):
    """How cohorts are chosen."""

    NONE = "none"
    POISSON = "poisson"
    FIXED = "fixed"


Rounds = Annotated[int, typer.Option(min=1, max=10**15, help="noised releases")]
Delta = Annotated[float, typer.Option(help="delta of the guarantee, between 0 and 1")]
SamplingChoice = Annotated[
    SamplingName,
    typer.Option(
        help="how cohorts are chosen; poisson, and fixed (uniform, of a known population), count only while sealed"
    ),
]
Cohort = Annotated[int | None, typer.Option(min=1, help="devices per round")]
PopulationSize = Annotated[int | None, typer.Option(min=1, help="devices in the fleet")]
Participations = Annotated[
    int | None, typer.Option(min=1, help="most rounds one device contributes to; default: every round")
]
Cap = Annotated[int | None, typer.Option(min=1, help="most devices of a Poisson cohort; more are cut down at random")]
Bands = Annotated[int | None, typer.Option(min=1, help="correlated noise (matrix mechanism) of so many bands")]
Separation = Annotated[int, typer.Option(min=1, help="rounds from one participation of a device to its next, at least")]
Dimension = Annotated[
    int | None, typer.Option(min=1, help="numbers in one release: charges that noise is integers; default: it is not")
]
Levels = Annotated[int, typer.Option(min=1, help="grid steps of the integers in one clip norm")]
AdjacencyName = Annotated[str, typer.Option(help="zero-out or replace-one")]


@app.command()
def epsilon(
    noise_multiplier: Annotated[float, typer.Option(help="noise standard deviation / clip norm")],
    rounds: Rounds,
    delta: Delta,
    sampling: SamplingChoice = SamplingName.NONE,
    cohort: Cohort = None,
    population: PopulationSize = None,
    participations: Participations = None,
    adjacency: AdjacencyName = "zero-out",
    cap: Cap = None,
    bands: Bands = None,
    separation: Separation = 1,
    dimension: Dimension = None,
    levels: Levels = LEVELS,
    cross_check: Annotated[
        bool, typer.Option("--cross-check", help="ask second accountants too; takes seconds and loads them")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Tell every bound on epsilon whose assumption holds, and the smallest within the adjacency."""
    with json_on_stdout(as_json) as write:
        from tacit_privacy.accounting import crosscheck
        from tacit_privacy.accounting.plan import Plan

        plan = Plan.of(
            str(sampling),
            cohort,
            population,
            rounds,
            participations,
            delta,
            adjacency,
            cap=cap,
            bands=bands,
            separation=separation,
            dimension=dimension,
            levels=levels,
        )
        listed, best = plan.bounds(noise_multiplier)
        document = _summary(best, delta) | {"bounds": [bound.as_json() for bound in listed]}
        checks: tuple[Second, ...] = ()
        if cross_check:
            checks = crosscheck.cross_check({plan.event(noise_multiplier): rounds}, plan.exposure, delta)
            document["cross_check"] = {
                "largest_disagreement": crosscheck.largest_disagreement(checks),
                "accountants": [check.as_json() for check in checks],
            }
        write(document)
    if not as_json:
        _tell(listed, best, delta, checks)


@app.command()
def calibrate(
    epsilon: Annotated[float, typer.Option(help="epsilon to reach and not to pass")],
    rounds: Rounds,
    delta: Delta,
    sampling: SamplingChoice = SamplingName.NONE,
    cohort: Cohort = None,
    population: PopulationSize = None,
    participations: Participations = None,
    adjacency: AdjacencyName = "zero-out",
    cap: Cap = None,
    bands: Bands = None,
    separation: Separation = 1,
    dimension: Dimension = None,
    levels: Levels = LEVELS,
    as_json: JsonOption = False,
) -> None:
    """Tell the smallest noise multiplier that keeps a plan within epsilon."""
    with json_on_stdout(as_json) as write:
        from tacit_privacy.accounting.plan import Plan

        plan = Plan.of(
            str(sampling),
            cohort,
            population,
            rounds,
            participations,
            delta,
            adjacency,
            cap=cap,
            bands=bands,
            separation=separation,
            dimension=dimension,
            levels=levels,
        )
        noise = plan.calibrate(epsilon)
        _, best = plan.bounds(noise)
        write({"noise_multiplier": noise} | _summary(best, delta))
    if not as_json:
        reached = f"epsilon {rounded_up(best.epsilon)} at delta {delta:g}: {best.assumption}"
        typer.echo(f"noise multiplier {rounded_up(noise)} gives {reached}")


@app.command()
def plan(
    population: Annotated[int, typer.Option(min=1, max=10**10, help="devices in the fleet")],
    dimension: Annotated[int, typer.Option(min=1, help="parameters of the adapter that devices send")],
    epsilon: Annotated[float, typer.Option(help="epsilon that the whole run may reach")],
    delta: Annotated[float | None, typer.Option(help="delta of the guarantee; default: population^-1.1")] = None,
    rounds: Annotated[
        list[int] | None, typer.Option(min=1, max=10**9, help="rounds to plan for, as often as you like")
    ] = None,
    cohort: Annotated[
        list[int] | None, typer.Option(min=1, help="devices per round, as often as you like; default: a range")
    ] = None,
    participations: Annotated[
        int | None, typer.Option(min=1, help="most rounds one device contributes to; default: as many as are needed")
    ] = None,
    sampling: SamplingChoice = SamplingName.NONE,
    adjacency: AdjacencyName = "zero-out",
    level: Annotated[
        float, typer.Option(min=0.0, help="noise-to-signal up to which a plan counts as affordable")
    ] = 1.0,
    out: Annotated[Path | None, typer.Option(help="an HTML page to write, with a drawing")] = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what cohorts, rounds and noise a fleet can afford, before anyone trains."""
    with json_on_stdout(as_json) as write:
        from tacit_privacy.accounting import affordable, plan_page
        from tacit_privacy.accounting.events import Adjacency
        from tacit_privacy.errors import BadInput
        from tacit_privacy.files import write_whole

        if adjacency not in list(Adjacency):
            raise BadInput(f"adjacency must be one of {', '.join(Adjacency)}, got {adjacency}")
        if not level > 0:
            raise BadInput(f"the level must be above 0, got {level:g}")
        goal = delta if delta is not None else min(0.5, population**-1.1)
        fleet = affordable.Fleet(
            population, dimension, epsilon, goal, Adjacency(adjacency), str(sampling), participations
        )
        chosen = tuple(cohort or affordable.default_cohorts(population))
        listed = affordable.rows(fleet, chosen, tuple(rounds or affordable.ROUNDS), level)
        best, remedy = affordable.best(listed), affordable.remedy(fleet, listed, level)
        if out is not None:
            write_whole(out, plan_page.page(fleet, listed, level, remedy))
        write(
            {
                "epsilon": epsilon,
                "delta": goal,
                "rows": [row.as_json() for row in listed],
                "best": [row.as_json() for row in best],
                "remedy": remedy,
            }
        )
    if not as_json:
        _tell_plan(best, goal, remedy, out)


def _tell(listed: "Sequence[Bound]", best: "Bound", delta: float, checks: "Sequence[Second]") -> None:
    why = f"{best.assumption} ({best.adjacency}, {best.accountant})"
    typer.echo(f"epsilon {rounded_up(best.epsilon)} at delta {delta:g}: {why}")
    for bound in listed:
        if bound != best:
            typer.echo(
                f"  also  {rounded_up(bound.epsilon)}: {bound.assumption} ({bound.adjacency}, {bound.accountant})"
            )
    for check in checks:
        second = check.outcome if check.epsilon is None else f"{check.epsilon:.4g}"
        typer.echo(
            f"  check {rounded_up(check.bound.epsilon)} ({check.bound.accountant}): {check.accountant}: {second}"
        )


def _tell_plan(best: "Sequence[Row]", delta: float, remedy: str | None, out: Path | None) -> None:
    typer.echo(f"fewest uploads that are affordable, delta {delta:.3g}:")
    typer.echo("  rounds  cohort  participations  noise multiplier  noise/signal   uploads")
    for row in best:
        numbers = f"{row.participations:>14}  {rounded_up(row.noise_multiplier):>16}"
        signal = f"{rounded_up(row.noise_to_signal):>12}  {row.uploads:>8}"
        typer.echo(f"  {row.rounds:>6}  {row.cohort:>6}  {numbers}  {signal}  {'' if row.affordable else 'too noisy'}")
    if remedy is not None:
        typer.echo(remedy)
    if out is not None:
        typer.echo(f"the page is {out}")


def _summary(best: "Bound", delta: float) -> dict[str, object]:
    return {"epsilon": best.epsilon, "delta": delta, "assumption": best.assumption}
