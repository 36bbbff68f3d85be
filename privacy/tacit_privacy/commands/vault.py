"""Look into a vault without its values, erase conversations, change its key."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from tacit_privacy.cli import JsonOption, json_on_stdout
from tacit_privacy.commands._vaults import KeyOption, QuietOption, asked, opened, quoted, say
from tacit_privacy.errors import BadInput

NEW_PASSPHRASE = "TACIT_VAULT_NEW_PASSPHRASE"  # environment: of tacit vault rekey

app = typer.Typer(
    help="Look into a vault without its values, erase conversations, change its key.", no_args_is_help=True
)

VaultArgument = Annotated[Path, typer.Argument(help="the vault's file", show_default=False)]


@app.command("list", help="Conversations, the one used last first: names, dates and counts, never what they stand for.")
def list_conversations(vault: VaultArgument, key: KeyOption = "auto", as_json: JsonOption = False) -> None:
    with json_on_stdout(as_json) as write:
        with opened(vault, key, False, True) as kept:
            found = kept.conversations()
        rows = [
            {
                "conversation": one.identifier,
                "placeholders": one.size,
                "created": _day(one.created),
                "last_used": _day(one.last_used),
                "expires": None if one.expires is None else _day(one.expires),
            }
            for one in found
        ]
        write({"vault": str(vault), "conversations": rows})
    if as_json:
        return
    width = max((len(one.identifier) for one in found), default=0)
    for one, row in zip(found, rows, strict=True):
        typer.echo(
            f"{one.identifier:<{width}}  {one.size:>6} placeholders  used {row['last_used']}  "
            f"expires {row['expires'] or 'never'}"
        )
    if not found:
        say("the vault holds no conversation")


@app.command(help="Forget one conversation, or everything; nobody can restore its texts afterwards.")
def erase(
    vault: VaultArgument,
    conversation: Annotated[str | None, typer.Option(help="the one to forget, as tacit vault list names it")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="every conversation, and every record of what left the device")
    ] = False,
    key: KeyOption = "auto",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    if conversation is not None and everything:
        raise BadInput("--conversation and --all exclude each other; choose one")
    if conversation is None and not everything:
        raise BadInput("say what to erase: --conversation NAME, or --all")
    name = quoted(conversation or "")
    with json_on_stdout(as_json) as write:
        with opened(vault, key, False, True) as kept:
            count = kept.erase_all() if conversation is None else int(kept.erase(conversation))
        if not count and not everything:
            raise BadInput(f"{vault} holds no conversation {name}; tacit vault list {quoted(vault)} names them")
        write({"vault": str(vault), "erased": count})
    done = f"erased {count} conversations and every record" if everything else f"erased the conversation {name}"
    if not quiet:
        say(f"{done}; copies of the vault elsewhere still hold them")


@app.command(
    help=f"Change the vault's key. A new passphrase is asked at the terminal, or read from {NEW_PASSPHRASE}.",
)
def rekey(
    vault: VaultArgument,
    to: Annotated[str, typer.Option(help="where the new key is: keyring, passphrase, credential, file or file:PATH")],
    key: KeyOption = "auto",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    import os

    from tacit_privacy.pii.vault.keys import KeyFile, Passphrase
    from tacit_privacy.pii.vault.opening import beside, key_for

    if to in ("", "auto"):
        raise BadInput("name the new key's place: --to keyring, passphrase, credential, file or file:PATH")
    told = None if quiet else say
    found = ""
    with json_on_stdout(as_json) as write, opened(vault, key, False, quiet) as kept:
        old = key_for(vault, key)
        if to == "passphrase":
            words = os.environ.get(NEW_PASSPHRASE, "") or asked("New passphrase of the vault: ", again=True)
            if not words:
                raise BadInput(f"there is no new passphrase; set {NEW_PASSPHRASE} or type it at a terminal")
            kept.rotate(Passphrase(lambda: words))
        else:
            new = key_for(vault, f"file:{beside(vault)}" if to == "file" else to, say=told)
            if isinstance(new, KeyFile) and isinstance(old, KeyFile) and new.path.resolve() == old.path.resolve():
                raise BadInput(f"{new.path} is the key that the vault has; name another file")
            if isinstance(new, KeyFile) and new.path.exists():
                found = f", the one that was in {new.path}"
            kept.rotate(new)
        write({"vault": str(vault), "key": to})
    if told is not None:
        told(f"the vault has its new key{found}; the old one opens nothing any more, but for copies made before")
        if isinstance(old, KeyFile):
            told(f"the old key is still in {old.path}; delete it when you need no older copy of the vault")


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
