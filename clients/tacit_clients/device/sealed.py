"""What lies in a device's sealed store, by kind: for the device itself, and for its gateway, which reads two kinds."""

from typing import Final

from tacit_privacy.pii.vault.store import Vault

KEYS: Final = "device keys"
PLACE: Final = "device placement"
TURN: Final = "device turn"
ADAPTER: Final = "device adapter"
PERSONAL: Final = "device personal"
CODE: Final = "device code"


def newest(vault: Vault, kind: str) -> bytes | None:
    """The newest record of a kind, which is the one that counts; None before the first."""
    numbers = vault.numbers(kind)
    # another process may replace it between the two looks: then the next one is found in its place
    found = vault.rows(kind, after=numbers[-1] - 1, limit=1) if numbers else []
    return found[0].row if found else None


def newest_number(vault: Vault, kind: str) -> int:
    """Its number, 0 before the first. Cheap: opens no seal."""
    numbers = vault.numbers(kind)
    return numbers[-1] if numbers else 0
