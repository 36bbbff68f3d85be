"""A device of a fleet: enrol it, run it, see how it is."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tacit_privacy.cli import FAILED, JsonOption, json_on_stdout
from tacit_privacy.errors import BadInput, ServerUnreachable

if TYPE_CHECKING:
    pass

app = typer.Typer(help="A device of a fleet: enrol it, run it, see how it is.", no_args_is_help=True)

TOKEN = "TACIT_ENROLMENT_TOKEN"  # environment: keeps a token out of the list of processes
DirOption = Annotated[Path, typer.Option("--dir", help="the device's directory", metavar="DIR")]
KeyOption = Annotated[
    str,
    typer.Option(
        "--store-key", help="key of the sealed store: auto, keyring, passphrase, credential, file or file:PATH"
    ),
]
HERE = Path("tacit-device")


@app.command(
    help=f"Join a fleet: make keys, pin the server, be let in by a token or by an operator. {TOKEN}: the token."
)
def enroll(
    server: Annotated[str, typer.Option(help="the server's address, https://host:port", metavar="URL")],
    token: Annotated[
        str | None, typer.Option(help="a one-time token; - reads it from stdin", metavar="TOKEN", envvar=TOKEN)
    ] = None,
    fingerprint: Annotated[
        str, typer.Option(help="without a token: the server's fingerprint; an operator then approves the device")
    ] = "",
    directory: DirOption = HERE,
    name: Annotated[str, typer.Option(help="what the device is called; default: the machine's name")] = "",
    data: Annotated[
        Path | None, typer.Option(help='examples to learn from, JSON lines {"prompt", "target"}', metavar="FILE")
    ] = None,
    vault: Annotated[
        Path | None,
        typer.Option(help="the gateway's vault: learn from answers that were accepted there", metavar="FILE"),
    ] = None,
    wait: Annotated[float, typer.Option(help="seconds to wait for approval")] = 0.0,
    store_key: KeyOption = "auto",
    as_json: JsonOption = False,
) -> None:
    settings: dict[str, Any] = {**({"name": name} if name else {}), "server": {"url": server}}
    if data is not None or vault is not None:
        sources = {"path": data, "vault": vault}
        settings["data"] = {key: str(path.absolute()) for key, path in sources.items() if path is not None}
    with json_on_stdout(as_json) as write:
        from tacit_clients.device.enrolling import Wanted, enrol
        from tacit_privacy.enrolment import Token

        asked = sys.stdin.readline() if token == "-" else token
        if asked is None and len(fingerprint) != 64:
            raise BadInput("give --token TOKEN, or the server's --fingerprint (64 digits) and wait for approval")
        wanted = Wanted(
            settings=settings,
            token=Token.read(asked) if asked is not None else None,
            fingerprint=fingerprint,
            key=store_key,
            wait_s=wait,
        )
        placed = enrol(directory, wanted, lambda sentence: typer.echo(f"tacit: {sentence}", err=True))
        write({"state": placed.state, "identity": placed.identity, "directory": str(directory)})
    if not as_json and placed.state == "admitted":
        where = "" if directory == HERE else f" --dir {directory}"
        typer.echo(f"admitted as {placed.identity}; start it: tacit device run{where}")
    if placed.state == "pending":
        typer.echo("tacit: not approved yet; type the same command again later", err=True)
        raise typer.Exit(FAILED)


@app.command(help="Run the device: wait for rounds, learn, answer, take new adapters into use. Ctrl+C ends.")
def run(directory: DirOption = HERE, store_key: KeyOption = "auto", as_json: JsonOption = False) -> None:
    with json_on_stdout(as_json) as write:
        _run(directory, store_key, write)


def _run(directory: Path, store_key: str, write: Callable[[dict[str, Any]], None]) -> None:
    """Until told to end; ``write`` tells who runs, once it does."""
    from tacit_clients.device.home import DeviceHome
    from tacit_clients.device.limits import apply_limits, limit_memory, room_for_the_model
    from tacit_privacy.logs import configure

    home = DeviceHome.open(directory)
    limits = home.settings.limits
    apply_limits(limits)
    configure("device")
    with home.held(), home.journal(store_key) as journal:
        from tacit_clients.device.trusting import check_code

        check_code(journal)
        from tacit_clients.device.runner import DeviceRunner

        limit_memory(limits)
        with room_for_the_model(limits):
            runner = DeviceRunner(home, journal)
        write({"identity": runner.identity, "server": home.settings.server.url, "directory": str(directory)})
        runner.run()


@app.command(help="Trust the code that is installed now, after an upgrade that you made: the device runs no other.")
def trust(directory: DirOption = HERE, store_key: KeyOption = "auto", as_json: JsonOption = False) -> None:
    with json_on_stdout(as_json) as write:
        from tacit_clients.device.home import DeviceHome
        from tacit_clients.device.trusting import installed_code

        home = DeviceHome.open(directory)
        with home.journal(store_key) as journal:
            before, now = journal.code(), installed_code()
            journal.trust(now)
        write({"before": before, "now": now})
    if not as_json:
        typer.echo(f"trusts {now}" + ("" if before in ("", now) else f", and {before} no more"))


@app.command(help="How the device is: what it does, which adapter it answers with, what it owes.")
def status(directory: DirOption = HERE, as_json: JsonOption = False) -> None:
    with json_on_stdout(as_json) as write:
        from tacit_clients.device.home import DeviceHome

        home = DeviceHome.open(directory)
        told = home.told()
        told["running"], told["enrolled"] = home.is_held, home.is_enrolled
        write(told)
    if not as_json:
        _show(told)


def _show(told: dict[str, Any]) -> None:
    if not told["enrolled"]:
        typer.echo("it has no keys, as after it left its fleet: tacit device enroll")
        return
    if "identity" not in told:
        typer.echo("it has keys and was never run: tacit device run, once it is admitted")
        return
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(told["since"]))
    typer.echo(f"{told['identity']} at {told['server']}: {'running' if told['running'] else 'not running'}")
    typer.echo(f"{told['activity']} since {since}; took part in {told['rounds']} rounds, counted in {told['counted']}")
    _show_adapter(told["adapter"])
    if told["owes"]:
        typer.echo("an update waits to be delivered")
    if told["refusal"]:
        typer.echo(f"the guard refused a round: {told['refusal']}")


def _show_adapter(adapter: dict[str, Any]) -> None:
    if adapter["vector"]:
        loss = "" if adapter["loss"] is None else f", loss {adapter['loss']:.3f} on held-out examples"
        back = "; the one before is kept: tacit device rollback" if adapter["can_roll_back"] else ""
        typer.echo(f"adapter {adapter['vector'][:12]} of run {adapter['run']}, round {adapter['round']}{loss}{back}")
    if adapter["rolled_back"]:
        typer.echo(f"its owner went back from adapter {adapter['rolled_back'][:12]}, which is not taken again")


@app.command(help="Go back to the adapter before; the newest is not taken again. The device may go on running.")
def rollback(directory: DirOption = HERE, store_key: KeyOption = "auto", as_json: JsonOption = False) -> None:
    with json_on_stdout(as_json) as write:
        from tacit_clients.device.home import DeviceHome
        from tacit_clients.device.installing import roll_back

        home = DeviceHome.open(directory)
        with home.journal(store_key) as journal:
            adapter = roll_back(home, journal).told()
        known = home.told()
        if known:
            home.tell({**known, "adapter": adapter})
        write(adapter)
    if not as_json:
        now = f"adapter {adapter['vector'][:12]}" if adapter["vector"] else "the model without an adapter"
        typer.echo(f"went back from adapter {adapter['rolled_back'][:12]} to {now}")


@app.command(help="Leave the fleet, and erase the device's keys, memory and adapters here.")
def leave(
    directory: DirOption = HERE,
    store_key: KeyOption = "auto",
    offline: Annotated[bool, typer.Option("--offline", help="erase here, though the server cannot be told")] = False,
    as_json: JsonOption = False,
) -> None:
    with json_on_stdout(as_json) as write:
        from tacit_clients.device.home import DeviceHome
        from tacit_clients.device.leaving import leave as leave_fleet

        home = DeviceHome.open(directory)
        try:
            told = leave_fleet(home, store_key, tell=not offline)
        except ServerUnreachable as error:
            raise BadInput(f"{error}; nothing was erased: try again, or type --offline") from error
        write({"left": True, "server_told": told})
    if not as_json:
        typer.echo("left the fleet; keys, memory and adapters of this device are erased")
