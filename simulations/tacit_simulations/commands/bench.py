"""Measure how fast this machine is at what Tacit does, and how well redaction works."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tacit_privacy.cli import JsonOption, json_on_stdout

if TYPE_CHECKING:
    from tacit_simulations.evaluation.speed import FleetSpeed, TrainingSpeed

app = typer.Typer(
    help="Measure how fast this machine is at what Tacit does, and how well redaction works.", no_args_is_help=True
)


@app.callback()
def bench() -> None:
    """Measure how fast this machine is at what Tacit does, and how well redaction works."""


@app.command()
def simulation(
    devices: Annotated[int, typer.Option(min=1, help="population of the fleet without a model")] = 100_000,
    cohort: Annotated[int, typer.Option(min=1, help="replies that each of its rounds waits for")] = 10_000,
    rounds: Annotated[int, typer.Option(min=1, help="its rounds that are timed")] = 30,
    training: Annotated[
        bool, typer.Option("--training", help="also train real adapters, a fixed small job; about half a minute")
    ] = False,
    engine: Annotated[str, typer.Option(help="with --training: inline, pool or ray")] = "pool",
    workers: Annotated[int, typer.Option(min=0, help="with --training: worker processes; 0: one a core")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Time emulated rounds: without a model, and with --training on one of the engines.

    The fleet without a model runs on one core in this process. Nothing that other work on the machine takes away is
    corrected for: measure on an idle one, and twice.
    """
    with json_on_stdout(as_json) as write:
        from dataclasses import asdict

        from tacit_simulations.evaluation import speed

        fleet = speed.measure_fleet(devices, cohort, rounds)
        trained = speed.measure_training(engine, workers) if training else None
        machine = speed.machine()
        write({"machine": machine, "fleet": asdict(fleet), "training": asdict(trained) if trained else None})
    if not as_json:
        _show(machine, fleet, trained)


@app.command()
def pii(
    file: Annotated[
        Path | None,
        typer.Argument(help='JSON lines {"id", "text"} with "spans" or "units"; - is stdin; without: the public sets'),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(envvar="TACIT_DATA", help="without FILE: folder above the public sets")
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="redaction policy, TOML; without: the default one")] = None,
    recogniser: Annotated[
        Path | None,
        typer.Option(help="folder of a recogniser in place of the one that ships: model.onnx, tokenizer.json"),
    ] = None,
    curve: Annotated[bool, typer.Option("--curve", help="also every figure over ten thresholds of detection")] = False,
    peers: Annotated[
        bool,
        typer.Option("--peers", help="also Presidio on the same texts, and for units the crudest rule and the ideal"),
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="only the first texts of each set, so many")] = None,
    as_json: JsonOption = False,
) -> None:
    """Score redaction: spans found, units that leak, characters masked, the way back.

    A row of FILE is {"id", "text"} with "spans", [{"start", "end", "type"}] in code points, or "units", strings that
    must not leave, or both. Exit code 1 where a redacted text does not come back as it was.
    """
    with json_on_stdout(as_json) as write:
        from tacit_simulations.commands import _bench_pii

        found = _bench_pii.measure(file, data, policy, recogniser, curve, peers, limit)
        write(found)
    if not as_json:
        _bench_pii.show(found)
    if not _bench_pii.all_came_back(found):
        raise typer.Exit(1)


def _show(machine: dict[str, Any], fleet: "FleetSpeed", trained: "TrainingSpeed | None") -> None:
    from rich.console import Console
    from rich.table import Table

    where = f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, NumPy {machine['numpy']}"
    table = Table(title="Simulation speed", caption=where, show_header=False, min_width=60)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("fleet without a model", f"{fleet.devices:,} devices, {fleet.rounds} rounds of {fleet.cohort:,}")
    table.add_row("device completions", f"{fleet.completions_per_second:,.0f} /s")
    table.add_row("devices asked", f"{fleet.tasks_per_second:,.0f} /s")
    table.add_row("a round", f"{1e3 * fleet.seconds_per_round:,.2f} ms")
    table.add_row(f"a dispatch to {fleet.cohort:,}", f"{1e3 * fleet.dispatch_seconds:,.2f} ms")
    table.add_row("to draw the population", f"{1e3 * fleet.seconds_to_draw_population:,.0f} ms")
    table.add_row("lost devices", f"{100 * fleet.lost_share:.1f}%")
    table.add_row("virtual time of a round", f"{fleet.virtual_seconds_per_round:,.0f} s")
    table.add_row("peak memory", f"{fleet.peak_rss_bytes / 1e6:,.0f} MB", end_section=True)
    if trained is not None:
        processes = f"{trained.engine}, {trained.workers} worker{'s' if trained.workers != 1 else ''}"
        table.add_row("training", processes)
        table.add_row("client trainings", f"{trained.trainings_per_second:,.1f} /s")
    console = Console()
    console.print(table)
    if trained is not None:
        console.print(f"A training: {trained.work}. Rounds of {trained.cohort}.", highlight=False)
