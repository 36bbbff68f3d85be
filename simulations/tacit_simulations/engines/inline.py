"""The engine without processes: easiest to debug, one core."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tacit_simulations.engines.base import ClosingEngine, Failed, Job, prepare_worker, run_one
from tacit_simulations.engines.config import RuntimeConfig


class _Hung(BaseException):
    """Outside Exception, so that a device's own ``except Exception`` cannot swallow it."""


class InlineEngine(ClosingEngine):
    """Runs every item here. A hang is ended by a timer signal, which only the main thread can receive."""

    def __init__(self, config: RuntimeConfig) -> None:
        self._timeout = config.device_timeout_s
        prepare_worker()

    def map(self, job: Job, items: Sequence[Any], patience: float = 1.0) -> list[Any]:
        return [self._run(job, item, patience * self._timeout) for item in items]

    def _run(self, job: Job, item: Any, seconds: float) -> Any:
        try:
            with _alarm(seconds):
                return run_one(job, item)
        except _Hung:
            return Failed("hung")


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(signum: int, frame: object) -> None:
        raise _Hung

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
