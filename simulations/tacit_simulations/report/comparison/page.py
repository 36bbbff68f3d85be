"""``comparison_report``: the document of ``tacit bench modes`` to one HTML file that opens anywhere, offline."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from tacit_simulations.evaluation.modes.baselines import ALWAYS_LOCAL, ALWAYS_REDACTED, LENGTH, RANDOM
from tacit_simulations.report.comparison import figures
from tacit_simulations.report.comparison.glossary import GLOSSARY
from tacit_simulations.report.comparison.reading import LOOKS, Comparison, Run, read
from tacit_simulations.report.comparison.trade_offs import trade_offs
from tacit_simulations.report.document import Note, Tile
from tacit_simulations.report.figures import NOTHING, percent, plural, trimmed
from tacit_simulations.report.shell import Page, render

CHAPTERS = (
    trade_offs,
    figures.families,
    figures.privacy,
    figures.latency,
    figures.cost,
    figures.routing,
    figures.setup,
)
FEW = 100  # questions below which an interval is wider than most differences


def comparison_report(told: Mapping[str, Any]) -> str:
    """``told`` (a parsed result.json) as one self-contained HTML document. Raises BadInput. Same input, same bytes."""
    comparison = read(told)
    models = told.get("models") or {}
    return render(
        Page(
            title=f"{told.get('dataset')}: modes of collaboration",
            kind="modes compared",
            about="Questions",
            name=str(told.get("dataset")),
            seed=(told.get("settings") or {}).get("seed"),
            headline=_headline(comparison),
            standfirst=_standfirst(comparison, str(models.get("slm")), str(models.get("llm"))),
            notes=_notes(comparison),
            tiles=_tiles(comparison),
            chapters=[chapter for build in CHAPTERS if (chapter := build(comparison)) is not None],
            glossary=GLOSSARY,
            version=version("tacit"),
        )
    )


def _one(comparison: Comparison, name: str) -> Run | None:
    return next((run for run in comparison.best if run.name == name), None)


def _winner(comparison: Comparison) -> Run | None:
    """The best run of any mode that is no baseline."""
    ours = [run for run in comparison.best if run["baseline"] is None]
    return max(ours, key=lambda run: (run["quality"], -run["llm_tokens"]), default=None)


def _headline(comparison: Comparison) -> str:
    found, small, large = _winner(comparison), _one(comparison, ALWAYS_LOCAL), _one(comparison, ALWAYS_REDACTED)
    if found is None or small is None or large is None:
        return f"{plural(len(comparison.runs), 'run')} on {plural(comparison.told.get('n') or 0, 'question')}."
    return (
        f"{found.name.capitalize()} answers {percent(found['quality'])} right where the small model alone reaches "
        f"{percent(small['quality'])} and the large one, always asked, {percent(large['quality'])}."
    )


def _standfirst(comparison: Comparison, slm: str, llm: str) -> str:
    found = _winner(comparison)
    said = f"{slm} on the device, {llm} behind the gate; {plural(comparison.told.get('n') or 0, 'question')}."
    if found is None:
        return said
    share = found["llm_tokens_share"]
    tokens = "" if share is None else f", with {percent(share)} of the tokens that always asking with raw text takes"
    return f"{said} {found.label} asks for {percent(found['escalation_rate'])} of them{tokens}."


def _notes(comparison: Comparison) -> list[Note]:
    found = []
    count = comparison.told.get("n") or 0
    if count < FEW:
        found.append(
            Note("Few questions.", f"{plural(count, 'question')}: most differences lie within the intervals.", False)
        )
    if any(not run["tokens_told"] for run in comparison.runs):
        found.append(
            Note("Tokens are estimated.", "The endpoint counted none: four bytes are taken for a token.", False)
        )
    for run in comparison.best:
        if run["baseline"] not in (RANDOM, LENGTH) and run["failed"] > 0:
            words = ", ".join(run["failures"])
            found.append(Note(f"{run.label} failed.", f"{percent(run['failed'])} got no answer: {words}.", True))
    return found


def _tiles(comparison: Comparison) -> list[Tile]:
    """Quality of every mode's best run, and of the three baselines that ask one model."""
    order = [name for name in (*LOOKS, *comparison.names) if name in comparison.names]
    best = {run.name: run for run in comparison.best}
    return [_tile(best[name]) for name in dict.fromkeys(order) if name in best]


def _tile(run: Run) -> Tile:
    leak = run["strict_leakage"]
    leaked = "" if leak is None else f", {percent(leak)} of units leaked"
    knob = "" if run["value"] is None else f" at {trimmed(run['value']) if _is_number(run['value']) else run['value']}"
    detail = f"{percent(run['escalation_rate'])} asked{leaked}"
    return Tile(f"{run.name}{knob}", percent(run["quality"]) or NOTHING, detail, float(run["quality"]))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
