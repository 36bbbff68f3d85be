"""The page that every report stands on: head, first screen, chapters, glossary, in one self-contained HTML file.

Charts are SVG written here, not plotly: plotly's library alone is 4.8 MB in every file (plotly 7.1,
``plotly.offline.get_plotlyjs()``), needs a script to show anything, prints badly and hides its figures from
assistive technology. These charts cost about ten kilobytes each, are there before the first frame, follow the
reader's dark mode by CSS alone, and let the page forbid every script and every connection by its content security
policy. What is given up is zooming; every chart has its numbers as a table under it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from jinja2 import Template
from markupsafe import Markup

from tacit_privacy.templating import templates
from tacit_simulations.report.document import Exhibit, Note, Section, Tile
from tacit_simulations.report.palette import stylesheet


@dataclass(frozen=True, slots=True)
class Page:
    """What one report says. ``about`` names what ``name`` is; ``seed`` None: none was used."""

    title: str
    kind: str
    about: str
    name: str
    seed: object
    headline: str
    standfirst: str
    notes: Sequence[Note]
    tiles: Sequence[Tile]
    chapters: Sequence[Section]
    glossary: Sequence[tuple[str, str]]
    version: str


def render(page: Page) -> str:
    """One HTML document. Same page, same bytes."""
    chapters = [(chapter, _rows_of(chapter)) for chapter in page.chapters]
    return _template().render(page=page, chapters=chapters, tones=Markup(stylesheet()))


def _rows_of(chapter: Section) -> list[tuple[bool, list[Exhibit]]]:
    """Exhibits in order, neighbouring small ones together so that they can stand side by side."""
    rows: list[tuple[bool, list[Exhibit]]] = []
    for exhibit in chapter.exhibits:
        if exhibit.small and rows and rows[-1][0]:
            rows[-1][1].append(exhibit)
        else:
            rows.append((exhibit.small, [exhibit]))
    return rows


@lru_cache(maxsize=1)
def _template() -> Template:
    return templates("tacit_simulations.report").get_template("report.html.j2")
