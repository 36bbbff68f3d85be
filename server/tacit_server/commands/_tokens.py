"""One-time tokens that devices enrol with."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from tacit_privacy.cli import JsonOption, json_on_stdout
from tacit_privacy.errors import BadInput
from tacit_server.commands._opened import DirOption, opened

app = typer.Typer(help="One-time tokens that devices enrol with.", no_args_is_help=True)


@app.command(help="Make a token and show it, this once. Whoever has it can enrol one device.")
def new(
    directory: DirOption = Path("tacit-server"),
    note: Annotated[str, typer.Option(help="what it is for; shown in lists")] = "",
    hours: Annotated[float, typer.Option(help="how long it is good for")] = 24.0,
    device: Annotated[
        str, typer.Option("--for", help="a device that lost its keys: it comes back as itself, budget and all")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    with json_on_stdout(as_json) as write, opened(directory) as (server, database):
        from tacit_server.deployment import admission, audit

        with database.begin() as session:
            token = admission.new_token(
                session, audit.COMMAND_LINE, server.fingerprint, note=note, hours=hours, device=device
            )
        listen = server.settings.listen
        address = f"https://{listen.names[0]}:{listen.port}"
        write({"token": token, "server": address, "hours": hours})
    if not as_json:
        typer.echo(token)
        typer.echo(f"on the device: tacit device enroll --server {address} --token TOKEN", err=True)


@app.command("list", help="Tokens that can still be used; the tokens themselves are kept nowhere.")
def list_tokens(directory: DirOption = Path("tacit-server"), as_json: JsonOption = False) -> None:
    with json_on_stdout(as_json) as write, opened(directory) as (_, database):
        from tacit_server.deployment import admission

        with database.begin() as session:
            rows = [
                {
                    "id": row.digest[:12],
                    "note": row.note,
                    "expires": datetime.fromtimestamp(row.expires, UTC).isoformat(timespec="minutes"),
                }
                for row in admission.open_tokens(session)
            ]
        write({"tokens": rows})
    if not as_json:
        for row in rows:
            typer.echo(f"{row['id']}  until {row['expires']}  {row['note']}")
        if not rows:
            typer.echo("no token can be used now")


@app.command(help="Make tokens useless: one by its id, or all.")
def revoke(
    token: Annotated[str, typer.Argument(help="its id, as listed; all: every one", metavar="ID")],
    directory: DirOption = Path("tacit-server"),
    as_json: JsonOption = False,
) -> None:
    with json_on_stdout(as_json) as write, opened(directory) as (_, database):
        from tacit_server.deployment import admission, audit

        with database.begin() as session:
            count = admission.revoke_tokens(session, audit.COMMAND_LINE, "" if token == "all" else token)
        if not count and token != "all":
            raise BadInput(f"no open token begins with {token}; tacit server token list shows them")
        write({"revoked": count})
    if not as_json:
        typer.echo(f"revoked {count}")
