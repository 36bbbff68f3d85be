"""Child processes that never outlive the process that started them."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG, prctl(2)
_GRACE_S = 10.0


def start(module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Run ``python -m module``; what it says goes where this process' own words go.

    On Linux the kernel ends it when this process ends, whatever that ends by.
    """
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, preexec_fn=tie())


def end(process: "subprocess.Popen[bytes] | None") -> None:
    """Ask a process to end, and make it."""
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def tie() -> Callable[[], None] | None:
    """What a child runs before anything else, so that the kernel ends it with this process; None where none can."""
    return _tied(os.getpid()) if sys.platform == "linux" else None


def _tied(parent: int) -> Callable[[], None]:
    libc = ctypes.CDLL(None, use_errno=True)

    def tie() -> None:
        libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before the kernel was told
            os._exit(1)

    return tie
