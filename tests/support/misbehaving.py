"""Devices' code that goes wrong on request. A module of its own, so that worker processes can import it."""

import os
import time


def misbehave(item: str) -> str:
    """What a broken device does; anything else answers."""
    if item == "raise":
        raise ValueError("a device's own text must not travel")
    if item == "hang":
        while True:
            time.sleep(0.01)
    if item == "slow":
        time.sleep(3.0)
    if item == "die":
        os._exit(9)
    return f"{item} done"
