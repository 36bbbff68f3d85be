"""Verify the ledger of a run, offline."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tacit_privacy.cli import FAILED, JsonOption, json_on_stdout
from tacit_privacy.errors import BadInput

if TYPE_CHECKING:
    from tacit_privacy.ledger.verify import Verification

app = typer.Typer(help="Verify the ledger of a run, offline.", no_args_is_help=True)


@app.callback()
def main() -> None:
    """Verify the ledger of a run, offline."""


@app.command()
def verify(
    ledger: Annotated[Path, typer.Argument(help="ledger.jsonl of a run")],
    key: Annotated[Path, typer.Option(help="file with the public key, 64 hexadecimal digits")],
    witness: Annotated[str | None, typer.Option(help="a head seen earlier: finds rollback and fork")] = None,
    as_json: JsonOption = False,
) -> None:
    """Replay a ledger: check every link and signature, recompute epsilon, and name every problem.

    Exit code 1 when there is a problem, 2 when a file cannot be read.
    """
    with json_on_stdout(as_json) as write:
        from tacit_privacy.ledger.verify import verify as replay

        found = replay(_lines(ledger), _public_key(key), witness)
        write(found.as_json())
    if not as_json:
        _tell(ledger, found)
    if not found.ok:
        raise typer.Exit(FAILED)


def _tell(ledger: Path, found: "Verification") -> None:
    verdict = "verifies" if found.ok else "does NOT verify"
    typer.echo(f"{ledger} {verdict}: {found.state}, {found.entries} entries, head {found.head[:16]}…")
    typer.echo(f"epsilon {found.epsilon:.6g} at delta {found.delta:g}, noise source: {found.noise_source}")
    if found.noise_source == "seeded":
        typer.echo("The noise came from a seed: this was a simulation and protects nobody.")
    for problem in found.problems:
        typer.echo(f"  entry {problem.index}: {problem.kind}: {problem.detail}")


def _public_key(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise BadInput(f"{path} does not hold a public key of 64 hexadecimal digits; give the run's ledger.pub")
    return text


def _lines(path: Path) -> Iterator[str]:
    """One entry at a time: a ledger of any length is never held whole."""
    try:
        with path.open(encoding="utf-8") as file:
            yield from file
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError | UnicodeDecodeError) -> BadInput:
    why = (error.strerror or "it cannot be opened").lower() if isinstance(error, OSError) else "it is not UTF-8 text"
    return BadInput(f"cannot read {path}: {why}; name the ledger.jsonl and ledger.pub that a run left")
