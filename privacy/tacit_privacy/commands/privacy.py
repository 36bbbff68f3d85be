"""Compute epsilon for a plan, or the noise for a budget."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from tacit_privacy.cli import JsonOption, json_on_stdout
from tacit_privacy.wording import rounded_up

if TYPE_CHECKING:
    from tacit_privacy.accounting.bounds import Bound

app = typer.Typer(help="Compute epsilon for a plan, or the noise for a budget.", no_args_is_help=True)


class SamplingName(StrEnum):
    """How cohorts are chosen."""

    NONE = "none"
    POISSON = "poisson"
    FIXED = "fixed"


Rounds = Annotated[int, typer.Option(min=1, max=10**15, help="noised releases")]
Delta = Annotated[float, typer.Option(help="delta of the guarantee, between 0 and 1")]
SamplingChoice = Annotated[SamplingName, typer.Option(help="how cohorts are chosen; poisson counts only while sealed")]
Cohort = Annotated[int | None, typer.Option(min=1, help="devices per round")]
PopulationSize = Annotated[int | None, typer.Option(min=1, help="devices in the fleet")]
Participations = Annotated[
    int | None, typer.Option(min=1, help="most rounds one device contributes to; default: every round")
]
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
    as_json: JsonOption = False,
) -> None:
    """Tell every bound on epsilon whose assumption holds, and the smallest within the adjacency."""
    with json_on_stdout(as_json) as write:
        from tacit_privacy.accounting.plan import Plan

        plan = Plan.of(str(sampling), cohort, population, rounds, participations, delta, adjacency)
        listed, best = plan.bounds(noise_multiplier)
        write(_summary(best, delta) | {"bounds": [bound.as_json() for bound in listed]})
    if as_json:
        return
    why = f"{best.assumption} ({best.adjacency}, {best.accountant})"
    typer.echo(f"epsilon {rounded_up(best.epsilon)} at delta {delta:g}: {why}")
    for bound in listed:
        if bound != best:
            typer.echo(
                f"  also  {rounded_up(bound.epsilon)}: {bound.assumption} ({bound.adjacency}, {bound.accountant})"
            )


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
    as_json: JsonOption = False,
) -> None:
    """Tell the smallest noise multiplier that keeps a plan within epsilon."""
    with json_on_stdout(as_json) as write:
        from tacit_privacy.accounting.plan import Plan

        plan = Plan.of(str(sampling), cohort, population, rounds, participations, delta, adjacency)
        noise = plan.calibrate(epsilon)
        _, best = plan.bounds(noise)
        write({"noise_multiplier": noise} | _summary(best, delta))
    if not as_json:
        reached = f"epsilon {rounded_up(best.epsilon)} at delta {delta:g}: {best.assumption}"
        typer.echo(f"noise multiplier {rounded_up(noise)} gives {reached}")


def _summary(best: "Bound", delta: float) -> dict[str, object]:
    return {"epsilon": best.epsilon, "delta": delta, "assumption": best.assumption}
