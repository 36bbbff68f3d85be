"""The console of a server, read from its directory: for an auditor on this machine, or while the server is down."""

from pathlib import Path
from typing import Annotated

import typer

from tacit_privacy.cli import JsonOption, json_on_stdout
from tacit_privacy.errors import BadInput
from tacit_server.commands._opened import DirOption, opened

app = typer.Typer()


@app.command(
    help="Serve a server's console from its directory, to this machine alone, over plain HTTP on loopback: for an "
    "auditor, or while the server is down. tacit server up serves the same pages over TLS, and --where says where. "
    "People log in as there (tacit server user add), and what operators change holds for the server, up or not. "
    "Ctrl+C ends."
)
def console(
    directory: DirOption = Path("tacit-server"),
    port: Annotated[int, typer.Option(help="where to listen; 0 takes a free one", min=0, max=65535)] = 8444,
    where: Annotated[
        bool, typer.Option("--where", help="say where the running server has its console, and serve nothing")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    with json_on_stdout(as_json) as write, opened(directory) as (server, database):
        if where:
            if not server.is_held:
                raise BadInput(f"no server runs on {directory}; leave --where out to see its console here")
            listen = server.settings.listen
            address = f"https://{listen.names[0]}:{listen.port}/console"
            write({"address": address})
            if not as_json:
                typer.echo(address)
            return

        from tacit_privacy.logs import configure
        from tacit_server.web.console.alone import Alone

        configure("console")
        alone = Alone(server, database, port)
        write({"address": alone.address})
        if not as_json:
            typer.echo(f"{alone.address} (Ctrl+C ends)")
        alone.run()
