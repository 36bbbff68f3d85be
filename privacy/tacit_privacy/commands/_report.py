"""`tacit audit report`: everything that an auditor asks of a ledger, as a page and as JSON."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tacit_privacy.cli import FAILED, JsonOption, finite, json_on_stdout
from tacit_privacy.commands._files import STDIN, head, lines_of, public_key, receipts_beside
from tacit_privacy.errors import BadInput
from tacit_privacy.files import write_whole

if TYPE_CHECKING:
    from tacit_privacy.audit.document import Report
    from tacit_privacy.audit.report import FromResult


def report(
    ledger: Annotated[Path, typer.Argument(help="ledger.jsonl of a run; - reads stdin")],
    out: Annotated[Path, typer.Option(help="file for the page; the same document goes beside it as .json")],
    key: Annotated[
        Path | None, typer.Option(help="file with the public key; without one nobody vouches for the key")
    ] = None,
    witness: Annotated[str | None, typer.Option(help="a head seen earlier: finds rollback and fork")] = None,
    receipts: Annotated[
        bool, typer.Option("--receipts", help="check every device's receipt, in receipts.jsonl beside the ledger")
    ] = False,
    result: Annotated[
        Path | None, typer.Option(help="folder of the simulated run: adds the epsilon that its canaries show")
    ] = None,
    cross_check: Annotated[
        bool, typer.Option("--cross-check", help="ask a second accountant, which takes seconds")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Verify a ledger and write what an auditor asks of it: a page in plain language, every figure and assumption.

    Exit code 1 when the ledger has a problem, which the page then says first, or when canaries refute its epsilon; 2
    when a file cannot be read or written: nothing is written then.
    """
    with json_on_stdout(as_json) as write:
        from tacit_privacy.audit.page import page
        from tacit_privacy.audit.report import report as audited

        _writable(out)
        found = audited(
            lines_of(ledger),
            public_key(key) if key is not None else None,
            head(witness),
            lines_of(receipts_beside(ledger)) if receipts else None,
            _from_result(result) if result is not None else None,
            cross_check,
            "stdin" if ledger == STDIN else ledger.name,
        )
        told, drawn = finite(found.as_json()), page(found)
        write_whole(out.with_suffix(".json"), json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        write_whole(out, drawn)
        write(told)
    if not as_json:
        _tell(found, out)
    if found.refuted or not found.verification.ok:
        raise typer.Exit(FAILED)


def _tell(found: "Report", out: Path) -> None:
    for note in found.notes:
        typer.echo(f"{note.title} {note.body}")
    for sentence in found.reading:
        typer.echo(sentence)
    typer.echo(f"wrote {out} and {out.with_suffix('.json')}")


def _writable(out: Path) -> None:
    """Raise BadInput before any work is done for a file that cannot be written."""
    if out.suffix == ".json" or not out.name:
        raise BadInput(f"--out {out} does not name a page; end it in .html, the JSON goes beside it")
    if out.is_dir() or out.with_suffix(".json").is_dir():
        raise BadInput(f"{out} is a folder; name a file, such as {out / 'audit.html'}")
    if not out.parent.is_dir():
        raise BadInput(f"there is no folder {out.parent}; make it or choose another --out")


def _from_result(folder: Path) -> "FromResult":
    """What the files of a simulated run say beyond its ledger. Raises BadInput."""
    from tacit_privacy.audit.canaries import CONFIDENCE, claim_of, measure_rows, read_canaries
    from tacit_privacy.audit.report import FromResult

    path = folder / "result.json"
    try:
        result: Any = json.loads("".join(lines_of(path)))
        privacy, settings = result["privacy"], result["config"]["privacy"]
        ledger_head, config, delta = privacy["ledger_head"], str(result["config_digest"]), float(privacy["delta"])
        claim, example = claim_of(str(settings["sampling"]), str(settings["roster"])), privacy.get("example_level")
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{path} is not the result of a private simulated run; give the folder that one wrote"
        ) from error
    canaries = folder / "canaries.jsonl"
    rows = read_canaries(lines_of(canaries), str(canaries)) if canaries.is_file() else []
    return FromResult(
        head=ledger_head,
        config=config,
        measured=measure_rows(rows, delta, CONFIDENCE, claim) if rows else None,
        planned=len(rows),
        asked=sum(row.participations > 0 for row in rows),
        example_level=None if example is None else _example_in_words(example),
    )


def _example_in_words(told: Any) -> str:
    words = json.dumps(told, sort_keys=True, ensure_ascii=False)
    return f"a second guarantee, of one example and against the server, never part of this epsilon: {words}"
