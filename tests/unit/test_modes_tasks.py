"""Questions: what a row may hold, and when an answer is right."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tacit_privacy.errors import BadInput
from tacit_simulations.evaluation.modes.tasks import Task, last_number, number_of, read, right

ROW: dict[str, Any] = {"id": "a", "prompt": "How many?", "answer": "7"}


def rows(tmp_path: Path, *found: Any) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in found))
    return file


@pytest.mark.parametrize(
    ("answer", "expected", "is_right"),
    [
        ("Send 42 to  Anna", "send 42 to anna", True),  # case and white space
        ("tuesday.", "Tuesday", True),  # one full stop at the end
        ("tuesday..", "Tuesday", False),
        ("on tuesday", "Tuesday", False),  # no part of a text
        ("STRASSE", "straße", True),  # folded, not lower-cased
        ("3 and 4 make 7", "7", True),  # the last number
        ("7 is 3 and 4", "7", False),
        ("7 is 3 and 4", "7 apples", False),  # not a number: the text must be the same
        ("It costs $1,234.50 in all", "1234.5", True),
        ("The total is 42.", "42", True),
        ("-3", "3", False),
        ("it is 50%", "50%", True),
        ("", "7", False),
        ("none", "7", False),
    ],
)
def test_scoring(answer: str, expected: str, is_right: bool) -> None:
    assert right(answer, Task("a", "?", (expected,))) is is_right


def test_any_of_several_answers_is_right() -> None:
    task = Task("a", "?", ("the sixth", "6"))
    assert right("sixth? it is 6", task) and right("The sixth", task) and not right("sixth", task)


@pytest.mark.parametrize(
    ("text", "number"), [("1,234", "1234"), ("12,34", None), ("£5", "5"), (".5", "0.5"), ("seven", None), ("7 8", None)]
)
def test_numbers(text: str, number: str | None) -> None:
    assert number_of(text) == (None if number is None else Decimal(number))


def test_thousands_are_one_number_and_lists_are_not() -> None:
    assert last_number("1,234") == 1234
    assert last_number("1,23") == 23


def test_a_file_gives_tasks_in_order_up_to_the_limit(tmp_path: Path) -> None:
    more = {"id": 2, "prompt": "Who?", "answer": 3.5, "answers": ["x"], "units": ["Anna"], "family": "note"}
    file = rows(tmp_path, ROW, "", more, "not JSON")
    assert read(file, limit=2) == [
        Task("a", "How many?", ("7",), None, "all"),
        Task("2", "Who?", ("3.5", "x"), ("Anna",), "note"),
    ]


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (["{"], "line 1: not JSON"),
        ([ROW, [1]], 'line 2: not a row {"id", "prompt", "answer"}'),
        ([ROW | {"id": None}], '"id" is neither a string nor a whole number'),
        ([ROW | {"id": True}], '"id" is neither a string nor a whole number'),
        ([ROW | {"prompt": " "}], '"prompt" is no string with text'),
        ([ROW | {"answer": ""}], '"answer" is neither a string with text nor a number'),
        ([ROW | {"answer": True}], '"answer" is neither a string with text nor a number'),
        ([ROW | {"answers": "x"}], '"answers" is no list of strings'),
        ([ROW | {"units": ["x", 1]}], '"units" is no list of strings'),
        ([ROW | {"family": ""}], '"family" is no string'),
        ([ROW, ROW], "the id 'a' was there before"),
        ([ROW | {"id": "\ud800"}], "line 1: half of a surrogate pair"),  # as \ud800 in the file
        ([ROW | {"family": "note\udc00"}], "line 1: half of a surrogate pair"),
        ([ROW | {"else": {"\ud800": 1}}], "line 1: half of a surrogate pair"),
        (['{"id": 1, "answer": ' + 10**5 * "[" + 10**5 * "]" + "}"], "line 1: JSON that is nested too deep"),
        (['{"id": 1, "answer": ' + 5000 * "7" + "}"], "line 1: a number of more than 4,300 digits"),
        ([], "holds no question"),
    ],
)
def test_bad_rows_are_named_by_line_and_never_quoted(tmp_path: Path, found: list[Any], sentence: str) -> None:
    with pytest.raises(BadInput) as refused:
        read(rows(tmp_path, *found))
    assert sentence in str(refused.value)
    assert "How many" not in str(refused.value)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot read"):
        read(tmp_path / "none.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="not UTF-8"):
        read(tmp_path / "binary.jsonl")


def test_a_nesting_that_can_just_be_read_is_refused_like_any_other(tmp_path: Path) -> None:
    """Reading and writing JSON give up at different depths."""
    for depth in range(800, 1000):
        nested = depth * "[" + depth * "]"
        with pytest.raises(BadInput, match="line 1: "):
            read(rows(tmp_path, f'{{"id": 1, "prompt": "x", "answer": {nested}}}'))


def test_whole_pairs_are_text_and_a_byte_order_mark_is_none(tmp_path: Path) -> None:
    file = rows(tmp_path, ROW | {"family": "\U0001f600"})
    file.write_text("\ufeff" + file.read_text())
    assert [task.family for task in read(file)] == ["\U0001f600"]
