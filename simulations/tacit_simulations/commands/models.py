"""List the models that ship, or train them anew."""

from pathlib import Path
from typing import Annotated

import typer

from tacit_privacy.cli import JsonOption, json_on_stdout
from tacit_privacy.errors import BadInput
from tacit_simulations.commands._options import finite

_MODELS = ("tacit-nano", "pair-small", "pair-large")

app = typer.Typer(help="List the models that ship, or train them anew.", no_args_is_help=True)


@app.command("list")
def list_models(as_json: JsonOption = False) -> None:
    """Name, parameters, size, licence and place of every model that ships."""
    with json_on_stdout(as_json) as write:
        from tacit_simulations.commands import _nano, _recogniser

        rows = [_nano.facts(), _recogniser.facts()]
        write({"models": rows})
    if as_json:
        return
    for row in rows:
        size = f"{row['parameters'] / 1e6:.2f}M parameters, {row['bytes'] / 1e6:.1f} MB"
        typer.echo(f"{row['name']}: {size}, {row['licence']}\n  {row['path']}")


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="folder to write; weights, tokenizer and checkpoint")],
    model: Annotated[
        str,
        typer.Option(help="tacit-nano, or one of the live pair that modes are measured with: pair-small, pair-large"),
    ] = "tacit-nano",
    steps: Annotated[
        int | None, typer.Option(min=1, help="steps of 4,096 tokens; without: 2,500, and 900 and 2,550 for the pair")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(envvar="TACIT_DATA", help="folder with the open sets; without: generated text alone")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="processor threads; more change the last bits")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="go on from the checkpoint in --out")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train tacit-nano from nothing, or a model of the live pair; seeded and resumable.

    tacit-nano gets a tokenizer of its own; the pair has tacit-nano's, reads no file, and leaves --data aside.
    """
    with json_on_stdout(as_json) as write:
        if model not in _MODELS:
            raise BadInput(f"no model {model} is made here; choose {', '.join(_MODELS)}")
        if not resume and out.is_dir() and any(out.iterdir()):
            raise BadInput(f"{out} is not an empty folder; choose another --out, or --resume to go on there")
        if model == "tacit-nano":
            from tacit_simulations.pretraining.train import STEPS, Size
            from tacit_simulations.pretraining.train import train as run

            steps = steps or STEPS
            run(out, steps, data, resume, Size(), threads, _tell)
        else:
            from tacit_simulations.pretraining.pair import STEPS as PAIR_STEPS
            from tacit_simulations.pretraining.pair import Which, train_pair

            which: Which = "small" if model == "pair-small" else "large"
            steps = steps or PAIR_STEPS[which]
            train_pair(out, which, steps, resume, threads, _tell)
        write({"path": str(out), "steps": steps})
    if not as_json:
        typer.echo(f"Trained: {out}")


def _tell(line: str) -> None:
    typer.echo(line, err=True)


@app.command("train-recogniser")
def train_recogniser(
    out: Annotated[Path, typer.Option(help="folder to write; graph, tokenizer, card and checkpoint")],
    encoder: Annotated[Path, typer.Option(help="folder with all-MiniLM-L6-v2 or another uncased BERT")],
    epochs: Annotated[int, typer.Option(min=1, help="times that every example is read")] = 5,
    data: Annotated[
        Path | None,
        typer.Option(envvar="TACIT_DATA", help="folder with the open sets; without: written documents alone"),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="processor threads; more change the last bits")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="go on from the checkpoint in --out")] = False,
    as_json: JsonOption = False,
) -> None:
    """Fine-tune the recogniser of personal information and write it in eight bits; seeded and resumable."""
    with json_on_stdout(as_json) as write:
        if not resume and out.is_dir() and any(out.iterdir()):
            raise BadInput(f"{out} is not an empty folder; choose another --out, or --resume to go on there")
        from tacit_simulations.pretraining.recogniser.train import train as run

        run(out, encoder, data, epochs, threads, resume, _tell)
        write({"path": str(out), "epochs": epochs})
    if not as_json:
        typer.echo(f"Trained: {out}")


@app.command("train-router")
def train_router(
    data: Annotated[Path, typer.Option(help='JSON lines {"id", "prompt", "slm", "llm"}: 0 or 1, was the answer right')],
    out: Annotated[Path, typer.Option(help="file to write; it holds hashed words of the prompts")],
    target_rate: Annotated[
        float, typer.Option(min=0, max=1, callback=finite, help="share of prompts to escalate")
    ] = 0.5,
    risk: Annotated[
        float | None,
        typer.Option(
            callback=finite, help="in place of the rate: keep P(answered locally, small wrong, large right) below this"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="of folds and of what is kept aside")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Train the router of a device on recorded answers and write it as one JSON file."""
    with json_on_stdout(as_json) as write:
        from tacit_simulations.commands import _bench_routing

        found = _bench_routing.train_router(data, out, target_rate, risk, seed)
        write(found)
    if not as_json:
        typer.echo(f"Trained on {found['examples']:,} rows, escalating {found['escalates']:.1%} of them: {out}")
