"""List the models that ship, or train tacit-nano anew."""

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="List the models that ship, or train tacit-nano anew.", no_args_is_help=True)


@app.command("list")
def list_models(as_json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False) -> None:
    """Name, parameters, size, licence and place of every model that ships."""
    from tacit_simulations.commands._nano import facts

    rows = [facts()]
    if as_json:
        typer.echo(json.dumps({"models": rows}, indent=2))
        return
    for row in rows:
        size = f"{row['parameters'] / 1e6:.2f}M parameters, {row['bytes'] / 1e6:.1f} MB"
        typer.echo(f"{row['name']}: {size}, {row['licence']}\n  {row['path']}")


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="folder to write; weights, tokenizer and checkpoint")],
    steps: Annotated[int, typer.Option(min=1, help="steps of 4,096 tokens")] = 2500,
    data: Annotated[
        Path | None, typer.Option(envvar="TACIT_DATA", help="folder with the open sets; without: generated text alone")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="processor threads; more change the last bits")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="go on from the checkpoint in --out")] = False,
) -> None:
    """Train tacit-nano from nothing: tokenizer, then weights; seeded and resumable."""
    from tacit_simulations.pretraining.train import Size
    from tacit_simulations.pretraining.train import train as run

    run(out, steps, data, resume, Size(), threads, lambda line: typer.echo(line, err=True))
    typer.echo(f"Trained: {out}")
