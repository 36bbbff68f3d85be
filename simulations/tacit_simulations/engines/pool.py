"""The engine of one machine: worker processes by pebble, which can end a task that hangs and replace its worker."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from pebble import ProcessExpired, ProcessPool

from tacit_simulations.engines.base import ClosingEngine, Failed, Job, chunks, prepare_worker, run_chunk
from tacit_simulations.engines.config import RuntimeConfig


class PoolEngine(ClosingEngine):
    """Items travel in chunks; a chunk that hangs or dies is run again item by item, so only the guilty one fails."""

    def __init__(self, config: RuntimeConfig) -> None:
        self._workers, self._timeout = config.worker_count, config.device_timeout_s
        context = multiprocessing.get_context("spawn")  # a fork would copy locks held by torch's and Ray's threads
        self._pool = ProcessPool(max_workers=self._workers, initializer=prepare_worker, context=context)

    def map(self, job: Job, items: Sequence[Any], patience: float = 1.0) -> list[Any]:
        parts, seconds = list(chunks(items, self._workers)), patience * self._timeout
        futures = [self._schedule(job, part, seconds) for part in parts]
        results: list[Any] = []
        for part, future in zip(parts, futures, strict=True):
            results.extend(self._collect(job, part, seconds, future))
        return results

    def close(self) -> None:
        self._pool.close()  # type: ignore[no-untyped-call]
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()

    def _schedule(self, job: Job, part: Sequence[Any], seconds: float) -> Any:
        return self._pool.schedule(run_chunk, args=[job, part], timeout=seconds * len(part))

    def _collect(self, job: Job, part: Sequence[Any], seconds: float, future: Any) -> list[Any]:
        try:
            return list(future.result())
        except FutureTimeout:
            failure = Failed("hung")
        except ProcessExpired:
            failure = Failed("died")
        if len(part) == 1:
            return [failure]
        alone = [[item] for item in part]
        return [
            result for one in alone for result in self._collect(job, one, seconds, self._schedule(job, one, seconds))
        ]
