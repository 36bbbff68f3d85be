"""Verify a run's ledger, offline, and report on it; measure epsilon from below; keep ledgers and their keys."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tacit_privacy.cli import FAILED, JsonOption, json_on_stdout
from tacit_privacy.commands import _keeping
from tacit_privacy.commands._canary import canary
from tacit_privacy.commands._files import STDIN, head, lines_of, public_key, receipts_beside
from tacit_privacy.commands._report import report
from tacit_privacy.commands._selftest import selftest
from tacit_privacy.wording import rounded_up

if TYPE_CHECKING:
    from tacit_privacy.ledger.verify import Verification

_MOST = 20  # problems that are printed one by one

app = typer.Typer(
    help="Verify a run's ledger, offline, and report on it; measure epsilon from below; keep ledgers and their keys.",
    no_args_is_help=True,
)
_keeping.register(app)


@app.callback()
def main() -> None:
    """Verify a run's ledger, offline, and report on it; measure epsilon from below; keep ledgers and their keys."""


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

        told = lines_of(receipts_beside(ledger)) if receipts else None
        found = replay(lines_of(ledger), public_key(key), head(witness), told)
        write(found.as_json())
    if not as_json:
        _tell(ledger, found)
    if not found.ok:
        raise typer.Exit(FAILED)


def _tell(ledger: Path, found: "Verification") -> None:
    verdict = "verifies" if found.ok else "does NOT verify"
    typer.echo(f"{'stdin' if ledger == STDIN else ledger} {verdict}: {found.state}, {found.entries} entries")
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


app.command()(canary)
app.command()(report)
app.command()(selftest)
