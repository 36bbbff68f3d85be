"""Recorded answers: JSON lines {"id", "prompt", "slm", "llm"}, and what else a row may say."""

import json
from pathlib import Path
from typing import Any

from tacit_clients.routing import Example, Signals
from tacit_privacy.errors import BadInput


def read(file: Path) -> list[Example]:
    """Every row of ``file``. Raises BadInput with the number of the line; messages never quote a prompt."""
    examples = []
    try:
        with file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    examples.append(_row(line, f"{file}, line {number}"))
    except UnicodeDecodeError as error:
        raise BadInput(f"cannot read {file}: it is not UTF-8 text") from error
    except OSError as error:
        raise BadInput(f"cannot read {file}: {error.strerror}") from error
    if not examples:
        raise BadInput(f'{file} holds no rows; a row is {{"id", "prompt", "slm", "llm"}}')
    return examples


def _row(line: str, where: str) -> Example:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadInput(f"{where}: not JSON") from error
    if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
        raise BadInput(f'{where}: not a row {{"id", "prompt", "slm", "llm"}}')
    if not isinstance(row.get("id"), str | int):
        raise BadInput(f'{where}: "id" is neither a string nor a whole number')
    group = row.get("group")
    if group is not None and not isinstance(group, str | int):
        raise BadInput(f'{where}: "group" is neither a string nor a whole number')
    return Example(
        row["prompt"],
        _right(row, "slm", where),
        _right(row, "llm", where),
        None if group is None else str(group),
        Signals(confidence=_confidence(row, where)),
    )


def _right(row: dict[str, Any], model: str, where: str) -> bool:
    value = row.get(model)
    if isinstance(value, str | None) or value not in (0, 1):
        raise BadInput(f'{where}: "{model}" is neither 0 nor 1')
    return bool(value)


def _confidence(row: dict[str, Any], where: str) -> float | None:
    value = row.get("confidence")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise BadInput(f'{where}: "confidence" is no number from 0 to 1')
    return float(value)
