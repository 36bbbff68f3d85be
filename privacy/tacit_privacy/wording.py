"""How a bound and an error of a library are said to a person."""

import math

from pydantic import ValidationError


def rounded_up(value: float) -> str:
    """Four significant digits, rounded up: a bound is never shown smaller than it is."""
    if not 0 < value < math.inf:
        return f"{value:g}"
    step = 10.0 ** (math.floor(math.log10(value)) - 3)
    return f"{math.ceil(value / step - 1e-9) * step:.4g}"


def sentence(error: ValidationError) -> str:
    """What pydantic found first, as one sentence with the key and the value."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        text = f"unknown setting {key}"
    elif first["type"] == "value_error":
        text = f"{key}: {first['ctx']['error']}" if key else str(first["ctx"]["error"])
    else:
        text = f"{key}: {first['msg'].lower()}, got {first['input']!r}"
    more = len(error.errors()) - 1
    return f"{text} (and {more} more)" if more else text
