"""Put placeholders in the place of what identifies people: text or JSONL, stdin to stdout."""

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
    counted,
    opened,
    quoted,
    say,
)
from tacit_privacy.errors import BadInput

MOST_IN_ONE = 1 << 24  # characters that --json takes

app = typer.Typer()


@app.command(help="Put placeholders in the place of what identifies people: text or JSONL, stdin to stdout.")
def redact(
    files: FilesArgument = None,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="one JSON object per line, which gains redacted and entities")
    ] = False,
    field: Annotated[str, typer.Option(help="with --jsonl: the field that holds the text")] = "text",
    replace: Annotated[
        bool, typer.Option("--replace", help="with --jsonl: put the redacted text into the field itself")
    ] = False,
    lines: Annotated[
        bool, typer.Option("--lines", help="every line is a text of its own, written at once (a log that grows)")
    ] = False,
    policy: Annotated[Path | None, typer.Option(help="TOML file: what is done with which type")] = None,
    vault: Annotated[Path | None, typer.Option(help="file that keeps what placeholders stand for, sealed")] = None,
    key: KeyOption = "auto",
    conversation: ConversationOption = CONVERSATION,
    workers: Annotated[int, typer.Option(min=1, max=256, help="processes that search; the output is the same")] = 1,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Exit code 1 where the policy refuses a text: the message names its line and the type, and what came before it was
    written. 2 for bad input.
    """
    if as_json and (jsonl or lines):
        raise BadInput("--json prints one document of one text; leave it out, --jsonl prints JSON by itself")
    if (replace or field != "text") and not jsonl:
        raise BadInput("--field and --replace speak of JSONL; add --jsonl")
    if jsonl and lines:
        raise BadInput("--jsonl and --lines exclude each other; choose one")
    if vault is None and key != "auto":
        raise BadInput("--key says how a vault is locked; add --vault")
    check_stdout()
    check_files(files)
    with json_on_stdout(as_json) as write:
        from tacit_privacy.commands import _redacting as work
        from tacit_privacy.commands._detecting import Detecting, Job
        from tacit_privacy.pii.policy import RedactionPolicy

        rules = RedactionPolicy.load(policy)
        days = rules.conversation.expires_days
        with opened(vault, key, True, quiet) as kept, kept.conversation(conversation, expires_days=days) as talk:
            replacing = work.Replacing(rules, talk)
            if as_json:
                text, source = work.whole(files, MOST_IN_ONE)
                document = work.single(text, source, rules, replacing)
                kept.save(conversation)
                write(document)
            else:
                form = work.Rows(files, field, replace) if jsonl else work.Plain(files, lines)
                outbox = work.Outbox(talk, lambda: kept.save(conversation))
                with Detecting[Job](rules, workers) as detecting:
                    work.stream(form, replacing, detecting, outbox)
    if not quiet:
        _tell(dict(replacing.masked), vault, conversation)


def _tell(masked: dict[str, int], vault: Path | None, conversation: str) -> None:
    if not masked:
        say("masked nothing, so there is nothing to restore")
    elif vault is None:
        say(f"masked {counted(masked)}; nobody can restore it, since no --vault keeps what the placeholders stand for")
    else:
        where = "" if conversation == CONVERSATION else f" --conversation {quoted(conversation)}"
        say(f"masked {counted(masked)}; tacit restore --vault {quoted(vault)}{where} puts it back")
