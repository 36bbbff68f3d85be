"""Put the originals back in the place of placeholders that tacit redact issued: text or JSONL, stdin to stdout."""

from pathlib import Path
from typing import Annotated

import typer

from tacit_privacy.cli import JsonOption, check_stdout, json_on_stdout
from tacit_privacy.commands._streams import check_files
from tacit_privacy.commands._vaults import (
    CONVERSATION,
    ConversationOption,
    FilesArgument,
    KeyOption,
    QuietOption,
    opened,
    say,
)
from tacit_privacy.errors import BadInput

MOST_IN_ONE = 1 << 24  # characters that --json takes

app = typer.Typer()


@app.command(
    help="Put the originals back in the place of placeholders that tacit redact issued: text or JSONL, stdin to stdout."
)
def restore(
    vault: Annotated[Path, typer.Option(help="the file that tacit redact --vault named")],
    files: FilesArgument = None,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="one JSON object per line, which gains restored")] = False,
    field: Annotated[
        str, typer.Option(help="with --jsonl: the field that holds the text; default: redacted, else text")
    ] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="with --jsonl: put the restored text into the field itself")
    ] = False,
    policy: Annotated[
        Path | None, typer.Option(help="TOML file whose [restore] says where originals may stand; default: everywhere")
    ] = None,
    key: KeyOption = "auto",
    conversation: ConversationOption = CONVERSATION,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Only placeholders that this conversation issued are replaced; everything else stays as it is."""
    if as_json and jsonl:
        raise BadInput("--json prints one document of one text; leave it out, --jsonl prints JSON by itself")
    if (replace or field) and not jsonl:
        raise BadInput("--field and --replace speak of JSONL; add --jsonl")
    check_stdout()
    check_files(files)
    with json_on_stdout(as_json) as write:
        from tacit_privacy.commands import _restoring as work
        from tacit_privacy.commands._streams import await_stdin
        from tacit_privacy.pii.policy import RedactionPolicy

        sinks = None if policy is None else RedactionPolicy.load(policy).restore
        await_stdin(files)  # a tacit redact at the other end of the pipe may be about to make the vault
        with opened(vault, key, False, quiet) as kept:
            live = work.Live(kept, conversation, sinks)
            if as_json:
                write(work.single(files, MOST_IN_ONE, live))
            elif jsonl:
                work.rows(files, (field,) if field else ("redacted", "text"), replace, live)
            else:
                work.plain(files, live)
    if not quiet:
        say(live.summary())
