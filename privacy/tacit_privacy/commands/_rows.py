"""JSONL in and out: one object per line, other fields kept as they are."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from tacit_privacy.commands._streams import Lines, Reader
from tacit_privacy.errors import BadInput

MOST_ROWS, MOST_CHARACTERS = 64, 1 << 16  # of one batch


@dataclass(frozen=True)
class Row:
    """One line's object."""

    place: str  # "FILE line N"
    content: dict[str, Any] = field(repr=False)
    text: str = field(repr=False)

    def where(self, at: int) -> str:
        """Where in the input an offset of the text is."""
        return self.place


@dataclass(frozen=True)
class Batch:
    """Rows that are searched in one go."""

    rows: list[Row]

    @property
    def texts(self) -> list[str]:
        return [row.text for row in self.rows]


def rows(lines: Lines, name: str, fields: tuple[str, ...]) -> Iterator[Row]:
    """Empty lines are passed over. The text is in the first of ``fields`` that a row has. Raises BadInput."""
    for line in lines:
        if line.strip():
            yield _row(line, f"{name} line {lines.number}", fields)


def batches(reader: Reader, lines: Lines, name: str, fields: tuple[str, ...]) -> Iterator[Batch]:
    """Full batches; a smaller one where the next row would have to be waited for, or cannot be read."""
    gathered: list[Row] = []
    held = 0
    source = rows(lines, name, fields)
    while True:
        try:
            row = next(source, None)
        except BadInput:
            if gathered:
                yield Batch(gathered)
            raise
        if row is not None:
            gathered.append(row)
            held += len(row.text)
        full = len(gathered) >= MOST_ROWS or held >= MOST_CHARACTERS
        if gathered and (row is None or full or lines.waits()):
            yield Batch(gathered)
            gathered, held = [], 0
        if row is None:
            return


def line_of(content: dict[str, Any]) -> str:
    """One line of JSON, which every reader can decode: lone surrogates stay escaped."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            text = json.dumps(content, allow_nan=False)
    return text + "\n"


def _row(line: str, place: str, fields: tuple[str, ...]) -> Row:
    try:
        content = json.loads(line, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        raise BadInput(f"{place} is not JSON; every line must hold one object") from None  # the cause quotes the line
    if not isinstance(content, dict):
        raise BadInput(f"{place} is JSON but no object; every line must hold one")
    named = next((name for name in fields if name in content), None)
    if named is None:
        raise BadInput(f"{place} has no field {' or '.join(fields)}; --field names the one that holds the text")
    if not isinstance(content[named], str):
        raise BadInput(f"{place}: {named} holds no text; --field names the field that does")
    return Row(place, content, content[named])


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("no such number")
    return number
