"""Devices of the fleet: who is in, who waits, who is out."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from tacit_privacy.cli import JsonOption, json_on_stdout
from tacit_server.commands._opened import DirOption, opened

app = typer.Typer(help="Devices of the fleet: who is in, who waits, who is out.", no_args_is_help=True)

DeviceArgument = Annotated[str, typer.Argument(help="its identity, number or name", metavar="DEVICE")]
KeyArgument = Annotated[str, typer.Argument(help="the applicant's key, or how it begins", metavar="KEY")]
HERE = Path("tacit-server")


@app.command("list", help="Devices that were admitted, and those that wait for approval.")
def list_devices(directory: DirOption = HERE, as_json: JsonOption = False) -> None:
    with json_on_stdout(as_json) as write, opened(directory) as (_, database):
        from tacit_server.deployment import status

        with database.begin() as session:
            found = status.whole(session)
        found = {"devices": found["devices"], "applicants": found["applicants"]}
        write(found)
    if not as_json:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    for row in found["devices"]:
        seen = (
            "never seen" if row["seen"] is None else f"seen {datetime.fromtimestamp(row['seen'], UTC):%Y-%m-%d %H:%M}"
        )
        typer.echo(f"{row['number']:>4}  {row['identity']}  {row['state']:<9} {seen:<22} {row['name']}")
    for row in found["applicants"]:
        typer.echo(f"      waits: {row['public_key'][:16]}  {row['name']}  (tacit server device approve KEY)")
    if not found["devices"] and not found["applicants"]:
        typer.echo("no device yet: tacit server token new")


@app.command(help="Let an applicant in.")
def approve(key: KeyArgument, directory: DirOption = HERE, as_json: JsonOption = False) -> None:
    with json_on_stdout(as_json) as write, opened(directory) as (_, database):
        from tacit_server.deployment import admission, audit

        with database.begin() as session:
            admitted = admission.approve(session, audit.COMMAND_LINE, admission.applicant_like(session, key))
        write({"identity": admitted.identity, "number": admitted.number})
    if not as_json:
        typer.echo(f"admitted {admitted.identity}; it notices within a minute")


@app.command(help="Send an applicant away.")
def reject(key: KeyArgument, directory: DirOption = HERE, as_json: JsonOption = False) -> None:
    with json_on_stdout(as_json) as write, opened(directory) as (_, database):
        from tacit_server.deployment import admission, audit

        with database.begin() as session:
            found = admission.applicant_like(session, key)
            admission.reject(session, audit.COMMAND_LINE, found)
        write({"rejected": found})
    if not as_json:
        typer.echo("rejected")


@app.command(help="Let a device take part no more. What it has contributed stays counted.")
def revoke(device: DeviceArgument, directory: DirOption = HERE, as_json: JsonOption = False) -> None:
    _change("revoke", "revoked", device, directory, as_json)


@app.command(help="Let a revoked device take part again.")
def restore(device: DeviceArgument, directory: DirOption = HERE, as_json: JsonOption = False) -> None:
    _change("restore", "restored", device, directory, as_json)


@app.command(help="Forget what is known of a device but its key and its count, so that coming back resets no budget.")
def erase(device: DeviceArgument, directory: DirOption = HERE, as_json: JsonOption = False) -> None:
    _change("erase", "erased", device, directory, as_json)


def _change(what: str, done: str, device: str, directory: Path, as_json: bool) -> None:
    with json_on_stdout(as_json) as write, opened(directory) as (_, database):
        from tacit_server.deployment import admission, audit

        with database.begin() as session:
            identity = getattr(admission, what)(session, audit.COMMAND_LINE, device).identity
        write({"identity": identity, "done": done})
    if not as_json:
        typer.echo(f"{done} {identity}")
