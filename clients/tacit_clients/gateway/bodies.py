"""JSON bodies: parsed once, refused where they are no object, too deep, or no JSON by the book."""

import json
from collections.abc import Mapping
from typing import Any, Final, NoReturn
from urllib.parse import parse_qsl

from tacit_clients.gateway.errors import Refused, refuse

DEEPEST: Final = 64
_MOST_FIELDS = 64


def parsed(raw: bytes) -> dict[str, Any]:
    """The object in ``raw``. Raises Refused, without the parser's own error: that one holds the document."""
    found: Any = None
    try:
        found = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise refuse(400, "not_json", "the body must be one JSON object in UTF-8")
    if too_deep(found):
        raise refuse(400, "too_deep", f"the body is nested more than {DEEPEST} deep")
    return found


def _no_constant(word: str) -> NoReturn:
    raise ValueError("NaN and infinity are not JSON")


def too_deep(body: Any) -> bool:
    level, depth = [body], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            return True
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
    return False


def form_of(raw: bytes) -> dict[str, str]:
    """The fields of a form; of one that stands twice the last counts. Raises Refused."""
    found: list[tuple[str, str]] | None = None
    try:
        found = parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="replace")
    except ValueError:
        found = None
    if found is None:
        raise refuse(400, "bad_request", "the form cannot be read")
    return dict(found)


def text_of(body: dict[str, Any], name: str) -> str:
    """The string in field ``name``; Refused where it is none."""
    value = body.get(name)
    if not isinstance(value, str):
        raise _missing(name)
    return value


def flag_of(body: Mapping[str, Any], name: str) -> bool:
    """Field ``name``, false where it is missing or null; Refused where it is neither true nor false."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise refuse(400, "bad_request", f"{name} must be true or false")
    return value is True


def _missing(name: str) -> Refused:
    return refuse(400, "bad_request", f"{name} must be a string")
