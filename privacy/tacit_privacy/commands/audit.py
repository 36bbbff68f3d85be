"""Verify the ledger of a run, offline; measure epsilon from below; keep ledgers and their keys."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tacit_privacy.cli import FAILED, JsonOption, json_on_stdout
from tacit_privacy.commands import _keeping
from tacit_privacy.commands._canary import canary
from tacit_privacy.commands._selftest import selftest
from tacit_privacy.errors import BadInput
from tacit_privacy.wording import rounded_up

if TYPE_CHECKING:
    from tacit_privacy.ledger.verify import Verification

_HEX = r"[0-9a-fA-F]{64}"
_STDIN = Path("-")
_MOST = 20  # problems that are printed one by one

app = typer.Typer(
    help="Verify the ledger of a run, offline; measure epsilon from below; keep ledgers and their keys.",
    no_args_is_help=True,
)
_keeping.register(app)


@app.callback()
def main() -> None:
    """Verify the ledger of a run, offline; measure epsilon from below; keep ledgers and their keys."""


@app.command()
def verify(
    ledger: Annotated[Path, typer.Argument(help="ledger.jsonl of a run; - reads stdin")],
    key: Annotated[Path, typer.Option(help="file with the public key, 64 hexadecimal digits")],
    witness: Annotated[str | None, typer.Option(help="a head seen earlier: finds rollback and fork")] = None,
    receipts: Annotated[
        bool, typer.Option("--receipts", help="check every device's receipt, in receipts.jsonl beside the ledger")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Replay a ledger: check every link and signature, recompute epsilon, and name every problem.

    Exit code 1 when there is a problem, 2 when a file cannot be read.
    """
    with json_on_stdout(as_json) as write:
        from tacit_privacy.ledger.verify import verify as replay

        told = _lines(_beside(ledger)) if receipts else None
        found = replay(_lines(ledger), public_key(key), _head(witness), told)
        write(found.as_json())
    if not as_json:
        _tell(ledger, found)
    if not found.ok:
        raise typer.Exit(FAILED)


def _tell(ledger: Path, found: "Verification") -> None:
    verdict = "verifies" if found.ok else "does NOT verify"
    typer.echo(f"{'stdin' if ledger == _STDIN else ledger} {verdict}: {found.state}, {found.entries} entries")
    typer.echo(f"head {found.head}")
    if found.delta:  # the policy could be read
        trust = "" if found.ok else "; as far as it could be read, and not to be relied on"
        spent = f"epsilon {rounded_up(found.epsilon)} at delta {found.delta:g}"
        if found.lifetime_epsilon is not None:
            spent += f" in the period that spent most, {rounded_up(found.lifetime_epsilon)} in all of them"
        typer.echo(f"{spent}, noise source: {found.noise_source}{trust}")
    if found.histogram is not None:
        often = ", ".join(f"{devices} devices {times} x" for times, devices in sorted(found.histogram.items()))
        typer.echo(f"{found.receipts} receipts: {often or 'nobody took part'}")
    if found.ok and found.state == "open":
        typer.echo(
            "Not closed: the run still goes on, was stopped, or its last entries were cut off; "
            "--witness with a head noted earlier shows a cut."
        )
    if found.noise_source == "seeded":
        typer.echo("The noise came from a seed: this was a simulation and protects nobody.")
    for problem in found.problems[:_MOST]:
        place = "" if problem.kind in ("empty", "witness") else f"entry {problem.index}: "
        typer.echo(f"  {place}{problem.kind}: {problem.detail}")
    if len(found.problems) > _MOST:
        typer.echo(f"  and {len(found.problems) - _MOST} more; --json lists them all")


def _head(witness: str | None) -> str | None:
    if witness is not None and not re.fullmatch(_HEX, witness):
        raise BadInput("--witness is not a head of 64 hexadecimal digits; give one that an earlier check printed")
    return witness.lower() if witness else None


def public_key(path: Path) -> str:
    """The public key in a file. Raises BadInput."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    if not re.fullmatch(_HEX, text):
        raise BadInput(f"{path} does not hold a public key of 64 hexadecimal digits; give the run's ledger.pub")
    return text.lower()


def _beside(ledger: Path) -> Path:
    if ledger == _STDIN:
        raise BadInput("--receipts reads receipts.jsonl beside the ledger; name the ledger's file instead of -")
    path = ledger.with_name("receipts.jsonl")
    if not path.is_file():
        raise BadInput(f"there is no {path}; a run whose roster is sealed keeps its receipts to itself")
    return path


def _lines(path: Path) -> Iterator[str]:
    """One entry at a time: a ledger of any length is never held whole."""
    try:
        if path == _STDIN:
            yield from sys.stdin
            return
        with path.open(encoding="utf-8") as file:
            yield from file
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError | UnicodeDecodeError) -> BadInput:
    why = (error.strerror or "it cannot be opened").lower() if isinstance(error, OSError) else "it is not UTF-8 text"
    return BadInput(f"cannot read {path}: {why}; name the ledger.jsonl and ledger.pub that a run left")


app.command()(canary)
app.command()(selftest)
