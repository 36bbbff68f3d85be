"""A federation server for real devices: make it, put it up, and run it."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tacit_privacy.cli import JsonOption, json_on_stdout
from tacit_privacy.errors import BadInput
from tacit_server.commands import _backups, _devices, _rotate, _runs, _tokens, _users
from tacit_server.commands._opened import DirOption, opened

if TYPE_CHECKING:
    from tacit_server.deployment.database import ServerDatabase
    from tacit_server.deployment.directory import ServerDirectory

app = typer.Typer(help="A federation server for real devices: make it, put it up, and run it.", no_args_is_help=True)
app.add_typer(_tokens.app, name="token")
app.add_typer(_devices.app, name="device")
app.add_typer(_runs.app, name="run")
app.add_typer(_users.app, name="user")
app.add_typer(_rotate.app, name="rotate")
_backups.register(app)


@app.command(help="Make a server's directory: settings, certificate authority, keys and database.")
def init(
    directory: DirOption = Path("tacit-server"),
    name: Annotated[
        list[str] | None, typer.Option(help="host name or address that devices reach it by; repeat it")
    ] = None,
    port: Annotated[int, typer.Option(help="the one port: enrolment, fleet and console", min=1, max=65535)] = 8443,
    host: Annotated[
        str, typer.Option(help="address to listen on; default: loopback, or all where a --name is given")
    ] = "",
    devices: Annotated[int, typer.Option(help="devices that are planned for; delta follows from it", min=1)] = 100,
    model: Annotated[str, typer.Option(help="model that devices adapt: a name, or a Hugging Face id")] = "tacit-nano",
    epsilon: Annotated[float, typer.Option(help="what all runs together may spend")] = 8.0,
    participations: Annotated[int, typer.Option(help="releases that one device may contribute to, ever", min=1)] = 20,
    database: Annotated[
        str, typer.Option(help="postgresql://user@host/name; default: SQLite in the directory", metavar="URL")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    names = list(name or ["localhost"])
    listen = host or ("0.0.0.0" if name else "127.0.0.1")
    settings: dict[str, Any] = {
        **({"database": database} if database else {}),
        "listen": {"names": names, "host": listen, "port": port},
        "fleet": {"devices": devices, "model": model},
        "adapter": {"rank": 4, "alpha": 8.0, "targets": ["o_proj", "down_proj"]} if model == "tacit-nano" else {},
        "privacy": {"epsilon": epsilon, "clip_norm": 0.5, "participations": participations},
        "federation": {"rounds": 10, "cohort": min(devices, 8), "deadline_s": 1800.0, "minimum_share": 0.5},
        "training": {"optimizer": "sgd", "learning_rate": 1.0},
    }
    with json_on_stdout(as_json) as write:
        from tacit_server.deployment.database import ServerDatabase
        from tacit_server.deployment.directory import ServerDirectory

        made = ServerDirectory.create(directory, {key: table for key, table in settings.items() if table != {}})
        try:
            ServerDatabase(made.database_url).close()
        except BaseException:  # nothing is left half made
            shutil.rmtree(made.path)
            raise
        told = {"directory": str(directory), "address": f"https://{names[0]}:{port}", "fingerprint": made.fingerprint}
        write(told)
    if not as_json:
        where = "" if directory == Path("tacit-server") else f" --dir {directory}"
        typer.echo(f"made {directory}: settings in server.toml, keys readable by you alone")
        typer.echo(f"its authority's fingerprint, for devices without a token and for browsers: {made.fingerprint}")
        typer.echo(f"  tacit server user add NAME{where}     somebody for the console at {told['address']}")
        typer.echo(f"  tacit server up{where}                put it up")
        typer.echo(f"  tacit server token new{where}         a token that one device enrols with")
        typer.echo(f"  tacit server run schedule NAME{where} let the fleet learn")


@app.command(
    help="Put the server up: SuperLink, devices' interface, console and the coordinators of runs. Ctrl+C ends."
)
def up(directory: DirOption = Path("tacit-server"), as_json: JsonOption = False) -> None:
    from tacit_privacy.logs import configure
    from tacit_server.deployment import promise
    from tacit_server.deployment.rotation import check_whole
    from tacit_server.deployment.supervisor import Supervisor

    with json_on_stdout(as_json) as write, opened(directory) as (server, database):
        check_whole(server)
        with database.begin() as session:
            promise.check(session, server.settings)
        configure("server")
        listen = server.settings.listen
        told = {"address": f"https://{listen.names[0]}:{listen.port}", "directory": str(directory)}
        Supervisor(server, database, lambda: write(told)).run()


@app.command(help="How the server is: devices, runs, budget and certificate.")
def status(directory: DirOption = Path("tacit-server"), as_json: JsonOption = False) -> None:
    with json_on_stdout(as_json) as write, opened(directory) as (server, database):
        from tacit_server.deployment import backup, certificates, promise
        from tacit_server.deployment import status as told

        with database.begin() as session:
            found = {"last_backup": backup.last(session), **told.whole(session)}
            promised = promise.promised(session) or {"privacy.epsilon": server.settings.privacy.epsilon}
        restored = backup.restoration(server)
        expires = certificates.expires(server.certificate)
        found = {
            "up": server.is_held,
            "address": f"https://{server.settings.listen.names[0]}:{server.settings.listen.port}",
            "fingerprint": server.fingerprint,
            "certificate_expires": expires.date().isoformat(),
            "epsilon_cap": promised["privacy.epsilon"],
            "restored": restored.model_dump() if restored is not None else None,
            **found,
        }
        write(found)
    if not as_json:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    admitted = [device for device in found["devices"] if device["state"] == "admitted"]
    online = sum(device["online"] for device in admitted)
    spent = found["epsilon"]
    typer.echo(
        f"{'up' if found['up'] else 'down'}: {found['address']}, certificate until {found['certificate_expires']}"
    )
    typer.echo(f"fingerprint of its authority: {found['fingerprint']}")
    there = f"{online} online, " if found["up"] else ""
    typer.echo(f"devices: {len(admitted)} admitted, {there}{len(found['applicants'])} waiting for approval")
    typer.echo(f"budget: epsilon {0 if spent is None else spent:.4g} of {found['epsilon_cap']:g} spent")
    if found["restored"] is not None:
        when = f"{datetime.fromtimestamp(found['restored']['time'], UTC):%Y-%m-%d %H:%M} UTC"
        typer.echo(f"restored from a backup at {when}, whose ledger had {found['restored']['entries']} entries")
    for run in found["runs"]:
        typer.echo(_runs.line(run))
    if not found["runs"]:
        typer.echo("no run yet: tacit server run schedule NAME")


@app.command(help="Write the ledger, its key and the receipts, for anybody to verify with tacit audit.")
def export(
    out: Annotated[Path, typer.Option(help="folder to write to", metavar="DIR")],
    directory: DirOption = Path("tacit-server"),
    as_json: JsonOption = False,
) -> None:
    with json_on_stdout(as_json) as write, opened(directory) as (_, database):
        from sqlalchemy import select

        from tacit_privacy.ledger.tables import LedgerRow
        from tacit_privacy.ledger.transfer import export as write_ledger
        from tacit_privacy.ledger.transfer import is_sealed

        with database.begin() as session:
            if session.scalar(select(LedgerRow.position).limit(1)) is None:
                raise BadInput("there is no ledger yet; the first run begins it")
            out.mkdir(parents=True, exist_ok=True)
            files = write_ledger(session, out, receipts=not is_sealed(session))
        write({"files": [str(file) for file in files]})
    if not as_json:
        typer.echo(f"wrote {', '.join(file.name for file in files)} to {out}")
        typer.echo(f"  tacit audit verify {out / 'ledger.jsonl'} --key {out / 'ledger.pub'}")


@app.command(
    help="After the server was put back to an older copy: see which devices noticed, and own up to what was lost."
)
def resolve(
    directory: DirOption = Path("tacit-server"),
    entries: Annotated[
        int | None, typer.Option(help="own up to a ledger of so many entries; default: only list who saw what", min=1)
    ] = None,
    nothing: Annotated[
        bool, typer.Option("--nothing", help="say that the restore lost nothing, though devices have not reported")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    if nothing and entries is not None:
        raise BadInput("--entries and --nothing exclude each other; choose one")
    with json_on_stdout(as_json) as write, opened(directory) as (server, database):
        from tacit_server.deployment import backup, resolving

        charged = None if entries is None else _own_up(server, database, entries)
        restored = backup.restoration(server)
        with database.begin() as session:
            seen = resolving.witnesses(session)
            silent = [] if restored is None or restored.settled else resolving.unheard(session, restored)
        likely, bear_out = resolving.suggestion(seen)
        if nothing and likely:
            raise BadInput(f"{len(seen)} devices say that they saw more than there is; own up with --entries")
        if nothing or charged is not None:
            backup.settle(server)
            silent = []
        told = [{"device": one.identity, "entries": one.length, "possible": one.possible} for one in seen]
        write({"charged": charged, "witnesses": told, "unheard": silent, "suggested": likely, "suggested_by": bear_out})
    if as_json:
        return
    if silent:
        typer.echo(f"{len(silent)} devices have not reported since the restore: {', '.join(silent[:10])}")
        typer.echo("runs wait for them; tacit server resolve --nothing lets runs go on without")
    if charged is not None:
        typer.echo(f"owned up to {entries} entries: {charged} releases are charged to every device")
    for one in seen:
        doubt = "" if one.possible else ", which is more than this server can have written: no run waits for it"
        typer.echo(f"{one.identity} says that it saw a ledger of {one.length} entries that is not here{doubt}")
    if not seen:
        typer.echo("no device has seen more of the ledger than there is")
    elif charged is None and likely:
        _suggest(likely, bear_out)


def _suggest(entries: int, devices: int) -> None:
    if devices == 1:
        typer.echo("one device alone says so, and may lie: what is owned up to costs every device; look at it first")
    else:
        typer.echo(f"{devices} devices saw {entries} entries or more; what one alone says beyond that may be a lie")
    typer.echo(f"end tacit server up, then: tacit server resolve --entries {entries}", err=True)


def _own_up(server: "ServerDirectory", database: "ServerDatabase", entries: int) -> int:
    import time

    from tacit_privacy.ledger.chain import Ledger
    from tacit_privacy.ledger.keys import SigningKey
    from tacit_server.deployment import audit, resolving

    with server.held(), database.begin() as session:
        ledger = Ledger(SigningKey.load(server.signing_key).sign, time.time)
        return resolving.resolve(session, audit.COMMAND_LINE, ledger, entries)
