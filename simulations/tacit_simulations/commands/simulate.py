"""Run a scenario over an emulated fleet and write its report."""

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from tacit_privacy.cli import JsonOption, json_on_stdout
from tacit_privacy.errors import BadInput

app = typer.Typer(help="Run a scenario over an emulated fleet and write its report.")


@app.command()
def simulate(
    scenario: Annotated[str, typer.Argument(help="a shipped scenario's name, or a TOML file of your own")] = "home",
    devices: Annotated[int | None, typer.Option(min=1, help="fleet.devices")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="federation.rounds")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="names every random stream of the run")] = None,
    engine: Annotated[str | None, typer.Option(help="inline, pool or ray; the result is the same")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="worker processes; the result is the same")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="key.sub=value, as often as you like")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on where a killed run in --out stopped")] = False,
    out: Annotated[Path | None, typer.Option(help="folder to write; default runs/SCENARIO-N")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a scenario over an emulated fleet and write its report."""
    named = {
        "fleet.devices": devices,
        "federation.rounds": rounds,
        "seed": seed,
        "runtime.engine": engine,
        "runtime.workers": workers,
    }
    overrides = [f"{key}={json.dumps(value)}" for key, value in named.items() if value is not None]
    if resume and out is None:
        raise BadInput("--resume needs --out, the folder of the run to go on with")
    with json_on_stdout(as_json) as write:
        from tacit_simulations.scenario import load_scenario

        loaded = load_scenario(scenario, [*overrides, *(settings or [])])
        folder = out or _next_folder(loaded.name)

        from tacit_simulations.progress import RichProgress
        from tacit_simulations.run import simulate as run

        try:
            with RichProgress(loaded.name) as progress:
                result = run(loaded, folder, resume, progress)
        except KeyboardInterrupt:
            if loaded.mode == "train" and (folder / "state").is_dir():
                typer.echo(f"The same command with --resume --out {folder} goes on from here.", err=True)
            raise
        write(result)
    if not as_json:
        _tell(result, folder)


def _next_folder(name: str) -> Path:
    """A folder below ``runs`` that is not there yet, whatever a scenario calls itself."""
    plain = re.sub(r"[^\w.-]+", "-", name).strip(".-") or "run"
    number = 1
    while (folder := Path("runs") / f"{plain}-{number}").exists():
        number += 1
    return folder


def _tell(result: dict[str, object], folder: Path) -> None:
    from tacit_simulations.summary import summary

    for line in summary(result):
        typer.echo(line)
    typer.echo(f"Report: {folder / 'report.html'}")
