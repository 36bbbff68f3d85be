"""``report``: result.json to one HTML file that opens anywhere, offline, without a script.

Charts are SVG written here, not plotly: plotly's library alone is 4.8 MB in every file (plotly 7.1,
``plotly.offline.get_plotlyjs()``), needs a script to show anything, prints badly and hides its figures from
assistive technology. These charts cost about ten kilobytes each, are there before the first frame, follow the
reader's dark mode by CSS alone, and let the page forbid every script and every connection by its content security
policy. What is given up is zooming; every chart has its numbers as a table under it.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Template
from markupsafe import Markup

from tacit_privacy.templating import templates
from tacit_simulations.report.document import Exhibit, Section
from tacit_simulations.report.extra import extra
from tacit_simulations.report.glossary import GLOSSARY
from tacit_simulations.report.headline import headline, notes, standfirst, tiles
from tacit_simulations.report.palette import stylesheet
from tacit_simulations.report.reading import Run, read
from tacit_simulations.report.sections.budget import budget
from tacit_simulations.report.sections.cost import cost
from tacit_simulations.report.sections.fairness import fairness
from tacit_simulations.report.sections.learning import learning
from tacit_simulations.report.sections.setup import setup
from tacit_simulations.report.sections.turnout import turnout

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
    return _template().render(
        run=run,
        title=f"{run.scenario}: federated simulation",
        headline=headline(run),
        standfirst=standfirst(run),
        notes=notes(run),
        tiles=tiles(run),
        chapters=[(chapter, _rows_of(chapter)) for chapter in chapters],
        glossary=GLOSSARY,
        tones=Markup(stylesheet()),
        version=_version(run),
    )


def _rows_of(chapter: Section) -> list[tuple[bool, list[Exhibit]]]:
    """Exhibits in order, neighbouring small ones together so that they can stand side by side."""
    rows: list[tuple[bool, list[Exhibit]]] = []
    for exhibit in chapter.exhibits:
        if exhibit.small and rows and rows[-1][0]:
            rows[-1][1].append(exhibit)
        else:
            rows.append((exhibit.small, [exhibit]))
    return rows


def _version(run: Run) -> str:
    version = run.versions.get("tacit")
    return version if isinstance(version, str) else ""


@lru_cache(maxsize=1)
def _template() -> Template:
    return templates("tacit_simulations.report").get_template("report.html.j2")
