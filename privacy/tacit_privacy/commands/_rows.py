"""JSONL in and out: one object per line, of which everything that is not replaced stays to the character."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

from tacit_privacy.commands._streams import Lines, Reader
from tacit_privacy.errors import BadInput

MOST_ROWS, MOST_CHARACTERS = 64, 1 << 16  # of one batch


@dataclass(frozen=True)
class Row:
    """One line's object, as it was written."""

    place: str  # "FILE line N"
    line: str = field(repr=False)
    text: str = field(repr=False)
    start: int  # where ``line`` writes the text
    end: int
    last: int  # where its last value ends

    def where(self, at: int) -> str:
        """Where in the input an offset of the text is."""
        return self.place

    def with_text(self, text: str, **added: Any) -> str:
        """The line with another text, and with further fields."""
        line = self.line
        return self._line(f"{line[: self.start]}{_json(text)}{line[self.end : self.last]}", added)

    def with_fields(self, **added: Any) -> str:
        """The line with further fields."""
        return self._line(self.line[: self.last], added)

    def _line(self, head: str, added: dict[str, Any]) -> str:
        more = "".join(f", {_json(name)}: {_json(value)}" for name, value in added.items())
        tail = self.line[self.last :]
        return f"{head}{more}{tail}" if tail.endswith("\n") else f"{head}{more}{tail}\n"


@dataclass(frozen=True)
class Batch:
    """Rows that are searched in one go."""

    rows: list[Row]

    @property
    def texts(self) -> list[str]:
        return [row.text for row in self.rows]


def rows(lines: Lines, name: str, fields: tuple[str, ...], adds: tuple[str, ...]) -> Iterator[Row]:
    """Empty lines are passed over, and so is a byte order mark. The text is in the first of ``fields`` that a row has.

    Raises BadInput, also for a row that has one of the fields ``adds``, which it is to gain.
    """
    for line in lines:
        row = line.removeprefix("\ufeff") if lines.number == 1 else line
        if row.strip():
            yield _row(row, f"{name} line {lines.number}", fields, adds)


def batches(reader: Reader, lines: Lines, name: str, fields: tuple[str, ...], adds: tuple[str, ...]) -> Iterator[Batch]:
    """Full batches; a smaller one where the next row would have to be waited for, or cannot be read."""
    gathered: list[Row] = []
    held = 0
    source = rows(lines, name, fields, adds)
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


def _row(line: str, place: str, fields: tuple[str, ...], adds: tuple[str, ...]) -> Row:
    try:
        members = _members(line)
    except (ValueError, RecursionError):
        raise BadInput(f"{place} is not JSON; every line must hold one object") from None  # the cause quotes the line
    if members is None:
        raise BadInput(f"{place} is JSON but no object; every line must hold one")
    names = [member.name for member in members]
    named = next((name for name in fields if name in names), None)
    if named is None:
        raise BadInput(f"{place} has no field {' or '.join(fields)}; --field names the one that holds the text")
    if names.count(named) > 1:
        raise BadInput(f"{place} has the field {named} twice; take one out, as nobody can say which one is meant")
    lost = next((name for name in adds if name in names), None)
    if lost is not None:
        raise BadInput(f"{place} has a field {lost} already, which would be lost; give it another name first")
    member = members[names.index(named)]
    if not isinstance(member.value, str):
        raise BadInput(f"{place}: {named} holds no text; --field names the field that does")
    return Row(place, line, member.value, member.start, member.end, members[-1].end)


class _Member(NamedTuple):
    """One field of a row, and where its value is written. Numbers in ``value`` are what stands there."""

    name: str
    value: Any
    start: int
    end: int


def _members(line: str) -> list[_Member] | None:
    """The fields of the object that ``line`` is, doubled ones too; None for other JSON. Raises ValueError."""
    at = _behind_space(line, 0)
    if line[at : at + 1] != "{":
        _DECODER.decode(line)
        return None
    found: list[_Member] = []
    at = _behind_space(line, at + 1)
    if line[at : at + 1] == "}":
        _ended(line, at + 1)
        return found
    while True:
        if line[at : at + 1] != '"':
            raise ValueError("no name")
        name, at = _DECODER.raw_decode(line, at)
        at = _behind_space(line, at)
        if line[at : at + 1] != ":":
            raise ValueError("no colon")
        start = _behind_space(line, at + 1)
        value, end = _DECODER.raw_decode(line, start)
        found.append(_Member(name, value, start, end))
        at = _behind_space(line, end)
        if line[at : at + 1] == "}":
            _ended(line, at + 1)
            return found
        if line[at : at + 1] != ",":
            raise ValueError("no comma")
        at = _behind_space(line, at + 1)


def _behind_space(line: str, at: int) -> int:
    while line[at : at + 1] in _SPACES:
        at += 1
    return at


def _ended(line: str, at: int) -> None:
    if _behind_space(line, at) != len(line):
        raise ValueError("more than one")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


_SPACES = frozenset(" \t\r\n")
_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=str, parse_int=str)  # a number of any size


def _json(value: Any) -> str:
    """Lone surrogates stay escaped: then every reader can decode the line."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            text = json.dumps(value, allow_nan=False)
    return text
