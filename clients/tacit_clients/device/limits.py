"""What training may take of the machine, said to the operating system."""

import contextlib
import os
import resource

from tacit_clients.device.settings import LimitSettings
from tacit_privacy.errors import BadInput


def apply_limits(limits: LimitSettings) -> None:
    """Before anything heavy is loaded. Raises BadInput where the operating system refuses a limit."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, str(limits.threads))
    if limits.nice:
        with contextlib.suppress(OSError):
            os.nice(limits.nice)
    if limits.memory_mb is not None:
        most = limits.memory_mb * 2**20
        try:
            resource.setrlimit(resource.RLIMIT_DATA, (most, resource.getrlimit(resource.RLIMIT_DATA)[1]))
        except (OSError, ValueError) as error:
            raise BadInput(f"limits.memory_mb {limits.memory_mb} cannot be set: {error}") from error
