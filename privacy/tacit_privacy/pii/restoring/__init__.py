"""Originals put back into what comes from outside: in one pass, only what was issued, only where it may stand."""

from tacit_privacy.pii.restoring.stream import Restored, StreamRestorer, restore

__all__ = ["Restored", "StreamRestorer", "restore"]
