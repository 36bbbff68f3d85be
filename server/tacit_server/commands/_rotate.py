"""New keys for a server that its devices go on trusting."""

from pathlib import Path

import typer

from tacit_privacy.cli import JsonOption, json_on_stdout
from tacit_server.commands._opened import DirOption, opened

app = typer.Typer(help="New keys for a server that its devices go on trusting.", no_args_is_help=True)
HERE = Path("tacit-server")


@app.command(help="A new certificate by the same authority, for the names in server.toml. Devices go on as before.")
def certificate(directory: DirOption = HERE, as_json: JsonOption = False) -> None:
    with json_on_stdout(as_json) as write, opened(directory) as (server, database):
        from tacit_server.deployment.rotation import rotate_certificate

        ends, up = rotate_certificate(server, database), server.is_held
        write({"certificate_expires": ends.date().isoformat(), "restart_needed": up})
    if not as_json:
        typer.echo(f"made a certificate until {ends.date().isoformat()}")
        if up:
            typer.echo("  the running server shows the old one until you end it and type tacit server up again")


@app.command(help="A new signing key. The ledger says that it takes over, devices follow; the old one is destroyed.")
def key(directory: DirOption = HERE, as_json: JsonOption = False) -> None:
    with json_on_stdout(as_json) as write, opened(directory) as (server, database):
        from tacit_server.deployment.rotation import rotate_key

        told = rotate_key(server, database)
        write({"before": told.old, "now": told.new, "entries": told.entries})
    if not as_json:
        where = f"from entry {told.entries} on" if told.entries else "from the first entry on"
        typer.echo(f"{where} the ledger is signed by {told.new}; the old key is destroyed")
        typer.echo("  make a backup now: one from before this has a key that devices will not trust any more")
