"""`tacit audit canary`: what canaries show of a simulated run, or of scores from anywhere."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tacit_privacy.cli import FAILED, JsonOption, json_on_stdout
from tacit_privacy.errors import BadInput
from tacit_privacy.wording import rounded_down, rounded_up

if TYPE_CHECKING:
    from tacit_privacy.audit.canaries import Measured

_STDIN = Path("-")


def canary(
    run: Annotated[Path | None, typer.Argument(help="folder of a simulated run that had privacy.canaries")] = None,
    scores: Annotated[
        Path | None, typer.Option(help='instead of a run, rows {"score": x, "included": 0 or 1}; - reads stdin')
    ] = None,
    delta: Annotated[float | None, typer.Option(help="with --scores: delta of the claim, between 0 and 1")] = None,
    confidence: Annotated[float, typer.Option(help="of the lower bound and the estimate's interval")] = 0.95,
    claim: Annotated[float | None, typer.Option(help="with --scores: the epsilon that is claimed at delta")] = None,
    gaussian: Annotated[
        bool, typer.Option("--gaussian", help="with --scores: the claim is a whole Gaussian curve, which proves more")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Estimate epsilon from canaries, bound it from below, and set that beside what is claimed.

    Exit code 1 when the lower bound passes the claim. A bound below it is no proof of privacy.
    """
    upper: float | None
    with json_on_stdout(as_json) as write:
        if run is not None and scores is None:
            if delta is not None or claim is not None or gaussian:
                raise BadInput("a run has its own delta and claim; leave --delta, --claim and --gaussian out")
            found, upper = _of_run(run, confidence)
        elif scores is not None and run is None:
            found, upper = _of_scores(scores, delta, confidence, gaussian), claim
        else:
            raise BadInput("name either the folder of a simulated run or --scores with a file")
        refuted = upper is not None and found.lower_bound > upper
        write({"ok": not refuted, "claimed_epsilon": upper, **found.as_json()})
    if not as_json:
        _tell(found, upper)
    if refuted:
        raise typer.Exit(FAILED)


def _of_run(folder: Path, confidence: float) -> tuple["Measured", float]:
    from tacit_privacy.audit.canaries import claim_of, measure_rows, read_canaries

    path = folder / "canaries.jsonl"
    if not path.is_file():
        raise BadInput(f"{folder} holds no canaries.jsonl; simulate with --set privacy.canaries=100")
    rows = read_canaries(_read(path).splitlines(), str(path))
    delta, epsilon, kind = _claimed(folder / "result.json")
    found = measure_rows(rows, delta, confidence, claim_of(*kind))
    if found is None:
        raise BadInput(f"none of the {len(rows)} canaries of {folder} was ever asked; simulate more rounds or canaries")
    return found, epsilon


def _claimed(path: Path) -> tuple[float, float, tuple[str, str]]:
    """delta, epsilon and how the cohorts of a run came about."""
    try:
        result: Any = json.loads(_read(path))
        privacy, settings = result["privacy"], result["config"]["privacy"]
        epsilon = privacy["epsilon"]
        claimed = float("inf") if epsilon is None else float(epsilon)
        return float(privacy["delta"]), claimed, (str(settings["sampling"]), str(settings["roster"]))
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is not the result of a simulated run; give the folder that a run wrote") from error


def _of_scores(path: Path, delta: float | None, confidence: float, gaussian: bool) -> "Measured":
    from tacit_privacy.audit.canaries import measure, read_scores

    if delta is None:
        raise BadInput("--scores needs --delta, the delta of the claim")
    rows = read_scores(_read(path).splitlines(), "stdin" if path == _STDIN else str(path))
    if not rows:
        raise BadInput(f"{path} holds no scores; write one row a line")
    scores, included = [row.score for row in rows], [row.included for row in rows]
    return measure(scores, included, delta, confidence, "gaussian" if gaussian else "any")


def _read(path: Path) -> str:
    try:
        return sys.stdin.read() if path == _STDIN else path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"cannot read {path}: it is not UTF-8 text") from error
    except OSError as error:
        raise BadInput(f"cannot read {path}: {(error.strerror or 'it cannot be opened').lower()}") from error


def _tell(found: "Measured", claimed: float | None) -> None:
    proved, estimate = found.one_run, found.estimate
    typer.echo(f"{proved.canaries} canaries, {proved.included} of them included, at delta {proved.delta:g}")
    if estimate is None:
        typer.echo("estimate      none: too few scores, or all alike")
    else:
        spread = f"{estimate.low:.3g} to {estimate.high:.3g} by its own sampling error"
        typer.echo(f"estimate      epsilon {estimate.epsilon:.3g} ({spread}); no bound")
    proven = f"epsilon {rounded_down(found.lower_bound)} with confidence {proved.confidence:g}"
    against = "a Gaussian curve" if found.claim == "gaussian" else "any mechanism"
    guessed = f"{proved.correct} of {proved.guesses} guesses right"
    typer.echo(f"lower bound   {proven}, for {against} ({guessed})")
    if claimed is None:
        return
    typer.echo(f"claimed       epsilon {rounded_up(claimed)}")
    if found.lower_bound > claimed:
        typer.echo("REFUTED: the lower bound passes the claim.")
    else:
        typer.echo("Not refuted. A lower bound speaks of this attack alone and proves no privacy.")
