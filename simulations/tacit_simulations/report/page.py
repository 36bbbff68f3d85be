"""``report``: result.json of a simulated fleet to one HTML file that opens anywhere, offline, without a script."""

from collections.abc import Mapping
from typing import Any

from tacit_simulations.report.extra import extra
from tacit_simulations.report.glossary import GLOSSARY
from tacit_simulations.report.headline import headline, notes, standfirst, tiles
from tacit_simulations.report.reading import Run, read
from tacit_simulations.report.sections.budget import budget
from tacit_simulations.report.sections.cost import cost
from tacit_simulations.report.sections.fairness import fairness
from tacit_simulations.report.sections.learning import learning
from tacit_simulations.report.sections.setup import setup
from tacit_simulations.report.sections.turnout import turnout
from tacit_simulations.report.shell import Page, render

CHAPTERS = (learning, budget, turnout, cost, fairness, setup)


def report(result: Mapping[str, Any], charts_extra: Mapping[str, Any] | None = None) -> str:
    """The report on ``result`` (a parsed result.json) as one self-contained HTML document.

    ``charts_extra`` maps a title to a line chart of the caller's own: ``{"takeaway": str, "x_label": str, "y_label":
    str, "series": [{"name": str, "points": [[x, y], ...]}]}``; they become a chapter before the configuration.
    Parts that the result lacks are left out. Raises BadInput where a part has the wrong type. Same input, same bytes.
    """
    run = read(result)
    chapters = [chapter for build in CHAPTERS if (chapter := build(run)) is not None]
    added = extra(charts_extra or {})
    if added is not None:
        chapters.insert(len(chapters) - 1, added)
    return render(
        Page(
            title=f"{run.scenario}: federated simulation",
            kind="simulated fleet report",
            about="Scenario",
            name=run.scenario,
            seed=run.seed,
            headline=headline(run),
            standfirst=standfirst(run),
            notes=notes(run),
            tiles=tiles(run),
            chapters=chapters,
            glossary=GLOSSARY,
            version=_version(run),
        )
    )


def _version(run: Run) -> str:
    version = run.versions.get("tacit")
    return version if isinstance(version, str) else ""
