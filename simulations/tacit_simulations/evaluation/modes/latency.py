"""How long a person waits for the device's own answer, and what each way to decide about it adds."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import numpy as np

from tacit_clients.gateway.app import build
from tacit_clients.gateway.serving import Server, listening
from tacit_clients.gateway.settings import GatewaySettings
from tacit_clients.modes import prompts
from tacit_clients.slm.generation import LocalModel
from tacit_privacy.errors import EngineFailed
from tacit_privacy.pii.vault.store import Vault
from tacit_privacy.randomness import stream
from tacit_simulations.evaluation.modes.asking import KEEP_ALL

WARM_UP: Final = 2  # requests before those that count
SAMPLES: Final = 4  # of the consistency check, as tacit/routing asks by default
_SAMPLE_TEMPERATURE, _VERDICT_TOKENS = 0.7, 8
_TEXT: Final = (
    "the kitchen lamp garden window morning please turn down a little when it gets dark and tell me how warm the "
    "water in the pool was after lunch on the day before we left for the lake with both dogs"
)
Messages = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Spread:
    """Milliseconds: half of the times are at most ``p50``, 95 % at most ``p95`` (nearest rank)."""

    p50: float
    p95: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Spread":
        p50, p95 = np.quantile(np.array(seconds), (0.5, 0.95), method="inverted_cdf")
        return cls(1e3 * float(p50), 1e3 * float(p95))


@dataclass(frozen=True, slots=True)
class Wait:
    """One streamed answer, seconds."""

    first: float  # to its first text
    whole: float
    tokens: int

    @property
    def per_second(self) -> float | None:
        """Tokens a second after the first; None where there is only one."""
        return (self.tokens - 1) / (self.whole - self.first) if self.tokens > 1 and self.whole > self.first else None


def told(waits: Sequence[Wait]) -> dict[str, Any]:
    """As the command prints them. ``tokens_per_s`` is the median over answers of two tokens or more."""
    rates = [rate for wait in waits if (rate := wait.per_second) is not None]
    return {
        "ttft_ms": asdict(Spread.of([wait.first for wait in waits])),
        "whole_ms": asdict(Spread.of([wait.whole for wait in waits])),
        "answer_tokens": float(np.mean([wait.tokens for wait in waits])),
        "tokens_per_s": float(np.median(rates)) if rates else None,
    }


async def made_up_prompts(model: LocalModel, tokens: int, count: int, seed: int) -> list[str]:
    """``count`` prompts of common words, no two alike, of about ``tokens`` tokens of the model's own."""
    rng = stream(seed, "latency-prompts")
    found = []
    for number in range(count):
        words = [f"{number}", *rng.choice(_TEXT.split(), size=tokens)]
        fits = 1
        for size in range(1, len(words) + 1):  # a word has a token or more
            if await model.length(asked(" ".join(words[:size]))) > tokens + 1:  # and the answer's end is one
                break
            fits = size
        found.append(" ".join(words[:fits]))
    return found


def asked(prompt: str) -> Messages:
    return [{"role": "user", "content": prompt}]


async def measure_local(model: LocalModel, texts: Sequence[str], tokens: int) -> dict[str, Any]:
    """The same prompts to the model itself and through the gateway over HTTP, in turn, one at a time."""
    direct, served, read = list[Wait](), list[Wait](), list[int]()
    async with _served(model, tokens) as url, aiohttp.ClientSession(trust_env=False) as client:
        for number, text in enumerate(texts):
            one, prompt_tokens = await _direct(model, text, tokens)
            other = await _through(client, url, text, tokens)
            if number >= WARM_UP:
                direct.append(one)
                served.append(other)
                read.append(prompt_tokens)
    return {
        "requests": len(direct),
        "prompt_tokens": float(np.mean(read)),
        "direct": told(direct),
        "gateway": told(served),
    }


async def measure_verification(model: LocalModel, texts: Sequence[str], tokens: int) -> dict[str, Any]:
    """What checking an answer that is there takes: by one question about it, and by asking again some times."""
    wording = prompts.of_form(await model.form())
    question, again = list[float](), list[float]()
    for text in texts:
        answer = await model.answer(asked(text), max_tokens=tokens)
        start = time.perf_counter()
        verify = [dict(each) for each in wording.ask("verify", prompt=text, answer=answer.text)]
        await model.answer(verify, max_tokens=_VERDICT_TOKENS)
        question.append(time.perf_counter() - start)
        start = time.perf_counter()
        for seed in range(SAMPLES):
            await model.answer(asked(text), max_tokens=tokens, temperature=_SAMPLE_TEMPERATURE, seed=seed)
        again.append(time.perf_counter() - start)
    return {
        "question_ms": asdict(Spread.of(question[WARM_UP:])),
        "consistency_ms": asdict(Spread.of(again[WARM_UP:])) | {"samples": SAMPLES},
    }


def measure_predictor(file: Path, texts: Sequence[str]) -> dict[str, Any]:
    """A decision of the trained router, from the prompt alone. Raises BadInput where the file is none."""
    from tacit_clients.routing.predictor import Predictor

    predictor, seconds = Predictor.load(file), list[float]()
    for text in texts:
        start = time.perf_counter()
        predictor.decide(text)
        seconds.append(time.perf_counter() - start)
    return {"decision_ms": asdict(Spread.of(seconds[WARM_UP:])), "requests": len(seconds) - WARM_UP}


# --- two ways to the same model


async def _direct(model: LocalModel, text: str, tokens: int) -> tuple[Wait, int]:
    start, first, read, written = time.perf_counter(), 0.0, 0, 0
    async with contextlib.aclosing(model.stream(asked(text), max_tokens=tokens)) as pieces:
        async for piece in pieces:
            if piece.text and not first:
                first = time.perf_counter() - start
            if piece.answer is not None:
                read, written = piece.answer.tokens_in, piece.answer.tokens_out
    whole = time.perf_counter() - start
    return Wait(first or whole, whole, written), read


async def _through(client: aiohttp.ClientSession, url: str, text: str, tokens: int) -> Wait:
    body = {"model": "tacit/local", "messages": asked(text), "max_tokens": tokens, "stream": True}
    body["stream_options"] = {"include_usage": True}
    start, first, written = time.perf_counter(), 0.0, 0
    async with client.post(url, json=body) as reply:
        if reply.status != 200:
            raise EngineFailed(f"the gateway answered with status {reply.status}")
        async for line in reply.content:
            row = json.loads(line[6:]) if line.startswith(b"data: {") else {}
            if not first and any((choice.get("delta") or {}).get("content") for choice in row.get("choices") or ()):
                first = time.perf_counter() - start
            written = (row.get("usage") or {}).get("completion_tokens", written)
    whole = time.perf_counter() - start
    return Wait(first or whole, whole, written)


class _Wordless:
    """A log that says nothing: a line a request is of no use here."""

    def info(self, event: str, **fields: Any) -> None: ...

    warning = error = info


class _Beside(Server):
    """Runs beside its client in one loop; signals stay with whoever started the command."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def _served(model: LocalModel, tokens: int) -> AsyncIterator[str]:
    """A gateway on a free port of loopback, as ``tacit gateway`` serves it; yields where chats are asked."""
    settings = GatewaySettings.read(
        None, {"upstream.url": "http://127.0.0.1:9/v1", "upstream.model": "none", "local.max_tokens": tokens}
    )
    with contextlib.closing(Vault.ephemeral()) as vault, listening("127.0.0.1", 0) as bound:
        serving = _Beside(build(settings, KEEP_ALL, vault, model, log=_Wordless()))
        running = asyncio.create_task(serving.serve(sockets=[bound]))
        await _until(lambda: serving.started or running.done())
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1/chat/completions"
        finally:
            serving.should_exit = True
            await running


async def _until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.005)
