"""Who has messages waiting: devices ask once and are answered when there is something, not all the time."""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Iterable


class Mail:
    """Counts deliveries by node. Counts begin anywhere, so that a device notices a server that began again."""

    def __init__(self) -> None:
        self._open = True
        self._first = secrets.randbelow(2**40)
        self._delivered: dict[int, int] = defaultdict(int)
        self._waiting: dict[int, set[asyncio.Future[None]]] = defaultdict(set)

    def arrived(self, nodes: Iterable[int]) -> None:
        """Call from the event loop's thread."""
        for node in nodes:
            self._delivered[node] += 1
            for waiter in self._waiting.pop(node, ()):
                if not waiter.done():
                    waiter.set_result(None)

    def release(self) -> None:
        """Answer everybody who waits, and let nobody wait any more: the process is to end."""
        self._open = False
        for waiters in self._waiting.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def count(self, node: int) -> int:
        return self._first + self._delivered.get(node, 0)

    async def changed(self, node: int, seen: int, patience_s: float) -> int:
        """The count, as soon as it is another than ``seen``, or once ``patience_s`` have passed."""
        if self._open and self.count(node) == seen:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting[node].add(waiter)
            try:
                await asyncio.wait_for(waiter, patience_s)
            except TimeoutError:
                pass
            finally:
                waiters = self._waiting.get(node)
                if waiters is not None:
                    waiters.discard(waiter)
                    if not waiters:
                        del self._waiting[node]
        return self.count(node)
