"""How a bound and an error of a library are said to a person."""

import math
import re
from collections.abc import Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from difflib import get_close_matches
from typing import get_args

from pydantic import BaseModel, ValidationError

_UPWARDS = Context(prec=4, rounding=ROUND_CEILING)
_DOWNWARDS = Context(prec=4, rounding=ROUND_FLOOR)


def rounded_up(value: float) -> str:
    """Four significant digits, rounded up: a bound is never shown smaller than it is."""
    return f"{float(_UPWARDS.create_decimal_from_float(value)):.4g}" if math.isfinite(value) else f"{value:g}"


def rounded_down(value: float) -> str:
    """Four significant digits, rounded down: a lower bound is never shown larger than it is."""
    return f"{float(_DOWNWARDS.create_decimal_from_float(value)):.4g}" if math.isfinite(value) else f"{value:g}"


def sentence(error: ValidationError, model: type[BaseModel], *, quoting: bool = True) -> str:
    """What pydantic found first in settings of ``model``: one sentence with the key and, if ``quoting``, the value."""
    first = error.errors(include_url=False)[0]
    parts = [str(part) for part in first["loc"] if part != "[key]"]  # pydantic's mark of a table's key
    key = ".".join(parts)
    if first["type"] == "extra_forbidden":
        meant = ".".join(part for part in parts if not part.isdigit())  # without the place in a list of tables
        text = f"unknown setting {key}{_instead(meant, list(_settings(model)))}"
    elif first["type"] == "value_error":
        text = f"{key}: {first['ctx']['error']}" if key else str(first["ctx"]["error"])
    else:
        text = f"{key}: {_plainly(first['msg'])}" + (f", got {first['input']!r}" if quoting else "")
    more = len(error.errors()) - 1
    return f"{text} (and {more} more)" if more else text


def _plainly(said: str) -> str:
    """Pydantic's clause in the words of whoever writes a settings file."""
    text = said.lower().replace("a valid tuple", 'a list, such as ["a", "b"]')
    text = re.sub(r"a valid dictionary( or instance of \w+)?", "a table of settings", text)
    return text.replace("field required", "it is missing")


def _instead(key: str, known: list[str]) -> str:
    last = key.rpartition(".")[2]
    found = [name for name in known if name.rpartition(".")[2] == last] or get_close_matches(
        key, known, n=1, cutoff=0.7
    )
    return f"; did you mean {' or '.join(found)}?" if found else ""


def _settings(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key below ``model``, dotted, tables and lists of tables included."""
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        yield key
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from _settings(inner, f"{key}.")
