"""What a checkup says: findings, and how one is made out of an attempt."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from tacit_privacy.errors import TacitError

State = Literal["ok", "missing", "absent", "info", "broken", "warning"]
FAILING: tuple[State, ...] = ("missing", "broken")
EXPIRES_SOON_DAYS = 30
_LEAST_DISK, _LITTLE_DISK = 100e6, 1e9


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ``missing`` and ``broken`` fail the check; ``absent`` is optional; ``info`` is a fact."""

    section: str
    name: str
    state: State
    detail: str
    remedy: str = ""

    def as_row(self) -> dict[str, str]:
        return asdict(self)


def attempt(section: str, name: str, work: Callable[[], str], remedy: str) -> Finding:
    """``ok`` with what ``work`` says; ``broken`` with the sentence that it fails with."""
    try:
        return Finding(section, name, "ok", work())
    except TacitError as error:
        return Finding(section, name, "broken", str(error), remedy)
    except (OSError, ValueError) as error:  # ValueError: a file that is none of its kind
        return Finding(section, name, "broken", getattr(error, "strerror", None) or type(error).__name__, remedy)


def others_may_read(section: str, folder: Path, private: list[Path]) -> Finding:
    """Whether files that hold keys are their owner's alone."""
    open_to_others = [path for path in [folder, *private] if path.exists() and path.stat().st_mode & 0o077]
    if not open_to_others:
        return Finding(section, "permissions", "ok", "keys are readable by their owner alone")
    names = " ".join(map(str, open_to_others))
    return Finding(section, "permissions", "broken", f"others may read {names}", f"chmod go= {names}")


def expiry(section: str, name: str, path: Path, remedy: str) -> Finding:
    """How long a certificate is good for."""
    from cryptography import x509

    try:
        ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as error:
        return Finding(section, name, "broken", f"{path} cannot be read ({type(error).__name__})", remedy)
    days = (ends - datetime.now(UTC)).total_seconds() / 86400
    told = f"until {ends.date().isoformat()}, {days:.0f} days"
    if days > EXPIRES_SOON_DAYS:
        return Finding(section, name, "ok", told)
    return Finding(section, name, "warning" if days > 0 else "broken", told if days > 0 else f"ended {told}", remedy)


def disk(section: str, folder: Path) -> Finding:
    """Room on the disk that holds ``folder``."""
    free = shutil.disk_usage(folder).free
    state: State = "ok" if free > _LITTLE_DISK else "warning" if free > _LEAST_DISK else "broken"
    return Finding(
        section, "disk", state, f"{free / 1e9:.1f} GB free", "" if state == "ok" else f"make room on {folder}"
    )
