"""How an error of a library is said to a person: one sentence with the key and the value."""

from pydantic import ValidationError


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
