"""Colours by the role they play, in light and in dark.

The hues follow Okabe and Ito, "Color Universal Design" (2008, jfly.uni-koeln.de/color/), darkened for white paper and
lightened for a dark screen until each has at least 4.5:1 against the page (WCAG 2.2, 1.4.3). Colour is never the only
sign: every series has its name beside it, and lines differ in dash and marker too.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tone:
    """One colour on light and on dark paper, sRGB hex."""

    light: str
    dark: str


PAPER = Tone("#fcfbf8", "#15181c")
CARD = Tone("#ffffff", "#1c2026")

TONES: dict[str, Tone] = {
    "paper": PAPER,
    "card": CARD,
    "ink": Tone("#1d2126", "#e9ebee"),
    "quiet": Tone("#59616b", "#a3acb8"),
    "rule": Tone("#dcd9d1", "#363c45"),
    "alarm": Tone("#b3121d", "#ff8a8a"),
    "alarm-paper": Tone("#fdecec", "#3a1517"),
    "untrained": Tone("#666d76", "#a3acb8"),
    "centralised": Tone("#1d2126", "#e9ebee"),
    "local-only": Tone("#00755a", "#45cfa6"),
    "federated": Tone("#0b62a8", "#74b6f4"),
    "federated-private": Tone("#bd4400", "#ff9a5c"),
    "personalised": Tone("#9c3f7b", "#e79ac8"),
    "completed": Tone("#3b7fb8", "#5e9fd6"),
    "lost-1": Tone("#bd4400", "#ff9a5c"),
    "lost-2": Tone("#8a6a00", "#e3c04f"),
    "lost-3": Tone("#9c3f7b", "#e79ac8"),
    "lost-4": Tone("#00755a", "#45cfa6"),
    "lost-5": Tone("#1d2126", "#e9ebee"),
    "lost-6": Tone("#666d76", "#a3acb8"),
}

# Lines and names stand on the card, so these are held to the contrast of text there.
LINES = ("untrained", "centralised", "local-only", "federated", "federated-private", "personalised")
FILLS = ("completed", "lost-1", "lost-2", "lost-3", "lost-4", "lost-5", "lost-6")


def stylesheet() -> str:
    """The custom properties that every other rule refers to: ``--ink``, ``--federated`` ..."""
    tones = "\n".join(f"  --{name}: light-dark({tone.light}, {tone.dark});" for name, tone in TONES.items())
    return f":root {{\n  color-scheme: light dark;\n{tones}\n}}\n"
