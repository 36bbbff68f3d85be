"""Logs that cannot carry text: a fixed set of fields, of which none is free."""

import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

FIELDS: Final[dict[str, type | tuple[type, ...]]] = {
    "request": str,  # random
    "route": str,
    "method": str,
    "mode": str,
    "answered_by": str,
    "reason": str,
    "outcome": str,
    "kind": str,  # of an error: its class
    "adapter": str,  # the first digits of its digest
    "status": int,
    "bytes_up": int,
    "bytes_down": int,
    "bytes_in": int,
    "masked": int,
    "milliseconds": (int, float),
    "attempts": int,
    "count": int,
    "port": int,
}
_WORD = re.compile(r"[A-Za-z0-9_./{}-]{0,64}")


def only_known_fields(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """Drop every field that is not of the schema, and every value that is not a short plain word or a number."""
    kept: dict[str, Any] = {}
    for name, value in event.items():
        if name in ("event", "level", "timestamp"):
            kept[name] = value if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_:. +-]{1,64}", value) else "?"
        elif name in FIELDS and isinstance(value, FIELDS[name]):
            kept[name] = value if not isinstance(value, str) or _WORD.fullmatch(value) else "?"
    return kept


def logger() -> Any:
    """One JSON line per event on stderr."""
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            only_known_fields,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.BoundLogger,
    )
