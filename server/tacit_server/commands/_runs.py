"""Runs of the fleet: plan, pause, resume and stop them."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from tacit_privacy.cli import JsonOption, json_on_stdout
from tacit_privacy.errors import BadInput
from tacit_server.commands._opened import DirOption, opened

app = typer.Typer(help="Runs of the fleet: plan, pause, resume and stop them.", no_args_is_help=True)

RunArgument = Annotated[str, typer.Argument(help="the run's name", metavar="NAME")]
HERE = Path("tacit-server")


@app.command(help="Plan a run. It begins at once, or once the run before it has ended.")
def schedule(
    name: RunArgument,
    directory: DirOption = HERE,
    rounds: Annotated[int | None, typer.Option(help="rounds; default: as server.toml says", min=1)] = None,
    cohort: Annotated[int | None, typer.Option(help="updates that a round waits for", min=1)] = None,
    epsilon: Annotated[float | None, typer.Option(help="what of the server's budget it may spend")] = None,
    at: Annotated[
        datetime | None, typer.Option(help="not before this local time", formats=["%Y-%m-%dT%H:%M", "%Y-%m-%d"])
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="any setting of a run, as key=value; repeat it", metavar="KEY=VALUE"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    asked = {"federation.rounds": rounds, "federation.cohort": cohort, "privacy.epsilon": epsilon}
    told = {key: value for key, value in asked.items() if value is not None} | dict(map(_change, changes or []))
    with json_on_stdout(as_json) as write, opened(directory) as (server, database):
        from tacit_server.deployment import audit, promise, runs, status
        from tacit_server.deployment.settings import RunSettings

        with database.begin() as session:
            promise.check(session, server.settings)
        settings = RunSettings.planned(server.settings, told)
        settings.check_affordable(server.settings)
        with database.begin() as session:
            row = runs.schedule(
                session, audit.COMMAND_LINE, name, settings, starts=at.timestamp() if at is not None else None
            )
            found = status.shown_run(session, row)
        write(found)
    if not as_json:
        typer.echo(line(found))


def _change(text: str) -> tuple[str, Any]:
    """``key=value``, the value read as JSON where it is some."""
    key, equals, value = text.partition("=")
    if not equals:
        raise BadInput(f"--set {text} is not of the form key=value")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


@app.command("list", help="All runs, the oldest first.")
def list_runs(directory: DirOption = HERE, as_json: JsonOption = False) -> None:
    with json_on_stdout(as_json) as write, opened(directory) as (_, database):
        from tacit_server.deployment import runs, status

        with database.begin() as session:
            found = [status.shown_run(session, row) for row in runs.listed(session)]
        write({"runs": found})
    if not as_json:
        for run in found:
            typer.echo(line(run))
        if not found:
            typer.echo("no run yet: tacit server run schedule NAME")


@app.command(help="Let a run rest once its round is over.")
def pause(name: RunArgument, directory: DirOption = HERE, as_json: JsonOption = False) -> None:
    _want("pause", name, directory, as_json)


@app.command(help="Let a paused or failed run go on.")
def resume(name: RunArgument, directory: DirOption = HERE, as_json: JsonOption = False) -> None:
    _want("resume", name, directory, as_json)


@app.command(help="End a run for good once its round is over; what it has learnt stays.")
def stop(name: RunArgument, directory: DirOption = HERE, as_json: JsonOption = False) -> None:
    _want("stop", name, directory, as_json)


def _want(what: str, name: str, directory: Path, as_json: bool) -> None:
    with json_on_stdout(as_json) as write, opened(directory) as (_, database):
        from tacit_server.deployment import audit, runs, status

        with database.begin() as session:
            row = getattr(runs, what)(session, audit.COMMAND_LINE, name)
            found = status.shown_run(session, row)
        write(found)
    if not as_json:
        typer.echo(line(found))


def line(run: dict[str, Any]) -> str:
    """A run on one line."""
    coming = f", {run['coming']}" if run["coming"] else ""
    spent = f", epsilon {run['epsilon']:.4g}" if run["epsilon"] is not None else ""
    why = f" ({run['reason']})" if run["reason"] else ""
    return f"{run['name']}: {run['state']}{coming}, {run['rounds']} of {run['planned']} rounds{spent}{why}"
