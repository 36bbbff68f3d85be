"""``tacit server backup|restore``: a server as one file, and a server out of one."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from tacit_privacy.cli import JsonOption, check_stdout, json_on_stdout
from tacit_privacy.errors import BadInput
from tacit_server.commands._opened import DirOption, opened

STREAM = Path("-")


def register(app: typer.Typer) -> None:
    app.command(help="Write the server, its keys and its database to one file. It may be up meanwhile.")(backup)
    app.command(help="Make a server out of a backup, in an empty place. Its ledger is verified first.")(restore)


def backup(
    out: Annotated[
        Path, typer.Option(help="file to write; - is stdout, for a program that encrypts it", metavar="FILE")
    ],
    directory: DirOption = Path("tacit-server"),
    as_json: JsonOption = False,
) -> None:
    if out == STREAM and as_json:
        raise BadInput("a backup and a JSON document cannot both go to stdout; name a file")
    with json_on_stdout(as_json) as write, opened(directory) as (server, database):
        from tacit_server.deployment.backup import back_up

        with _target(out) as file:
            made = back_up(server, database, file)
        write({"file": str(out), "entries": made.entries, "head": made.head, "server": made.server})
    if not as_json:
        ledger = f"its ledger has {made.entries} entries" if made.entries else "it has no ledger yet"
        where = "stdout" if out == STREAM else out
        typer.echo(f"wrote the server to {where}: {ledger}; whoever has this file can be the server", err=True)


def restore(
    source: Annotated[Path, typer.Option("--from", help="the backup; - is stdin", metavar="FILE")],
    directory: Annotated[Path, typer.Option("--dir", help="where to; empty, or not there yet", metavar="DIR")],
    as_json: JsonOption = False,
) -> None:
    with json_on_stdout(as_json) as write:
        from tacit_privacy.logs import silent
        from tacit_server.deployment.backup import restore as make

        silent()
        with _source(source) as file:
            told = make(file, directory)
        write({"directory": str(directory), **told.model_dump()})
    if not as_json:
        when = f"{datetime.fromtimestamp(told.time, UTC):%Y-%m-%d %H:%M} UTC"
        typer.echo(f"restored {directory} at {when}; its ledger has {told.entries} entries and verifies")
        typer.echo("  what came after the backup is lost: devices that saw more of the ledger will say so")
        typer.echo("  its tokens are useless and its log-ins ended; revoke again whom you revoked since")
        typer.echo(f"  tacit server up --dir {directory}")


@contextmanager
def _target(out: Path) -> Iterator[BinaryIO]:
    """A file that appears whole or not at all, or stdout. Raises BadInput."""
    from tacit_server.deployment.archive import new_file

    if out == STREAM:
        check_stdout()
        if sys.stdout.isatty():
            raise BadInput("a backup is no text for a terminal; name a file, or pipe it into another program")
        yield sys.stdout.buffer
        return
    if out.exists():
        raise BadInput(f"{out} is there; name another file")
    beside = out.with_name(f".{out.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    try:
        with new_file(beside) as file:
            yield file
        beside.replace(out)
    except OSError as error:
        raise BadInput(f"cannot write {out}: {error.strerror}; name another file, or make room") from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


@contextmanager
def _source(path: Path) -> Iterator[BinaryIO]:
    if path == STREAM:
        yield sys.stdin.buffer
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}; name a file of tacit server backup") from error
    with file:
        yield file
