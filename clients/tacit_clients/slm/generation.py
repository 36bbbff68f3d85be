"""Local answers: a small model behind a bounded queue, streaming, cancellable, its adapters swapped while it answers.

Importing this module and opening a model load no torch: that happens at the first request, off the event loop.
"""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from tacit_clients.slm.answers import Answer as Answer
from tacit_clients.slm.answers import LocalUnusable as LocalUnusable
from tacit_clients.slm.answers import Piece as Piece
from tacit_clients.slm.answers import Writer
from tacit_clients.slm.places import check
from tacit_clients.slm.sampling import Flag, Sampling
from tacit_privacy.errors import BadInput, Busy, EngineFailed, TacitError

if TYPE_CHECKING:
    from tacit_clients.slm.resident import Resident, Variants

Messages = Sequence[Mapping[str, Any]]
_LOADING = threading.Lock()  # transformers' lazy imports are not made for several threads
_THREAD = threading.local()
_REST_S = 30.0  # after a load that failed, before a request tries again: each one costs seconds


@dataclass(frozen=True, slots=True)
class _Adapters:
    """Folders, of the fleet's adapter and of the owner's."""

    shared: Path | None
    personal: Path | None


@dataclass(frozen=True, slots=True)
class _Loaded:
    """The model and what its adapters are now. Replaced as a whole, so that a request reads it without a lock."""

    resident: "Resident"
    variants: "Variants"


@dataclass(eq=False)
class _Job:
    """One request on its way between the event loop that asks and the thread that writes."""

    messages: Messages = field(repr=False)
    sampling: Sampling
    personal: bool
    flag: Flag | None
    loop: asyncio.AbstractEventLoop = field(repr=False)
    pieces: "asyncio.Queue[Piece | TacitError]" = field(default_factory=asyncio.Queue, repr=False)
    started: float = field(default_factory=time.perf_counter)
    _abandoned: threading.Event = field(default_factory=threading.Event)
    future: "Future[Piece] | None" = field(default=None, repr=False)

    def cancelled(self) -> bool:
        return self._abandoned.is_set() or (self.flag is not None and self.flag.is_set())

    def abandon(self) -> None:
        """Nobody waits any more: leave the queue, or stop at the next token."""
        self._abandoned.set()
        if self.future is not None:
            self.future.cancel()

    def post(self, item: Piece | TacitError) -> None:
        try:
            self.loop.call_soon_threadsafe(self.pieces.put_nowait, item)
        except RuntimeError:  # the loop is closed, and with it whoever asked
            self._abandoned.set()


class LocalModel:
    """A causal language model that answers conversations on this device. Made by ``open``; never logs a text."""

    def __init__(
        self, name: str, adapters: _Adapters, form: Literal["auto", "chat", "plain"], threads: int, queue: int, cap: int
    ) -> None:
        self.name = name
        self._adapters, self._form, self._cap = adapters, form, cap
        self._threads, self._queue = threads, queue
        self._loaded: _Loaded | None = None
        self._failed: tuple[float, str] | None = None  # when loading failed, and how
        self._jobs: set[_Job] = set()
        self._lock = threading.Lock()  # guards _jobs and _closed
        self._swapping = threading.Lock()
        self._closed = False
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="tacit-slm")

    @classmethod
    def open(
        cls,
        model: str | Path = "tacit-nano",
        adapter: Path | None = None,
        *,
        personal: Path | None = None,
        max_concurrent: int = 2,
        queue: int = 16,
        longest: int = 1024,
        form: Literal["auto", "chat", "plain"] = "auto",
    ) -> Self:
        """Name a model: ``tacit-nano``, a folder or a Hugging Face id. Nothing is read before the first request.

        ``adapter`` and ``personal`` are folders in peft's format; the second is stacked on the first. At most
        ``max_concurrent`` requests are answered at once, one torch thread each, and ``queue`` more wait. ``longest``
        bounds the tokens of any answer. ``form``: the tokenizer's chat template where there is one (``auto``), or the
        plain form in which Tacit's instruction adapters are trained. ``ready`` loads at once and tells what is wrong.
        """
        if max_concurrent < 1 or queue < 0 or longest < 1:
            raise BadInput(
                f"max_concurrent {max_concurrent}, queue {queue} and longest {longest}: give at least 1, 0 and 1"
            )
        return cls(str(model), _Adapters(adapter, personal), form, max_concurrent, queue, longest)

    def check(self) -> None:
        """What can be seen without loading. Raises BadInput where there is no such model, or its adapters are none."""
        check(self.name, (self._adapters.shared, self._adapters.personal))

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def loaded(self) -> bool:
        return self._loaded is not None

    @property
    def load(self) -> tuple[int, int]:
        """How many requests are answered now, and how many wait."""
        with self._lock:
            running = sum(1 for job in self._jobs if job.future is not None and job.future.running())
            return running, len(self._jobs) - running

    async def ready(self) -> None:
        """Load now, off the event loop. Raises BadInput where the model or an adapter cannot be used."""
        await asyncio.to_thread(self._ensure)

    async def form(self) -> Literal["chat", "plain"]:
        """How the model is spoken to, which loads it: by its chat template, or in single plain requests.

        Raises LocalUnusable.
        """
        loaded = await asyncio.to_thread(self._usable)
        return "chat" if loaded.resident.chat else "plain"

    async def stream(
        self,
        messages: Messages,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        cancelled: Flag | None = None,
        personal: bool = True,
    ) -> AsyncGenerator[Piece, None]:
        """The answer piece by piece; the last piece has ``finish`` and the whole ``answer``.

        Temperature 0 is the default: a small model is best at its likeliest word. ``personal`` False answers without
        the personal adapter. Closing the generator or setting ``cancelled`` ends the work within a token. Raises at
        the first step: Busy where the queue is full, PromptTooLong, LocalUnusable, or BadInput.
        """
        sampling = Sampling.of(max_tokens, temperature, top_p, stop, seed)
        job = _Job(messages, sampling, personal, cancelled, asyncio.get_running_loop())
        self._admit(job)
        try:
            while True:
                item = await job.pieces.get()
                if isinstance(item, TacitError):
                    raise item
                yield item
                if item.finish is not None:
                    return
        finally:
            job.abandon()

    async def answer(self, messages: Messages, **settings: Any) -> Answer:
        """The whole answer; settings as for ``stream``."""
        async for piece in self.stream(messages, **settings):
            if piece.answer is not None:
                return piece.answer
        raise EngineFailed("the local model ended without an answer")

    async def swap(self, adapter: Path | None) -> None:
        """Use another shared adapter, or none, from the next request on; running ones end with theirs.

        Raises BadInput where it cannot be used: then the old one stays.
        """
        await asyncio.to_thread(self._replace, lambda now: _Adapters(adapter, now.personal))

    async def swap_personal(self, personal: Path | None) -> None:
        """The same for the personal adapter."""
        await asyncio.to_thread(self._replace, lambda now: _Adapters(now.shared, personal))

    async def close(self, grace: float = 5.0) -> None:
        """Take no more requests; after ``grace`` seconds, end those that still run or wait as cancelled."""
        with self._lock:
            self._closed = True
        await asyncio.to_thread(self._drain, grace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(0.0 if kind else 5.0)

    def _admit(self, job: _Job) -> None:
        with self._lock:
            gone = [other for other in self._jobs if other.cancelled()]
        for other in gone:
            other.abandon()  # who has gone keeps nobody out
        with self._lock:
            self._refuse_if_closed()
            if len(self._jobs) >= self._threads + self._queue:
                raise Busy(self._threads, len(self._jobs) - self._threads)
            self._jobs.add(job)
            job.future = self._pool.submit(self._run, job)
        job.future.add_done_callback(lambda future: self._settle(job, future))

    def _settle(self, job: _Job, future: "Future[Piece]") -> None:
        """A request is over, well or not: nobody may wait for ever, and no text may be in what they are told."""
        with self._lock:
            self._jobs.discard(job)
        if future.cancelled():
            seconds = time.perf_counter() - job.started
            job.post(Piece("", "cancelled", None, Answer("", 0, 0, 0.0, 0.0, "cancelled", seconds, seconds)))
            return
        error = future.exception()
        if error is None:
            job.post(future.result())
        elif isinstance(error, TacitError):
            job.post(error)
        else:
            job.post(EngineFailed(f"the local model failed ({type(error).__name__})"))

    def _run(self, job: _Job) -> Piece:
        """In a thread of the pool: the whole answer. Its last piece is returned, and sent once the place is free."""
        loaded = self._usable()
        from tacit_clients.slm.decoding import decode

        resident = loaded.resident

        ids = resident.encode(job.messages)
        limit = min(job.sampling.max_tokens or self._cap, self._cap, resident.context - len(ids))
        writer = Writer(resident.text_stream(job.sampling.stop), resident.ends, len(ids), job.started)
        with loaded.variants.choose(job.personal).network() as network:
            tokens = decode(network, ids, job.sampling, limit, job.cancelled)
            for piece in writer.pieces(tokens, job.cancelled):
                if piece.finish is not None:
                    return piece
                job.post(piece)
        raise EngineFailed("the local model ended without an answer")

    def _usable(self) -> _Loaded:
        """The loaded model for a request. Raises LocalUnusable: to find out is not the request's fault."""
        failed = self._failed
        if self._loaded is not None or failed is None or time.monotonic() - failed[0] > _REST_S:
            try:
                return self._ensure()
            except EngineFailed:
                raise
            except Exception as error:
                said = str(error) if isinstance(error, TacitError) else f"it cannot be loaded ({type(error).__name__})"
                failed = self._failed = (time.monotonic(), said)
        raise LocalUnusable(failed[1])

    def _ensure(self) -> _Loaded:
        loaded = self._loaded
        if loaded is None:
            with self._swapping:
                self._refuse_if_closed()
                loaded = self._loaded or self._load(self._adapters)
                self._loaded = loaded
        _one_thread()
        return loaded

    def _load(self, adapters: _Adapters) -> _Loaded:
        _one_thread()
        with _LOADING:
            from tacit_clients.slm.resident import Resident

            resident = self._loaded.resident if self._loaded else Resident(self.name, self._form, self._threads)
            return _Loaded(resident, resident.variants(adapters.shared, adapters.personal))

    def _replace(self, change: Callable[[_Adapters], _Adapters]) -> None:
        with self._swapping:
            self._refuse_if_closed()
            adapters = change(self._adapters)
            self._loaded = self._load(adapters)
            self._adapters = adapters

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise EngineFailed("the local model is closed")

    def _drain(self, grace: float) -> None:
        with self._lock:
            jobs = list(self._jobs)
        wait([job.future for job in jobs if job.future is not None], timeout=grace)
        for job in jobs:
            job.abandon()
        self._pool.shutdown(wait=True)
        self._loaded = None


def _one_thread() -> None:
    """Torch's count of threads is partly each thread's own, so every thread that computes says it, once."""
    if getattr(_THREAD, "single", False):
        return
    with _LOADING:
        from tacit_clients.slm.models import single_thread
    single_thread()
    _THREAD.single = True
