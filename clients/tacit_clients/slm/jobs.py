"""One piece of work on its way between the event loop that asks and the thread of the model's pool that does it."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tacit_clients.slm.sampling import Flag
from tacit_privacy.errors import EngineFailed, TacitError

T = TypeVar("T")


@dataclass(eq=False)
class Job(Generic[T]):
    """``work`` may post items while it goes on; what it returns is the last one.

    ``unbegun`` is said in its place where nobody waited any more before it began.
    """

    work: "Callable[[Job[T]], T]" = field(repr=False)
    unbegun: "Callable[[Job[T]], T]" = field(repr=False)
    flag: Flag | None
    loop: asyncio.AbstractEventLoop = field(repr=False)
    items: "asyncio.Queue[T | TacitError]" = field(default_factory=asyncio.Queue, repr=False)
    started: float = field(default_factory=time.perf_counter)
    _abandoned: threading.Event = field(default_factory=threading.Event)
    future: "Future[T] | None" = field(default=None, repr=False)

    def cancelled(self) -> bool:
        return self._abandoned.is_set() or (self.flag is not None and self.flag.is_set())

    def abandon(self) -> None:
        """Nobody waits any more: leave the queue, or stop at the next token."""
        self._abandoned.set()
        if self.future is not None:
            self.future.cancel()

    def post(self, item: T | TacitError) -> None:
        try:
            self.loop.call_soon_threadsafe(self.items.put_nowait, item)
        except RuntimeError:  # the loop is closed, and with it whoever asked
            self._abandoned.set()

    async def next(self) -> T:
        """The next item. Raises what the work raised."""
        item = await self.items.get()
        if isinstance(item, TacitError):
            raise item
        return item

    def settle(self, future: "Future[T]") -> None:
        """It is over, well or not: nobody may wait for ever, and no text may be in what they are told."""
        if future.cancelled():
            self.post(self.unbegun(self))
            return
        error = future.exception()
        if error is None:
            self.post(future.result())
        elif isinstance(error, TacitError):
            self.post(error)
        else:
            self.post(EngineFailed(f"the local model failed ({type(error).__name__})"))
