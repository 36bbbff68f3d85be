"""Local answers: a small model behind a bounded queue, streaming, cancellable, its adapters swapped while it answers.

Importing this module and opening a model load no torch: that happens at the first request, off the event loop.
"""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from tacit_clients.slm.answers import Answer as Answer
from tacit_clients.slm.answers import LocalUnusable as LocalUnusable
from tacit_clients.slm.answers import Piece as Piece
from tacit_clients.slm.answers import Writer
from tacit_clients.slm.jobs import Job
from tacit_clients.slm.places import Adapter, check
from tacit_clients.slm.sampling import Flag, Sampling
from tacit_privacy.errors import BadInput, Busy, EngineFailed, TacitError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from tacit_clients.slm.resident import Resident, Variants

T = TypeVar("T")
Messages = Sequence[Mapping[str, Any]]
_LOADING = threading.Lock()  # transformers' lazy imports are not made for several threads
_THREAD = threading.local()
_REST_S = 30.0  # after a load that failed, before a request tries again: each one costs seconds


@dataclass(frozen=True, slots=True)
class _Adapters:
    """The fleet's and the owner's: folders, or what is in memory."""

    shared: Adapter | None
    personal: Adapter | None


@dataclass(frozen=True, slots=True)
class _Loaded:
    """The model and what its adapters are now. Replaced as a whole, so that a request reads it without a lock."""

    resident: "Resident"
    variants: "Variants"


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
        self._jobs: set[Job[Any]] = set()
        self._lock = threading.Lock()  # guards _jobs and _closed
        self._swapping = threading.Lock()
        self._closed = False
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="tacit-slm")

    @classmethod
    def open(
        cls,
        model: str | Path = "tacit-nano",
        adapter: Adapter | None = None,
        *,
        personal: Adapter | None = None,
        max_concurrent: int = 2,
        queue: int = 16,
        longest: int = 1024,
        form: Literal["auto", "chat", "plain"] = "auto",
    ) -> Self:
        """Name a model: ``tacit-nano``, a folder or a Hugging Face id. Nothing is read before the first request.

        ``adapter`` and ``personal`` are folders in peft's format, or in memory; the second is stacked on the first.
        At most ``max_concurrent`` requests are answered at once, one torch thread each, and ``queue`` more wait.
        ``longest`` bounds the tokens of any answer. ``form``: the tokenizer's chat template where there is one
        (``auto``), or the plain form in which Tacit's instruction adapters are trained. ``ready`` loads at once and
        tells what is wrong.
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
        job = Job(partial(self._run, messages, sampling, personal), _unbegun, cancelled, asyncio.get_running_loop())
        self._admit(job)
        try:
            while True:
                piece = await job.next()
                yield piece
                if piece.finish is not None:
                    return
        finally:
            job.abandon()

    async def answer(self, messages: Messages, **settings: Any) -> Answer:
        """The whole answer; settings as for ``stream``."""
        async for piece in self.stream(messages, **settings):
            if piece.answer is not None:
                return piece.answer
        raise EngineFailed("the local model ended without an answer")

    async def score(
        self, messages: Messages, completion: str, *, cancelled: Flag | None = None, personal: bool = True
    ) -> float | None:
        """How likely the model finds ``completion`` as the whole answer: mean log-probability per token, in nats.

        The end of the answer counts as one token more, so 0 is the most. It takes a place in the queue like a request,
        and the work of reading prompt and answer once. None where the two are longer than the model reads or than
        ``longest``, or where nobody waits any more. Raises as ``stream`` does.
        """
        return await self._asked(partial(self._score, messages, completion, personal), None, cancelled)

    async def weigh(
        self,
        messages: Messages,
        written: Sequence[str],
        candidates: Sequence[Sequence[str]],
        *,
        cancelled: Flag | None = None,
        personal: bool = False,
    ) -> list[list[float]]:
        """Log-probabilities of ``candidates`` for each place of an answer whose tokens are ``written``, in one pass.

        Tokens are given as the texts that they spell; place n is after the first n of ``written``. -inf for a
        candidate that is no token of this model; the list ends before a place that only such a token leads to, where
        the model's context ends, and where nobody waits any more. The personal adapter is off unless it is asked for:
        what is chosen by these numbers may leave the device. Raises as ``stream`` does.
        """
        nothing: list[list[float]] = []
        return await self._asked(partial(self._weigh, messages, written, candidates, personal), nothing, cancelled)

    async def length(self, messages: Messages, completion: str = "") -> int:
        """Tokens of a prompt and its whole answer. Raises BadInput, PromptTooLong and LocalUnusable."""

        def counted() -> int:
            resident = self._usable().resident
            return len(resident.encode(messages)) + len(resident.encode_answer(completion)) + 1

        return await asyncio.to_thread(counted)

    async def swap(self, adapter: Adapter | None) -> None:
        """Use another shared adapter, or none, from the next request on; running ones end with theirs.

        Raises BadInput where it cannot be used: then the old one stays.
        """
        await asyncio.to_thread(self._replace, lambda now: _Adapters(adapter, now.personal))

    async def swap_personal(self, personal: Adapter | None) -> None:
        """The same for the personal adapter."""
        await asyncio.to_thread(self._replace, lambda now: _Adapters(now.shared, personal))

    async def swap_both(self, adapter: Adapter | None, personal: Adapter | None) -> None:
        """The same for both at once, so that no request meets one of before and one of after."""
        await asyncio.to_thread(self._replace, lambda now: _Adapters(adapter, personal))

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

    async def _asked(self, work: Callable[[Job[T]], T], nothing: T, flag: Flag | None) -> T:
        """What ``work`` returns, in turn with the requests; ``nothing`` where it never began."""
        job = Job(work, lambda _: nothing, flag, asyncio.get_running_loop())
        self._admit(job)
        try:
            return await job.next()
        finally:
            job.abandon()

    def _admit(self, job: Job[Any]) -> None:
        with self._lock:
            gone = [other for other in self._jobs if other.cancelled()]
        for other in gone:
            other.abandon()  # who has gone keeps nobody out
        with self._lock:
            self._refuse_if_closed()
            if len(self._jobs) >= self._threads + self._queue:
                raise Busy(self._threads, len(self._jobs) - self._threads)
            self._jobs.add(job)
            job.future = self._pool.submit(job.work, job)
        job.future.add_done_callback(lambda future: self._settle(job, future))

    def _settle(self, job: Job[Any], future: "Future[Any]") -> None:
        with self._lock:
            self._jobs.discard(job)
        job.settle(future)

    def _run(self, messages: Messages, sampling: Sampling, personal: bool, job: Job[Piece]) -> Piece:
        """In a thread of the pool: the whole answer. Its last piece is returned, and sent once the place is free."""
        loaded = self._usable()
        from tacit_clients.slm.decoding import decode

        resident = loaded.resident

        ids = resident.encode(messages)
        limit = min(sampling.max_tokens or self._cap, self._cap, resident.context - len(ids))
        writer = Writer(resident.text_stream(sampling.stop), resident.ends, len(ids), job.started)
        with loaded.variants.choose(personal).network() as network:
            tokens = decode(network, ids, sampling, limit, job.cancelled)
            for piece in writer.pieces(tokens, job.cancelled):
                if piece.finish is not None:
                    return piece
                job.post(piece)
        raise EngineFailed("the local model ended without an answer")

    def _score(self, messages: Messages, completion: str, personal: bool, job: Job[float | None]) -> float | None:
        loaded = self._usable()
        from tacit_clients.slm.decoding import likelihood

        resident = loaded.resident
        ids, answer = resident.encode(messages), resident.encode_answer(completion)
        if len(answer) >= min(self._cap, resident.context - len(ids)):  # the end needs a place too
            return None
        with loaded.variants.choose(personal).network() as network:
            total = likelihood(network, ids, answer, resident.ends, job.cancelled)
        return None if total is None else total / (len(answer) + 1)

    def _weigh(
        self,
        messages: Messages,
        written: Sequence[str],
        candidates: Sequence[Sequence[str]],
        personal: bool,
        job: Job[list[list[float]]],
    ) -> list[list[float]]:
        loaded = self._usable()
        from tacit_clients.slm.decoding import weights

        resident = loaded.resident
        ids = resident.encode(messages)
        answer = resident.known_tokens(written)[: resident.context - len(ids)]
        places = [
            [resident.token_of(text, first=number == 0) for text in texts]
            for number, texts in enumerate(candidates[: len(answer) + 1])
        ]
        with loaded.variants.choose(personal).network() as network:
            return weights(network, ids, answer, places, job.cancelled)

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
        with _LOADING:
            from tacit_clients.slm.resident import Resident

            _one_thread()
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


def _unbegun(job: Job[Piece]) -> Piece:
    """What is left of a request that nobody waited for when its turn came."""
    seconds = time.perf_counter() - job.started
    return Piece("", "cancelled", None, Answer("", 0, 0, 0.0, 0.0, "cancelled", seconds, seconds))


def _one_thread() -> None:
    """Torch's count of threads is partly each thread's own, so every thread that computes says it, once.

    Called once the model was loaded, or under ``_LOADING``: a new thread's first request waits for no swap.
    """
    if getattr(_THREAD, "single", False):
        return
    from tacit_clients.slm.models import single_thread

    single_thread()
    _THREAD.single = True
