"""Questions with one right answer, read from JSON lines, and when an answer counts as right."""

import re
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from tacit_clients.modes.lexical import folded
from tacit_privacy.errors import BadInput
from tacit_simulations.evaluation.lines import check_text, rows

NO_FAMILY: Final = "all"  # of a row that names none
_NUMBER: Final = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[-+]?\.\d+")


@dataclass(frozen=True, slots=True)
class Task:
    """One question. ``units`` are the strings that must not leave; None: nobody marked them."""

    id: str
    prompt: str = field(repr=False)
    answers: tuple[str, ...] = field(repr=False)  # any of them is right
    units: tuple[str, ...] | None = field(default=None, repr=False)
    family: str = NO_FAMILY


def read(file: Path, limit: int | None = None) -> list[Task]:
    """Rows {"id", "prompt", "answer"} and optional "answers", "units", "family"; the first ``limit``.

    Raises BadInput with the line for a row that is none, for an id that comes twice and for a file without rows.
    """
    tasks: dict[str, Task] = {}
    for place, task in rows(file, _task):
        if task.id in tasks:
            raise BadInput(f"{place}: the id {task.id[:40]!r} was there before; ids name one row")
        tasks[task.id] = task
        if limit is not None and len(tasks) == limit:
            break
    if not tasks:
        raise BadInput(f'{file} holds no question; a row is {{"id", "prompt", "answer"}} on a line of its own')
    return list(tasks.values())


def _task(row: Any) -> Task:
    """A row, checked. Messages name fields, never text."""
    if not isinstance(row, dict):
        raise BadInput('not a row {"id", "prompt", "answer"}')
    if type(row.get("id")) not in (str, int) or row["id"] == "":
        raise BadInput('"id" is neither a string nor a whole number')
    if not isinstance(row.get("prompt"), str) or not row["prompt"].strip():
        raise BadInput('"prompt" is no string with text')
    units, family = row.get("units"), row.get("family", NO_FAMILY)
    if units is not None and not _strings(units):
        raise BadInput('"units" is no list of strings')
    if not isinstance(family, str) or not family:
        raise BadInput('"family" is no string')
    check_text(row)
    return Task(str(row["id"]), row["prompt"], _answers(row), None if units is None else tuple(units), family)


def _answers(row: dict[str, Any]) -> tuple[str, ...]:
    """The answer and whatever else is right; a number may stand as one."""
    one, others = row.get("answer"), row.get("answers", [])
    if type(one) in (int, float):
        one = str(one)
    if not isinstance(one, str) or not folded(one):
        raise BadInput('"answer" is neither a string with text nor a number')
    if not _strings(others):
        raise BadInput('"answers" is no list of strings')
    return (one, *others)


def _strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


# --- scoring


def right(answer: str, task: Task) -> bool:
    """Whether ``answer`` is one of the task's: the same text, or where a number is expected the same last number."""
    return any(_matches(answer, expected) for expected in task.answers)


def number_of(text: str) -> Decimal | None:
    """The number that ``text`` is, with or without thousands commas and a currency or per cent sign; None if none."""
    bare = folded(text).strip("$€£% ")
    return _decimal(bare) if _NUMBER.fullmatch(bare) else None


def last_number(text: str) -> Decimal | None:
    """The last number in ``text``, as GSM8K scores (Cobbe et al. 2021)."""
    found = _NUMBER.findall(text)
    return _decimal(found[-1]) if found else None


def _matches(answer: str, expected: str) -> bool:
    if folded(answer) == folded(expected):
        return True
    wanted = number_of(expected)
    return wanted is not None and last_number(answer) == wanted


def _decimal(digits: str) -> Decimal | None:
    try:
        return Decimal(digits.replace(",", ""))
    except InvalidOperation:
        return None
