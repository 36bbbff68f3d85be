"""A prompt as the router reads it: what is asked, and the options it names, if any.

A line such as ``B. mitosis``, ``(b) mitosis`` or ``2) mitosis`` below other lines is an option; one alone is not. A
last line such as ``Answer:`` asks for nothing and is passed over.
"""

import re
from dataclasses import dataclass
from typing import Final

LIMIT: Final = 6000
"""Characters of a prompt that are read, so that a decision stays short; the length of the whole is known besides."""

WORD: Final = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?")
NUMBER: Final = re.compile(r"\d+(?:[.,]\d+)*")
SENTENCE_END: Final = re.compile(r"[.?!](?=\s|$)")
_OPTION = re.compile(r"\(?(?:[A-Ja-j]|\d{1,2})[.):]\s*(.*)")
_CUE = re.compile(r"(?:answer|solution|a)\s*:?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reading:
    """``length`` is of the whole prompt in code points; ``lines`` counts those that are no options."""

    length: int
    stem: str
    options: tuple[str, ...]
    lines: int


def read(prompt: str) -> Reading:
    """Stem and options of the first ``LIMIT`` characters."""
    stem: list[str] = []
    options: list[str] = []
    for line in prompt[:LIMIT].splitlines():
        text = line.strip()
        found = _OPTION.fullmatch(text)
        if found and (stem or options):
            options.append(found[1])
        elif text and not _CUE.fullmatch(text):
            stem.append(text)
    if len(options) < 2:
        stem, options = stem + options, []
    return Reading(len(prompt), " ".join(stem), tuple(options), len(stem))
