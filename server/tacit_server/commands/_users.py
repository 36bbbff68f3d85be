"""People who may log in to the console."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tacit_privacy.cli import JsonOption, json_on_stdout
from tacit_privacy.errors import BadInput
from tacit_server.commands._opened import DirOption, opened

app = typer.Typer(help="People who may log in to the console.", no_args_is_help=True)

PASSWORD = "TACIT_CONSOLE_PASSWORD"  # environment, where nobody sits at a terminal
UserArgument = Annotated[str, typer.Argument(help="the user's name", metavar="NAME")]
HERE = Path("tacit-server")


@app.command(help=f"Add a user. The password is asked at the terminal, or read from {PASSWORD}.")
def add(
    name: UserArgument,
    directory: DirOption = HERE,
    role: Annotated[str, typer.Option(help="operator: may change things; auditor: sees everything")] = "operator",
    as_json: JsonOption = False,
) -> None:
    with json_on_stdout(as_json) as write, opened(directory) as (_, database):
        from tacit_server.deployment import audit, people

        password = _password()
        with database.begin() as session:
            people.add_user(session, audit.COMMAND_LINE, name, role, password)
        write({"user": name, "role": role})
    if not as_json:
        typer.echo(f"added {name}, {role}")


@app.command(help="Change a user's password, which ends the user's log-ins.")
def password(name: UserArgument, directory: DirOption = HERE, as_json: JsonOption = False) -> None:
    with json_on_stdout(as_json) as write, opened(directory) as (_, database):
        from tacit_server.deployment import audit, people

        new = _password()
        with database.begin() as session:
            people.set_password(session, audit.COMMAND_LINE, name, new)
        write({"user": name})
    if not as_json:
        typer.echo(f"changed the password of {name}")


@app.command(help="Remove a user, and end the user's log-ins.")
def remove(name: UserArgument, directory: DirOption = HERE, as_json: JsonOption = False) -> None:
    with json_on_stdout(as_json) as write, opened(directory) as (_, database):
        from tacit_server.deployment import audit, people

        with database.begin() as session:
            people.remove_user(session, audit.COMMAND_LINE, name)
        write({"removed": name})
    if not as_json:
        typer.echo(f"removed {name}")


@app.command("list", help="Users and their roles.")
def list_users(directory: DirOption = HERE, as_json: JsonOption = False) -> None:
    with json_on_stdout(as_json) as write, opened(directory) as (_, database):
        from tacit_server.deployment import people

        with database.begin() as session:
            rows = [{"user": row.name, "role": row.role} for row in people.users(session)]
        write({"users": rows})
    if not as_json:
        for row in rows:
            typer.echo(f"{row['user']}  {row['role']}")
        if not rows:
            typer.echo("nobody may log in: tacit server user add NAME")


def _password() -> str:
    """From the environment, else asked twice at the terminal. Raises BadInput where there is neither."""
    found = os.environ.get(PASSWORD)
    if found is not None:
        return found
    if not sys.stdin.isatty():
        raise BadInput(f"no terminal to ask for the password; set {PASSWORD}")
    asked: str = typer.prompt("password", hide_input=True, confirmation_prompt=True, err=True)
    return asked
