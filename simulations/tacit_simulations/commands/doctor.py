"""Tell what is installed, what is missing, and what to type."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tacit_privacy.cli import FAILED, JsonOption, json_on_stdout

if TYPE_CHECKING:
    from tacit_simulations.commands._findings import Finding

app = typer.Typer(help=__doc__)

MARKS = {
    "ok": ("ok", "green"),
    "missing": ("MISSING", "red"),
    "broken": ("BROKEN", "red"),
    "warning": ("warning", "yellow"),
    "absent": ("absent", "yellow"),
    "info": ("", None),
}


@app.command()
def doctor(
    deep: Annotated[bool, typer.Option("--deep", help="import libraries and run the shipped model; slower")] = False,
    server: Annotated[
        Path | None, typer.Option(help="look at this server's directory instead, and at what runs there", metavar="DIR")
    ] = None,
    device: Annotated[
        Path | None, typer.Option(help="look at this device's directory instead, and at its server", metavar="DIR")
    ] = None,
    store_key: Annotated[
        str, typer.Option(help="of a device: key of its sealed store, as for tacit device run")
    ] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Look at this machine and this installation, or at a server or a device that was put up here.

    Exit code 1 when something that Tacit cannot do without is missing, out of range or broken. Without --deep,
    --server and --device nothing heavy is imported and nothing outside the machine is asked.
    """
    with json_on_stdout(as_json) as write:
        from tacit_simulations.commands._findings import FAILING

        findings = _examined(deep, server, device, store_key)
        wanting = [finding for finding in findings if finding.state in FAILING]
        write({"ok": not wanting, "findings": [finding.as_row() for finding in findings]})
    if not as_json:
        _show(findings)
    if wanting:
        typer.echo(f"tacit: {len(wanting)} of {len(findings)} checks failed; type what stands beside them", err=True)
        raise typer.Exit(FAILED)
    if not as_json:
        typer.echo("everything that is needed is here")


def _examined(deep: bool, server: Path | None, device: Path | None, store_key: str) -> "list[Finding]":
    if server is None and device is None:
        from tacit_simulations.commands import _checkup

        return _checkup.examine(deep=deep)
    from tacit_simulations.commands import _device_checkup, _server_checkup

    found = [] if server is None else _server_checkup.examine(server)
    return found if device is None else [*found, *_device_checkup.examine(device, store_key)]


def _show(findings: "list[Finding]") -> None:
    section = ""
    for finding in findings:
        if finding.section != section:
            section = finding.section
            typer.secho(section, bold=True)
        word, colour = MARKS[finding.state]
        remedy = f"  -> {finding.remedy}" if finding.remedy else ""
        typer.echo(f"  {finding.name:<22}{typer.style(f'{word:<9}', fg=colour)}{finding.detail}{remedy}")
