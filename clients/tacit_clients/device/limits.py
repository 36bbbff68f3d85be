"""What training may take of the machine, said to the operating system."""

import contextlib
import os
import resource
import sys
from collections.abc import Iterator

import psutil

from tacit_clients.device.settings import LimitSettings
from tacit_privacy.errors import BadInput

_MB = 2**20


def apply_limits(limits: LimitSettings) -> None:
    """Threads and priority, before anything heavy is loaded."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, str(limits.threads))
    if limits.nice:
        with contextlib.suppress(OSError):
            os.nice(limits.nice)


def limit_memory(limits: LimitSettings) -> None:
    """Once the libraries are loaded, which end the process where they find no memory, and before any model is.

    Raises BadInput where they alone take more, or where the operating system refuses the limit.
    """
    if limits.memory_mb is None:
        return
    if sys.platform == "linux":
        taken = psutil.Process().memory_info().data // _MB
        if taken >= limits.memory_mb:
            raise BadInput(f"limits.memory_mb {limits.memory_mb} is too little: the program takes {taken} itself")
    most = limits.memory_mb * _MB
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (most, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    except (OSError, ValueError) as error:
        raise BadInput(f"limits.memory_mb {limits.memory_mb} cannot be set: {error}") from error


@contextlib.contextmanager
def room_for_the_model(limits: LimitSettings) -> Iterator[None]:
    """While it is loaded. Raises BadInput where the limit, or the machine, has no room for it."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        most = f"limits.memory_mb {limits.memory_mb}" if limits.memory_mb else "this machine's memory"
        raise BadInput(f"{most} is too little for the program and its model") from None


def is_out_of_memory(error: Exception) -> bool:
    """Also as torch and the threading module say so, each by a RuntimeError like others."""
    said = str(error) if isinstance(error, RuntimeError) else ""
    return isinstance(error, MemoryError) or "can't allocate memory" in said or "can't start new thread" in said
