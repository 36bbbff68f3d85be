"""Open a vault by the words of a command line: which source holds its key."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tacit_privacy.errors import BadInput, VaultLocked
from tacit_privacy.pii.vault import keys
from tacit_privacy.pii.vault._master import header_of, source_of
from tacit_privacy.pii.vault.database import Database, check_name, is_begun
from tacit_privacy.pii.vault.store import Vault

SOURCE = "TACIT_VAULT_KEY"  # environment: what --key says
SOURCES = "auto, keyring, passphrase, credential, file or file:PATH"


def open_vault(
    path: Path,
    source: str = "",
    *,
    create: bool = True,
    prompt: Callable[[], str] | None = None,
    say: Callable[[str], None] | None = None,
) -> Vault:
    """The vault ``path``, by the source that ``source`` or ``TACIT_VAULT_KEY`` names, else as ``key_for`` finds it.

    ``prompt`` asks for a passphrase, ``say`` tells the owner that a key file was made. Raises VaultLocked, BadInput.
    """
    return Vault.open(path, key_for(path, source, prompt=prompt, say=say), create=create)


def key_for(
    path: Path,
    source: str = "",
    *,
    prompt: Callable[[], str] | None = None,
    say: Callable[[str], None] | None = None,
) -> keys.VaultKey:
    """Where the master key of the vault ``path`` is.

    "auto": an existing vault says it; for a new one the passphrase in the environment, else a systemd credential,
    else a key file beside it. Never a keyring unasked: in a pipe nobody could unlock it. Raises BadInput.
    """
    check_name(path)
    wanted = source or os.environ.get(SOURCE, "") or "auto"

    def told(made: Path) -> None:
        if say:
            say(f"made the key {made}; whoever has it and {path} reads the vault, so keep copies of them apart")

    if wanted == "auto":
        header = _source_of(path)
        wanted = _configured() if header is None else header["kind"]
    kind, _, where = wanted.partition(":")
    if kind == "file":
        file = Path(where) if where else _noted(path) or beside(path)
        return keys.KeyFile(file, told, _note(path, file))
    if where or kind not in ("keyring", "passphrase", "credential"):
        if kind == "raw":
            raise VaultLocked(f"a program keeps the key of {path} to itself; only that program can open it")
        raise BadInput(f"no key source {wanted}; choose {SOURCES}")
    if kind == "keyring":
        return keys.Keyring()
    return keys.Credential() if kind == "credential" else keys.Passphrase.from_environment(prompt)


def beside(path: Path) -> Path:
    """Where the key file of the vault ``path`` is, unless another place is named."""
    return path.with_name(path.name + ".key")


def _note(path: Path, file: Path) -> str | None:
    """What the header says of a key file that is not ``beside``: by its name where both may move together."""
    file, usual = file.absolute(), beside(path).absolute()
    if file == usual:
        return None
    return file.name if file.parent == usual.parent else str(file)


def _noted(path: Path) -> Path | None:
    """The key file that the header of an existing vault names. Raises BadInput."""
    header = _source_of(path)
    named = None if header is None else header["parameters"].get("path")
    return path.parent / named if isinstance(named, str) else None


def _configured() -> str:
    if os.environ.get(keys.PASSPHRASE):
        return "passphrase"
    return "credential" if keys.Credential.present() else "file"


def _source_of(path: Path) -> dict[str, Any] | None:
    """The source that the header of an existing vault names, and its parameters. Raises BadInput."""
    if not is_begun(path):
        return None
    database = Database(path)
    try:
        with database.reading() as connection:
            found = header_of(connection, database)
        return None if found is None else source_of(found)
    finally:
        database.close()
