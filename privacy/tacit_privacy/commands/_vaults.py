"""The vault and the conversation that ``tacit redact`` and ``tacit restore`` work in."""

import contextlib
import getpass
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tacit_privacy.pii.vault.store import Vault

CONVERSATION = "default"

KeyOption = Annotated[
    str,
    typer.Option("--key", help="where the vault's key is: auto, keyring, passphrase, credential, file or file:PATH"),
]
ConversationOption = Annotated[
    str, typer.Option(help="which conversation of the vault; placeholders differ between conversations")
]
FilesArgument = Annotated[list[Path] | None, typer.Argument(help="files, one after the other; none, or -, reads stdin")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="say nothing on stderr but errors")]


@contextlib.contextmanager
def opened(path: Path | None, key: str, create: bool, quiet: bool) -> Iterator["Vault"]:
    """The vault; one in memory for None. Raises VaultLocked, BadInput."""
    from tacit_privacy.pii.vault.opening import open_vault
    from tacit_privacy.pii.vault.store import Vault

    if path is None:
        with Vault.ephemeral() as vault:
            yield vault
        return

    def prompt() -> str:
        return asked("Passphrase of the vault: ", again=not path.exists() or not path.stat().st_size)

    with open_vault(path, key, create=create, prompt=prompt, say=None if quiet else say) as vault:
        yield vault


def say(sentence: str) -> None:
    typer.echo(f"tacit: {sentence}", err=True)


def quoted(word: str | Path) -> str:
    """As a shell takes it, for commands that are there to be copied."""
    return shlex.quote(str(word))


def counted(counts: dict[str, int]) -> str:
    """``3 PERSON, 1 EMAIL_ADDRESS``, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {type}" for type, count in ordered) or "nothing"


def asked(question: str, again: bool) -> str:
    """A passphrase typed at the terminal, never read from stdin, which is the text; "" where there is no terminal."""
    try:
        with Path("/dev/tty").open("r+b", buffering=0):
            pass
    except OSError:
        return ""
    words = getpass.getpass(question)
    if again and getpass.getpass("Once more: ") != words:
        say("the two differ")
        return asked(question, again)
    return words
