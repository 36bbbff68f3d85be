"""Recorded answers: JSON lines {"id", "prompt", "slm", "llm"}, and what else a row may say."""

from pathlib import Path
from typing import Any

from tacit_clients.routing import Example, Signals
from tacit_privacy.errors import BadInput
from tacit_simulations.evaluation.lines import check_text, rows


def read(file: Path) -> list[Example]:
    """Every row of ``file``. Raises BadInput with the number of the line; messages never quote a prompt."""
    examples = [example for _, example in rows(file, _example)]
    if not examples:
        raise BadInput(f'{file} holds no rows; a row is {{"id", "prompt", "slm", "llm"}}')
    return examples


def _example(row: Any) -> Example:
    if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
        raise BadInput('not a row {"id", "prompt", "slm", "llm"}')
    if not isinstance(row.get("id"), str | int):
        raise BadInput('"id" is neither a string nor a whole number')
    group = row.get("group")
    if group is not None and not isinstance(group, str | int):
        raise BadInput('"group" is neither a string nor a whole number')
    check_text(row)
    return Example(
        row["prompt"],
        _right(row, "slm"),
        _right(row, "llm"),
        None if group is None else str(group),
        Signals(confidence=_confidence(row)),
    )


def _right(row: dict[str, Any], model: str) -> bool:
    value = row.get(model)
    if isinstance(value, str | None) or value not in (0, 1):
        raise BadInput(f'"{model}" is neither 0 nor 1')
    return bool(value)


def _confidence(row: dict[str, Any]) -> float | None:
    value = row.get("confidence")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise BadInput('"confidence" is no number from 0 to 1')
    return float(value)
