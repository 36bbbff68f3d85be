"""The page of ``tacit privacy plan``: one self-contained HTML file with a drawing and a table, light and dark."""

from collections.abc import Sequence

from tacit_privacy.accounting.affordable import Fleet, Row
from tacit_privacy.drawing import LogAxis
from tacit_privacy.wording import rounded_up

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 420, 70, 130, 20, 50
_COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2")

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--line:#d0d7de;--good:#1a7f37}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--paper:#0d1117;--line:#30363d;--good:#3fb950}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:60rem;margin:2rem auto;
padding:0 1rem}
table{border-collapse:collapse}th,td{padding:.2rem .7rem;text-align:right;border-bottom:1px solid var(--line)}
svg text{fill:var(--ink);font:12px system-ui,sans-serif}.axis{stroke:var(--line)}.level{stroke:var(--good);
stroke-dasharray:5 4}.yes{color:var(--good)}svg{max-width:100%;height:auto}
"""


def page(fleet: Fleet, listed: Sequence[Row], level: float, remedy: str | None) -> str:
    """The whole document. Everything on it comes from numbers: there is no text of a caller to escape."""
    told = remedy or f"Plans up to noise-to-signal {level:g}, the dashed line, are affordable."
    body = "".join(_table_row(row) for row in listed)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>What this fleet can afford</title><style>{_STYLE}</style>"
        f"<h1>What this fleet can afford</h1><p>{fleet.population:,} devices, an adapter of {fleet.dimension:,} "
        f"parameters, epsilon {fleet.epsilon:g} at delta {fleet.delta:.3g} ({fleet.adjacency}, sampling "
        f"{fleet.sampling}).</p><p>{told}</p>{_drawing(listed, level)}"
        "<table><thead><tr><th>rounds<th>cohort<th>participations<th>noise multiplier<th>noise / signal<th>uploads"
        f"<th>affordable</tr></thead><tbody>{body}</tbody></table>"
        "<p>Noise / signal: expected norm of the noise in the mean of a round over the clip norm, "
        "z &radic;d / cohort.</p></html>\n"
    )


def _table_row(row: Row) -> str:
    said = '<td class="yes">yes' if row.affordable else "<td>no"
    cells = (row.rounds, row.cohort, row.participations, rounded_up(row.noise_multiplier))
    numbers = "".join(f"<td>{cell}" for cell in (*cells, rounded_up(row.noise_to_signal), row.uploads))
    return f"<tr>{numbers}{said}</tr>"


def _drawing(listed: Sequence[Row], level: float) -> str:
    """Noise-to-signal over cohort, both on logarithmic axes, one line per number of rounds."""
    if not listed:
        return ""
    across = LogAxis([row.cohort for row in listed], _LEFT, _WIDTH - _RIGHT)
    up = LogAxis([level, *(row.noise_to_signal for row in listed)], _HEIGHT - _BOTTOM, _TOP)
    parts = [_ticks(across, up), _level(up, level)]
    for index, count in enumerate(sorted({row.rounds for row in listed})):
        line = sorted((row for row in listed if row.rounds == count), key=lambda row: row.cohort)
        points = [(across.at(row.cohort), up.at(row.noise_to_signal)) for row in line]
        colour, (x, y) = _COLOURS[index % len(_COLOURS)], points[-1]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.extend(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>' for px, py in points)
        parts.append(f'<text x="{x + 8:.1f}" y="{y + 4:.1f}">{count} rounds</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">cohort (devices)</text>')
    parts.append(f'<text x="4" y="{_TOP - 16}">noise / signal</text>')
    label = "Noise over signal by cohort and rounds"
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _ticks(across: LogAxis, up: LogAxis) -> str:
    left, right, bottom = _LEFT, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    found = []
    for value in across.decades:
        x = across.at(value)
        found.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>')
        found.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{value:g}</text>')
    for value in up.decades:
        y = up.at(value)
        found.append(f'<line class="axis" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        found.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    return "".join(found)


def _level(up: LogAxis, level: float) -> str:
    y = up.at(level)
    return f'<line class="level" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
