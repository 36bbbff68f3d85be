"""Detection for ``tacit redact``: here, or in worker processes that see texts and neither vault nor key."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from tacit_privacy.errors import EngineFailed
from tacit_privacy.pii.entities import Detector, Entity
from tacit_privacy.pii.policy import RedactionPolicy

Found = list[list[Entity]]


class Job(Protocol):
    """Texts that are searched in one go."""

    @property
    def texts(self) -> Sequence[str]: ...


J = TypeVar("J", bound=Job)


class Told:
    """A detector for whoever replaces: it hands out what was found elsewhere."""

    def __init__(self) -> None:
        self._found: dict[str, list[Entity]] = {}

    def tell(self, text: str, found: list[Entity]) -> None:
        self._found = {text: found}

    def detect(self, texts: Sequence[str]) -> Found:
        return [list(self._found[text]) for text in texts]


class Detecting(Generic[J]):
    """Searches jobs and gives them back in their order, whoever was ready first. Use as a context manager."""

    def __init__(self, policy: RedactionPolicy, workers: int) -> None:
        self._policy, self._workers = policy, workers
        self._pool: ProcessPoolExecutor | None = None
        self._detector: Detector | None = None

    def in_order(self, jobs: Iterable[J], waits: Callable[[], bool]) -> Iterator[tuple[J, Found]]:
        """``waits`` tells that the next job depends on somebody who may be waiting for what was found so far.

        An error of ``jobs`` is raised when everything before it was given.
        """
        under_way: deque[tuple[J, Future[Found]]] = deque()
        source, failed, ended = iter(jobs), None, False
        most = 2 * self._workers if self._workers > 1 else 0
        while not ended or under_way:
            if ended or len(under_way) > most or (under_way and waits()):
                job, future = under_way.popleft()
                yield job, self._result(future)
                continue
            try:
                job = next(source)
                under_way.append((job, self._search(job.texts)))
            except StopIteration:
                ended = True
            except Exception as error:
                failed, ended = error, True
        if failed is not None:
            raise failed

    def one(self, text: str) -> list[Entity]:
        """What is found in ``text``, here."""
        if self._detector is None:
            self._detector = _built(self._policy)
        return self._detector.detect([text])[0]

    def _search(self, texts: Sequence[str]) -> "Future[Found]":
        if self._workers > 1:
            return self._submit(texts)
        if self._detector is None:
            self._detector = _built(self._policy)
        done: Future[Found] = Future()
        done.set_result(self._detector.detect(texts))
        return done

    def _submit(self, texts: Sequence[str]) -> "Future[Found]":
        # Ctrl-C reaches the whole group of processes: workers are born with the signal blocked, and end with the parent
        resource_tracker.ensure_running()  # which would unblock it again when it starts
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            if self._pool is None:
                self._pool = ProcessPoolExecutor(
                    self._workers, multiprocessing.get_context("spawn"), _begin, (self._policy,)
                )
            return self._pool.submit(_search, list(texts))
        except BrokenProcessPool as error:
            raise _broken() from error
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    def _result(self, future: "Future[Found]") -> Found:
        try:
            return future.result()
        except BrokenProcessPool as error:
            raise _broken() from error

    def __enter__(self) -> "Detecting[J]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def _broken() -> EngineFailed:
    return EngineFailed("a worker process ended before its time, perhaps for lack of memory; use fewer --workers")


def _built(policy: RedactionPolicy) -> Detector:
    from tacit_privacy.pii.detection.detector import build_detector

    return build_detector(policy)


# --- in a worker

_policy = RedactionPolicy()
_detector: Detector | None = None


def _begin(policy: RedactionPolicy) -> None:
    global _policy
    _policy = policy
    os.environ["OMP_NUM_THREADS"] = "1"  # the other cores have workers of their own
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _search(texts: list[str]) -> Found:
    global _detector
    if _detector is None:  # not in the initialiser, whose errors would be lost
        _detector = _built(_policy)
    return _detector.detect(texts)
