"""What an engine is: an ordered, fault-tolerant map over picklable items."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

Job = Callable[[Any], Any]  # a module-level function, or a partial of one: it must survive pickling
CHUNK = 8  # items a worker takes at once: few enough to balance load, enough to share what their messages share


@dataclass(frozen=True, slots=True)
class Failed:
    """An item's code did not give a result. ``reason``: raised | hung | died. ``kind`` names the exception class.

    The exception's text is left out on purpose: it may quote a device's data.
    """

    reason: str
    kind: str = ""


class Engine(Protocol):
    """Runs jobs. Results come in the order of the items, whatever finished first."""

    def map(self, job: Job, items: Sequence[Any], patience: float = 1.0) -> list[Any]:
        """``job(item)`` for every item; a Failed in the place of each that raised, hung or took its process down.

        An item hangs when it takes ``patience`` times the time that a device has.
        """
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class ClosingEngine:
    """The context-manager half of an engine."""

    def close(self) -> None:
        """Nothing to release unless a subclass says so."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def prepare_worker() -> None:
    """Once in every process that runs jobs: one torch thread, or the bytes of a result depend on the machine."""
    import torch

    torch.set_num_threads(1)


def run_one(job: Job, item: Any) -> Any:
    """``job(item)``; what it raises costs this item alone."""
    try:
        return job(item)
    except Exception as error:  # a device's code may raise anything at all
        return Failed("raised", type(error).__name__)


def run_chunk(job: Job, chunk: Sequence[Any]) -> list[Any]:
    return [run_one(job, item) for item in chunk]


def chunks(items: Sequence[Any], workers: int) -> Iterator[Sequence[Any]]:
    """Cut items into runs short enough that every worker gets several."""
    size = max(1, min(CHUNK, len(items) // (2 * workers)))
    for start in range(0, len(items), size):
        yield items[start : start + size]
