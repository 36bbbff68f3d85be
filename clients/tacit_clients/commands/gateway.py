"""Answer on the device, ask a large model only through redaction: an OpenAI-compatible server on loopback."""

import asyncio
import os
import stat
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tacit_privacy.cli import JsonOption, json_on_stdout
from tacit_privacy.errors import BadInput

if TYPE_CHECKING:
    from tacit_clients.gateway.app import Gateway
    from tacit_clients.gateway.following import Following
    from tacit_clients.gateway.settings import GatewaySettings, KeepingSettings, LocalSettings
    from tacit_clients.slm.generation import LocalModel
    from tacit_clients.slm.places import Adapter
    from tacit_privacy.pii.vault.store import Vault

app = typer.Typer()


@app.command(
    help="Answer on the device, ask a large model only through redaction: an OpenAI-compatible server on loopback."
)
def gateway(
    upstream: Annotated[
        str | None, typer.Option(help="base URL of the large model, such as https://api.openai.com/v1", metavar="URL")
    ] = None,
    model: Annotated[str | None, typer.Option(help="the large model's name at the upstream", metavar="ID")] = None,
    port: Annotated[int | None, typer.Option(help="where to listen; 0 takes a free one; default 8484")] = None,
    host: Annotated[
        str | None, typer.Option(help="address to listen on; others than loopback need TACIT_TOKEN")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with any of the settings", metavar="FILE")] = None,
    policy: Annotated[Path | None, typer.Option(help="redaction policy, TOML", metavar="FILE")] = None,
    vault: Annotated[
        Path | None, typer.Option(help="where originals are kept, sealed; default: in memory", metavar="FILE")
    ] = None,
    vault_key: Annotated[
        str | None, typer.Option(help="its key: auto, keyring, passphrase, credential, file or file:PATH")
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option(help="file with the upstream's key, in place of TACIT_UPSTREAM_KEY", metavar="FILE")
    ] = None,
    slm: Annotated[
        str | None, typer.Option(help="local model: tacit-nano, a folder or a Hugging Face id", metavar="MODEL")
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="its adapter, a folder in peft's format", metavar="DIR")] = None,
    device: Annotated[
        Path | None,
        typer.Option(help="answer with the adapters of this device of a fleet, and with each next one", metavar="DIR"),
    ] = None,
    no_local: Annotated[bool, typer.Option("--no-local", help="have no local model at all")] = False,
    threshold: Annotated[
        float | None, typer.Option(help="tacit/auto: confidence from which a local answer stands", min=0, max=1)
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="another name by which clients reach the gateway; repeat it")
    ] = None,
    allow_http: Annotated[
        bool, typer.Option("--allow-http", help="let redacted text and key go to another machine without TLS")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Serve until SIGTERM or SIGINT. TACIT_UPSTREAM_KEY: the upstream's key. TACIT_TOKEN: clients' bearer token."""
    if no_local and (slm or adapter or device):
        raise BadInput("--no-local means no local model; leave out --slm, --adapter and --device, or --no-local")
    changes: dict[str, Any] = {
        "upstream.url": upstream,
        "upstream.model": model,
        "upstream.key": _upstream_key(key_file),
        "upstream.allow_http": allow_http or None,
        "server.port": port,
        "server.host": host,
        "server.token": os.environ.get("TACIT_TOKEN") or None,
        "server.allow_hosts": allow_host,
        "policy": policy,
        "keeping.vault": vault,
        "keeping.key": vault_key,
        "local.model": slm,
        "local.adapter": adapter,
        "local.device": device,
        "local.enabled": False if no_local else None,
        "auto.threshold": threshold,
    }
    with json_on_stdout(as_json) as write:
        from tacit_clients.gateway.settings import GatewaySettings

        _serve(GatewaySettings.read(config, changes), write if as_json else None)


def _serve(settings: "GatewaySettings", write: Callable[[dict[str, Any]], None] | None) -> None:
    from tacit_clients.gateway.app import build
    from tacit_clients.gateway.serving import listening
    from tacit_privacy.pii.policy import RedactionPolicy

    policy = RedactionPolicy.load(settings.policy)
    with ExitStack() as opened:
        local, following = _local(settings.local, opened) if settings.local.enabled else (None, None)
        vault = opened.enter_context(_vault(settings.keeping))
        bound = opened.enter_context(listening(settings.server.host, settings.server.port))
        built = build(settings, policy, vault, local, following=following)
        with asyncio.Runner(loop_factory=_loop) as runner:
            runner.run(_run(built, bound, write))


def _local(chosen: "LocalSettings", opened: ExitStack) -> "tuple[LocalModel, Following | None]":
    """The local model, and what keeps it on its device's adapters. Raises BadInput."""
    if chosen.device is None:
        return _model(chosen, chosen.model, chosen.adapter, chosen.personal), None
    from tacit_clients.gateway.following import Following, device_of

    device, model = device_of(chosen)
    start, _ = opened.enter_context(device).look()  # what cannot be read is told by the look that follows
    local = _model(chosen, model, start.shared, start.personal)
    return local, Following(local, device, start)


def _model(chosen: "LocalSettings", name: str, adapter: "Adapter | None", personal: "Adapter | None") -> "LocalModel":
    from tacit_clients.slm.generation import LocalModel

    local = LocalModel.open(
        name,
        adapter,
        personal=personal,
        max_concurrent=chosen.max_concurrent,
        queue=chosen.queue,
        longest=chosen.max_tokens,
        form=chosen.spoken,
    )
    local.check()  # now, and in a sentence: the first request loads it, and could tell only a client
    return local


def _loop() -> asyncio.AbstractEventLoop:
    """The fast one where it is installed, which it is not on Windows."""
    found: asyncio.AbstractEventLoop
    found = asyncio.new_event_loop() if find_spec("uvloop") is None else import_module("uvloop").new_event_loop()
    return found


async def _run(built: "Gateway", bound: Any, write: Callable[[dict[str, Any]], None] | None) -> None:
    from tacit_clients.gateway.serving import Server

    serving = Server(built)
    running = asyncio.create_task(serving.serve(sockets=[bound]))
    while not serving.started and not running.done():
        await asyncio.sleep(0.01)
    if serving.started:
        _announce(built, bound.getsockname()[1], write)
    try:
        await running
    finally:
        if built.local is not None:
            await built.local.close()
    if serving.interrupted:
        raise KeyboardInterrupt


def _announce(built: "Gateway", port: int, write: Callable[[dict[str, Any]], None] | None) -> None:
    """One line: where clients point, and the link that opens the owner's page once."""
    host = built.settings.server.host
    shown = f"[{host}]" if ":" in host else {"0.0.0.0": "127.0.0.1"}.get(host, host)
    base = f"http://{shown}:{port}"
    page = base + built.sessions.link()
    if write is not None:
        write({"base_url": f"{base}/v1", "page": page, "models": built.modes.names()})
    else:
        typer.echo(f"tacit gateway: base URL {base}/v1; the owner's page, once: {page}")


def _vault(keeping: "KeepingSettings") -> "Vault":
    from tacit_privacy.pii.vault.store import Vault

    if keeping.vault is None:
        return Vault.ephemeral()
    from tacit_privacy.pii.vault.opening import open_vault

    return open_vault(
        keeping.vault, keeping.key, create=True, say=lambda sentence: typer.echo(f"tacit: {sentence}", err=True)
    )


def _upstream_key(path: Path | None) -> str | None:
    """The upstream's key: from a file that its owner alone may read, else from the environment. Raises BadInput."""
    if path is None:
        return os.environ.get("TACIT_UPSTREAM_KEY") or None
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            key = file.read(4096).strip()
    except OSError as error:
        raise BadInput(f"cannot read the upstream's key {path}: {error.strerror}") from error
    if mode & 0o077:
        raise BadInput(f"others may read the upstream's key {path}; type chmod 600 {path}")
    if not key or not key.isascii() or b"\n" in key:
        raise BadInput(f"the upstream's key {path} must be one line of ASCII")
    return key.decode("ascii")
