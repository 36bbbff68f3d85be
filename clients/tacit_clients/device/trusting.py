"""A device runs the code that its owner trusted, and no other: an upgrade takes the owner's word."""

from tacit_clients.device.journal import Journal
from tacit_privacy.errors import BadInput
from tacit_privacy.provenance import code_digest


def installed_code() -> str:
    """Version and digest of what a device runs; its libraries are not part of it."""
    return code_digest("tacit_privacy", "tacit_clients")


def check_code(journal: Journal) -> None:
    """Raise BadInput where the installed code is not the one that was trusted."""
    trusted, now = journal.code(), installed_code()
    if now != trusted:
        told = f"{_short(trusted)} was trusted" if trusted else "none was ever trusted"
        raise BadInput(f"the installed code is {_short(now)} and {told}; if you upgraded it, type tacit device trust")


def _short(code: str) -> str:
    """The version and the beginning of the digest."""
    version, _, found = code.partition(" sha256:")
    return f"{version} ({found[:12]})"
