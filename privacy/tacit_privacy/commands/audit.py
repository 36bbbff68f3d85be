"""Verify the ledger of a run, offline."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Verify the ledger of a run, offline.", no_args_is_help=True)


@app.callback()
def main() -> None:
    """Verify the ledger of a run, offline."""


@app.command()
def verify(
    ledger: Annotated[Path, typer.Argument(help="ledger.jsonl of a run")],
    key: Annotated[Path, typer.Option(help="file with the public key, 64 hexadecimal digits")],
    witness: Annotated[str | None, typer.Option(help="a head seen earlier: finds rollback and fork")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False,
) -> None:
    """Replay a ledger: check every link and signature, recompute epsilon, and name every problem."""
    from tacit_privacy.ledger.verify import verify as replay

    found = replay(_lines(ledger), _read(key).strip(), witness)
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2))
    else:
        verdict = "verifies" if found.ok else "does NOT verify"
        typer.echo(f"{ledger} {verdict}: {found.state}, {found.entries} entries, head {found.head[:16]}…")
        typer.echo(f"epsilon {found.epsilon:.6g} at delta {found.delta:g}, noise source: {found.noise_source}")
        if found.noise_source == "seeded":
            typer.echo("The noise came from a seed: this was a simulation and protects nobody.")
        for problem in found.problems:
            typer.echo(f"  entry {problem.index}: {problem.kind}: {problem.detail}")
    if not found.ok:
        raise typer.Exit(1)


def _read(path: Path) -> str:
    from tacit_privacy.errors import BadInput

    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read {path}: {error}") from error


def _lines(path: Path) -> Iterator[str]:
    """One entry at a time: a ledger of any length is never held whole."""
    from tacit_privacy.errors import BadInput

    try:
        with path.open(encoding="utf-8") as file:
            yield from file
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read {path}: {error}") from error
