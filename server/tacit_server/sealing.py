"""What of a round, and of a device, may be told where the roster is sealed."""

from typing import Any, Final

# What tells who took part. A round's times do not: a round of a secret cohort lasts until its deadline.
SEALED: Final = frozenset({"sampled", "completed", "dropped", "accepted", "bytes_up", "bytes_down"})
OF_DEVICE: Final = frozenset({"activity", "refusal", "rounds", "outbox"})  # of what a device reports


def told(record: dict[str, Any], *, sealed: bool) -> dict[str, Any]:
    """A round's record as it may be told: behind a sealed roster nothing that depends on who took part."""
    return {name: value for name, value in record.items() if not sealed or name not in SEALED}


def told_of_device(found: dict[str, Any], *, sealed: bool) -> dict[str, Any]:
    """What is known of a device as it may be told: behind a sealed roster nothing of whether it is taking part."""
    return {name: value for name, value in found.items() if not sealed or name not in OF_DEVICE}
