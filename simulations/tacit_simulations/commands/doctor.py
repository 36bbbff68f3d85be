"""Tell what is installed, what is missing, and what to type."""

from typing import TYPE_CHECKING, Annotated

import typer

from tacit_privacy.cli import FAILED, JsonOption, json_on_stdout

if TYPE_CHECKING:
    from tacit_simulations.commands._checkup import Finding

app = typer.Typer(help=__doc__)

MARKS = {"ok": ("ok", "green"), "missing": ("MISSING", "red"), "absent": ("absent", "yellow"), "info": ("", None)}


@app.command()
def doctor(
    deep: Annotated[bool, typer.Option("--deep", help="import libraries and run the shipped model; slower")] = False,
    as_json: JsonOption = False,
) -> None:
    """Look at this machine and this installation.

    Exit code 1 when something that Tacit cannot do without is missing or out of range. Without --deep nothing
    heavy is imported and nothing outside the machine is asked.
    """
    with json_on_stdout(as_json) as write:
        from tacit_simulations.commands._checkup import examine

        findings = examine(deep=deep)
        wanting = [finding for finding in findings if finding.state == "missing"]
        write({"ok": not wanting, "findings": [finding.as_row() for finding in findings]})
    if not as_json:
        _show(findings)
    if wanting:
        typer.echo(f"tacit: {len(wanting)} of {len(findings)} checks failed; type what stands beside them", err=True)
        raise typer.Exit(FAILED)
    if not as_json:
        typer.echo("everything that is needed is here")


def _show(findings: "list[Finding]") -> None:
    section = ""
    for finding in findings:
        if finding.section != section:
            section = finding.section
            typer.secho(section, bold=True)
        word, colour = MARKS[finding.state]
        remedy = f"  -> {finding.remedy}" if finding.remedy else ""
        typer.echo(f"  {finding.name:<22}{typer.style(f'{word:<9}', fg=colour)}{finding.detail}{remedy}")
