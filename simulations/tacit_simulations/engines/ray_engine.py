"""The engine of many machines: Ray actors, each with one resident model. A cluster's address may be given."""

import logging
import os
from collections import deque
from collections.abc import Sequence
from typing import Any

from tacit_privacy.errors import EngineFailed
from tacit_simulations.engines.base import ClosingEngine, Failed, Job, chunks, prepare_worker, run_chunk
from tacit_simulations.engines.config import RuntimeConfig

_START_S = 300.0  # an actor imports torch before it is ready


class _Worker:
    """An actor: one torch thread, whatever the machine has."""

    def __init__(self) -> None:
        prepare_worker()

    def ready(self) -> bool:
        return True

    def run(self, job: Job, chunk: Sequence[Any]) -> list[Any]:
        return run_chunk(job, chunk)


class RayEngine(ClosingEngine):
    """Keeps one chunk in flight per actor. An actor that hangs is killed and replaced; its chunk runs item by item."""

    def __init__(self, config: RuntimeConfig) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # CPU actors keep the caller's devices visible
        import ray

        self._ray, self._timeout = ray, config.device_timeout_s
        options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        if config.ray_address:
            options["address"] = config.ray_address
        else:
            options |= {"num_cpus": config.worker_count, "include_dashboard": False}
        try:
            ray.init(**options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            where = config.ray_address or "this machine"
            raise EngineFailed(f"cannot start Ray on {where}: {error}; try runtime.engine = 'pool'") from error
        self._actor_class = ray.remote(num_cpus=1)(_Worker)
        self._workers = config.worker_count
        self._idle: deque[Any] = deque(self._actor_class.remote() for _ in range(self._workers))
        self._await(list(self._idle))

    def map(self, job: Job, items: Sequence[Any], patience: float = 1.0) -> list[Any]:
        parts, seconds = list(chunks(items, self._workers)), patience * self._timeout
        shared = self._ray.put(job)
        waiting: deque[int] = deque(range(len(parts)))
        running: dict[Any, tuple[int, Any]] = {}
        results: list[list[Any]] = [[] for _ in parts]
        while waiting or running:
            while waiting and self._idle:
                number, actor = waiting.popleft(), self._idle.popleft()
                running[actor.run.remote(shared, parts[number])] = (number, actor)
            longest = max(len(parts[number]) for number, _ in running.values()) * seconds
            done, _ = self._ray.wait(list(running), num_returns=1, timeout=longest)
            for reference in done or list(running):
                number, actor = running.pop(reference)
                results[number] = self._collect(job, parts[number], seconds, reference, actor, finished=bool(done))
        return [result for part in results for result in part]

    def close(self) -> None:
        self._ray.shutdown()

    def _await(self, actors: Sequence[Any]) -> None:
        """Wait until actors run, so that a device's time is measured without the start of its worker."""
        waiting = [actor.ready.remote() for actor in actors]
        ready, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=_START_S)
        if len(ready) < len(waiting):
            raise EngineFailed(f"Ray started {len(ready)} of {len(waiting)} actors in {_START_S:.0f} s; lower workers")

    def _collect(
        self, job: Job, part: Sequence[Any], seconds: float, reference: Any, actor: Any, finished: bool
    ) -> list[Any]:
        failure = Failed("hung")
        if finished:
            try:
                found = list(self._ray.get(reference))
                self._idle.append(actor)
                return found
            except self._ray.exceptions.RayActorError:
                failure = Failed("died")
        self._ray.kill(actor)
        fresh = self._actor_class.remote()
        self._await([fresh])
        self._idle.append(fresh)
        if len(part) == 1:
            return [failure]
        return [result for item in part for result in self._alone(job, item, seconds)]

    def _alone(self, job: Job, item: Any, seconds: float) -> list[Any]:
        actor = self._idle.popleft()
        reference = actor.run.remote(job, [item])
        done, _ = self._ray.wait([reference], timeout=seconds)
        return self._collect(job, [item], seconds, reference, actor, finished=bool(done))
