"""``tacit audit export|import|keygen|rotate``: ledgers out of databases and into others, and their keys."""

import os
import re
import time
from pathlib import Path
from typing import Annotated

import typer

from tacit_privacy.cli import FAILED, JsonOption, json_on_stdout
from tacit_privacy.errors import BadInput

Database = Annotated[
    str, typer.Option(help="the run's database: a file such as run.db, or postgresql://user@host/name")
]
_URL = re.compile(r"[a-z+0-9]+://")


def register(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    app.command()(export)
    app.command("import")(import_)
    app.command()(keygen)
    app.command()(rotate)


def export(
    database: Database,
    out: Annotated[Path, typer.Option(help="folder for ledger.jsonl, ledger.pub and what is asked for beside them")],
    receipts: Annotated[bool, typer.Option("--receipts", help="also receipts.jsonl: who took part in what")] = False,
    unseal: Annotated[
        bool, typer.Option("--unseal", help="receipts of a sealed roster, too: Poisson amplification is then no claim")
    ] = False,
    counts: Annotated[
        bool, typer.Option("--counts", help="also counts.jsonl: what another server needs to go on with an open ledger")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a ledger out of its database, as files that anybody can verify."""
    with json_on_stdout(as_json) as write:
        from tacit_privacy.ledger import transfer
        from tacit_privacy.ledger.database import begin, open_database

        with begin(open_database(_existing(database))) as session:
            if (receipts or counts) and not unseal and transfer.is_sealed(session):
                raise BadInput("the roster of this ledger is sealed; --unseal says that you mean to show who took part")
            _make(out)
            written = transfer.export(session, out, receipts, counts)
        write({"files": [str(path) for path in written]})
    if not as_json:
        typer.echo(f"wrote {', '.join(str(path) for path in written)}")


def import_(
    folder: Annotated[Path, typer.Argument(help="folder that tacit audit export wrote")],
    key: Annotated[Path, typer.Option(help="file with the public key that the ledger is to verify by")],
    database: Database,
    as_json: JsonOption = False,
) -> None:
    """Verify an exported ledger and store it in an empty database.

    Exit code 1 where it does not verify: nothing is stored then.
    """
    with json_on_stdout(as_json) as write:
        from tacit_privacy.commands._files import public_key
        from tacit_privacy.ledger import transfer
        from tacit_privacy.ledger.database import begin, open_database
        from tacit_privacy.ledger.verify import verify

        ledger = _read(folder / transfer.LEDGER)
        receipts, counts = ((folder / name) for name in (transfer.RECEIPTS, transfer.COUNTS))
        leaves = _read(receipts) if receipts.exists() else []
        found = verify(ledger, public_key(key), None, leaves if leaves else None)
        if found.ok:
            with begin(open_database(_url(database))) as session:
                transfer.take_in(session, ledger, leaves, _read(counts) if counts.exists() else None)
        write({"ok": found.ok, "entries": found.entries, "problems": len(found.problems)})
    if not found.ok:
        typer.echo(f"{folder} does NOT verify, {len(found.problems)} problems; see tacit audit verify", err=True)
        raise typer.Exit(FAILED)
    if not as_json:
        typer.echo(f"stored {found.entries} entries, head {found.head}")


def keygen(
    out: Annotated[Path, typer.Option(help="file for the new private key; its public key goes beside it, as .pub")],
    protect: Annotated[
        bool, typer.Option("--protect", help="encrypt it: asks for a passphrase, or takes TACIT_KEY_PASSPHRASE")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make an Ed25519 key that signs a ledger and its rounds' terms."""
    with json_on_stdout(as_json) as write:
        from tacit_privacy.files import write_whole
        from tacit_privacy.ledger.keys import PASSPHRASE, SigningKey

        secret = os.environ.get(PASSPHRASE, "") if protect else ""
        if protect and not secret:
            secret = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True)
        public = out.with_name(out.name + ".pub")
        if public.exists():
            raise BadInput(f"{public} exists; name another file")
        key = SigningKey.generate()
        key.save(out, secret.encode() or None)
        write_whole(public, key.public + "\n")
        write({"key": str(out), "public": key.public})
    if not as_json:
        typer.echo(f"wrote {out} and {public}\npublic key {key.public}")


def rotate(
    database: Database,
    key: Annotated[Path, typer.Option(help="private key that signs the ledger now")],
    new: Annotated[Path, typer.Option(help="private key that signs it from the next entry on")],
    as_json: JsonOption = False,
) -> None:
    """Hand a ledger over to another key, while no run is writing to it: the old one signs that the new one follows."""
    with json_on_stdout(as_json) as write:
        from tacit_privacy.ledger import transfer
        from tacit_privacy.ledger.chain import Ledger
        from tacit_privacy.ledger.database import begin, open_database
        from tacit_privacy.ledger.keys import SigningKey

        old, following = SigningKey.load(key), SigningKey.load(new)
        ledger = Ledger(old.sign, time.time)
        with begin(open_database(_existing(database))) as session:
            ledger.exclusive(session)
            if transfer.present_key(session) != old.public:
                raise BadInput(f"{key} does not sign this ledger now; give the newest key")
            entry = ledger.rotate(session, following)
        write({"public": following.public, "head": entry.hash, "entries": entry.index + 1})
    if not as_json:
        typer.echo(f"from entry {entry.index + 1} on the ledger is signed by {following.public}")


def _url(database: str) -> str:
    return database if _URL.match(database) else f"sqlite:///{Path(database).absolute()}"


def _existing(database: str) -> str:
    """A database's URL. Raises BadInput where it would be a new file."""
    if not _URL.match(database) and not Path(database).is_file():
        raise BadInput(f"there is no {database}; name a run's database file or its URL")
    return _url(database)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot write to {folder}: {error.strerror}; choose another --out") from error


def _read(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read {path}; give the folder that tacit audit export wrote") from error
