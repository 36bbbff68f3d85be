"""What options share."""

import math

import typer


def finite(value: float | None) -> float | None:
    """A ``callback``: NaN passes whatever ``min`` and ``max`` compare it with, and infinity a missing ``max``."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no finite number")
    return value
