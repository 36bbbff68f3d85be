"""The gateway's own time: an upstream that answers at once, asked directly, through LiteLLM's proxy and through Tacit.

Upstream, proxy and gateway are processes of their own on loopback; the load comes from this one. In every repetition
each way gets its turn at one connection, at eight, and at streams, with the same prompts; what is told is the median of
the repetitions. With redaction the gateway stands beside a program that detects in the same prompts and then calls the
upstream itself: after ten milliseconds of detection a call takes longer than one that follows another at once.

LiteLLM's proxy comes from a virtual environment of its own:

    python3 -m venv DIR && DIR/bin/pip install 'litellm[proxy]' && .venv/bin/python benchmarks/gateway.py --litellm DIR
"""

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import httpx
import psutil
from figures import Figure, save, show, verdict

CONNECTIONS, OFF_SHARE, OFF_TIMES, ON_MS = 8, 0.5, 3.0, 5.0
START_S = 120.0
KEEP_ALL = '[detection]\nrecogniser = "none"\n'
TOML_OFF = 'default = "keep"\n[types]\nSECRET = "keep"\n' + KEEP_ALL
UPSTREAM = """
import asyncio, json
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

app = FastAPI()
USAGE = {"prompt_tokens": 5, "completion_tokens": 20, "total_tokens": 25}

@app.post("/v1/chat/completions")
async def complete(request: Request):
    body = await request.json()
    head = {"id": "x", "created": 1, "model": body["model"]}
    if not body.get("stream"):
        choice = {"index": 0, "message": {"role": "assistant", "content": "ok " * 20}, "finish_reason": "stop"}
        return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": USAGE})
    def event(**more):
        return "data: " + json.dumps({**head, "object": "chat.completion.chunk", **more}) + "\\n\\n"
    async def events():
        yield event(choices=[{"index": 0, "delta": {"role": "assistant", "content": "ok "}, "finish_reason": None}])
        for _ in range(19):
            await asyncio.sleep(0.001)
            yield event(choices=[{"index": 0, "delta": {"content": "ok "}, "finish_reason": None}])
        yield event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
        if (body.get("stream_options") or {}).get("include_usage"):
            yield event(choices=[], usage=USAGE)
        yield "data: [DONE]\\n\\n"
    return StreamingResponse(events(), media_type="text/event-stream")
"""


@dataclass(frozen=True)
class Size:
    """How much is asked in one repetition."""

    repetitions: int
    single: int
    parallel: int
    streams: int


WHOLE, QUICK = Size(7, 200, 800, 60), Size(1, 10, 40, 5)


@dataclass
class Way:
    """One road to the upstream, and what was measured on it, once for each repetition."""

    name: str
    url: str
    model: str
    pid: int
    before: Callable[[str], object] = str  # done with each prompt before it is sent, and counted
    found: dict[str, list[float]] = field(default_factory=dict)

    def add(self, **figures: float) -> None:
        for name, value in figures.items():
            self.found.setdefault(name, []).append(value)

    def told(self) -> dict[str, float]:
        return {name: median(values) for name, values in self.found.items()}


def prompt(number: int) -> str:
    """Sixty words with a name, a place and an address in them; no two alike."""
    return (
        f"My colleague Ngozi Eze from Brightwater Dental in Enugu asked me for help with a letter to a patient. "
        f"The patient moved to 1{number % 90} Mill Lane, Ely, and can be reached at patient{number}@example.org. "
        "Please write three friendly sentences that say that the appointment moved by one week, that nothing has to be "
        "paid again, and that questions are welcome at the front desk on any day before noon."
    )


# --- processes


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], log: Path, **environment: str) -> Iterator[int]:
    """A process that is ended with its children when the block is left."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env={**os.environ, **environment}, start_new_session=True
        )
        try:
            yield process.pid
        finally:
            family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
            for each in family:
                each.terminate()
            _, left = psutil.wait_procs(family, timeout=10)
            for each in left:
                each.kill()
            process.wait()


def ready(way: Way, log: Path) -> Way:
    """Wait until it answers."""
    begin = time.monotonic()
    while time.monotonic() - begin < START_S:
        try:
            if httpx.post(way.url, json=body(way, 0), timeout=10).status_code == 200:
                return way
        except httpx.HTTPError:
            pass  # it is still starting; after START_S its log is shown
        time.sleep(0.2)
    raise SystemExit(f"{way.name} did not answer in {START_S:.0f} s:\n{log.read_text(errors='replace')[-2000:]}")


def start(folder: Path, litellm: Path | None, recogniser_off: bool, stack: ExitStack) -> list[Way]:
    """Every way that can be had, ready to answer."""
    (folder / "upstream_llm.py").write_text(UPSTREAM)
    (folder / "off.toml").write_text(TOML_OFF)
    (folder / "on.toml").write_text(KEEP_ALL if recogniser_off else "")
    port = free_port()
    base = f"http://127.0.0.1:{port}/v1"

    def way(name: str, command: list[str], port: int, model: str, **environment: str) -> Way:
        log = folder / f"{name.replace(' ', '_')}.log"
        pid = stack.enter_context(running(command, log, **environment))
        return ready(Way(name, f"http://127.0.0.1:{port}/v1/chat/completions", model, pid), log)

    server = [sys.executable, "-m", "uvicorn", "upstream_llm:app", "--app-dir", str(folder), "--log-level", "error"]
    ways = [way("direct", [*server, "--port", str(port)], port, "m")]
    if litellm is not None:
        command, own = _litellm(folder, litellm, base)
        ways.append(way("LiteLLM", command, own, "m", **LITELLM_ENVIRONMENT))
    for name in ("off", "on"):
        own = free_port()
        command = [str(Path(sys.executable).with_name("tacit")), "gateway", "--upstream", base, "--model", "m"]
        command += ["--port", str(own), "--no-local", "--policy", str(folder / f"{name}.toml")]
        ways.append(way(f"tacit {name}", command, own, "tacit/llm", TACIT_TOKEN="", OMP_NUM_THREADS="1"))
    return ways


LITELLM_ENVIRONMENT = {
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    "LITELLM_TELEMETRY": "False",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # or it asks a host on the internet when it starts
    "LITELLM_LOG": "ERROR",
}


def _litellm(folder: Path, where: Path, base: str) -> tuple[list[str], int]:
    program = where / "bin" / "litellm" if where.is_dir() else where
    port = free_port()
    model = {"model_name": "m", "litellm_params": {"model": "openai/m", "api_base": base, "api_key": "x"}}
    # JSON is YAML
    (folder / "litellm.yaml").write_text(json.dumps({"model_list": [model], "litellm_settings": {"telemetry": False}}))
    return [str(program), "--config", str(folder / "litellm.yaml"), "--host", "127.0.0.1", "--port", str(port)], port


# --- load


def body(way: Way, number: int, stream: bool = False) -> dict[str, Any]:
    found = {"model": way.model, "messages": [{"role": "user", "content": prompt(number)}]}
    return found | ({"stream": True} if stream else {})


class Load:
    """Requests to all ways; prompts are never repeated."""

    def __init__(self) -> None:
        self._number = 0
        self._client = httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=CONNECTIONS))

    async def close(self) -> None:
        await self._client.aclose()

    def next(self) -> int:
        self._number += 1
        return self._number

    async def one(self, way: Way) -> float:
        """Seconds until the whole answer is there."""
        number = self.next()
        begin = time.perf_counter()
        way.before(prompt(number))
        (await self._client.post(way.url, json=body(way, number))).raise_for_status()
        return time.perf_counter() - begin

    async def first(self, way: Way) -> float:
        """Seconds until the first words of a stream are there; the rest is read, too."""
        number, came = self.next(), 0.0
        begin = time.perf_counter()
        way.before(prompt(number))
        async with self._client.stream("POST", way.url, json=body(way, number, stream=True)) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if not came and line.startswith("data: {") and words_in(line):
                    came = time.perf_counter() - begin
        if not came:
            raise SystemExit(f"{way.name} streamed no words")
        return came

    async def lanes(self, way: Way, requests: int) -> float:
        """Requests a second over all connections."""

        async def lane() -> None:
            for _ in range(requests // CONNECTIONS):
                await self.one(way)

        begin = time.perf_counter()
        await asyncio.gather(*(lane() for _ in range(CONNECTIONS)))
        return requests // CONNECTIONS * CONNECTIONS / (time.perf_counter() - begin)


def words_in(line: str) -> bool:
    choices = json.loads(line.removeprefix("data: ")).get("choices") or [{}]
    return bool((choices[0].get("delta") or {}).get("content"))


async def measure(ways: Sequence[Way], size: Size) -> None:
    """Fills what was found on ``ways``."""
    load = Load()
    for way in ways:
        await load.one(way)
        await load.first(way)
        await load.lanes(way, 2 * CONNECTIONS)
    for repetition in range(size.repetitions):
        for way in [*ways[repetition % len(ways) :], *ways[: repetition % len(ways)]]:
            whole = sorted([await load.one(way) for _ in range(size.single)])
            heard = [await load.first(way) for _ in range(size.streams)]
            way.add(
                p50_ms=1e3 * median(whole),
                p95_ms=1e3 * quantiles(whole, n=20)[-1],
                first_p50_ms=1e3 * median(heard),
                per_second=await load.lanes(way, size.parallel),
            )
    await load.close()
    for way in ways:
        family = [psutil.Process(way.pid), *psutil.Process(way.pid).children(recursive=True)]
        way.add(memory_mb=sum(each.memory_info().rss for each in family) / 1e6)


def detecting(direct: Way, recogniser_off: bool) -> Way:
    """A program that detects by itself and then calls the upstream."""
    from tacit_privacy.pii.detection.detector import build_detector
    from tacit_privacy.pii.policy import DetectionPolicy, RedactionPolicy

    policy = RedactionPolicy(detection=DetectionPolicy(recogniser="none")) if recogniser_off else RedactionPolicy()
    found = build_detector(policy)
    return Way(ALONE, direct.url, direct.model, direct.pid, lambda text: found.detect([text]))


# --- figures


def added(ways: Mapping[str, Way], name: str, figure: str, to: str = "direct") -> float:
    """Median over repetitions of what ``name`` takes beyond ``to`` in the same repetition."""
    pairs = zip(ways[name].found[figure], ways[to].found[figure], strict=True)
    return median(one - other for one, other in pairs)


def judge(ways: Mapping[str, Way]) -> list[Figure]:
    told = {name: way.told() for name, way in ways.items()}
    peer = "LiteLLM" in ways
    return [
        *(_delay(ways, figure, what) for figure, what in _DELAYS.items()),
        *(_with_redaction(ways, figure, what) for figure, what in _DELAYS.items()),
        Figure(
            f"requests a second at {CONNECTIONS} connections, redaction off",
            f"{told['tacit off']['per_second']:.0f}",
            f"{_beside(told, 'per_second', '{:.0f}')}; the upstream alone {told['direct']['per_second']:.0f}",
            f"at least {OFF_TIMES:.0f} times LiteLLM's proxy",
            told["tacit off"]["per_second"] >= OFF_TIMES * told["LiteLLM"]["per_second"] if peer else None,
        ),
        Figure(
            f"requests a second at {CONNECTIONS} connections, redaction on",
            f"{told['tacit on']['per_second']:.0f}",
            f"{_beside(told, 'per_second', '{:.0f}')}; detection, then direct, on one core "
            f"{told[ALONE]['per_second']:.0f}",
        ),
        Figure(
            "memory of the gateway without a local model, redaction on (off)",
            f"{told['tacit on']['memory_mb']:.0f} MB ({told['tacit off']['memory_mb']:.0f} MB)",
            _beside(told, "memory_mb", "{:.0f} MB"),
        ),
    ]


ALONE = "detection, then direct"
_DELAYS = {
    "p50_ms": "added p50 of a whole answer at one connection",
    "p95_ms": "added p95 of a whole answer at one connection",
    "first_p50_ms": "added p50 until the first words of a stream",
}


def _beside(told: Mapping[str, Mapping[str, float]], figure: str, form: str) -> str:
    return f"LiteLLM's proxy {form.format(told['LiteLLM'][figure])}" if "LiteLLM" in told else "LiteLLM not installed"


def _delay(ways: Mapping[str, Way], figure: str, what: str) -> Figure:
    mine = added(ways, "tacit off", figure)
    beside, ok = "LiteLLM not installed", None
    if "LiteLLM" in ways:
        peer = added(ways, "LiteLLM", figure)
        beside, ok = f"LiteLLM's proxy {peer:.1f} ms, {mine / peer:.2f} of it", mine <= OFF_SHARE * peer
    asked = figure != "p95_ms"
    wanted = "at most half of LiteLLM's proxy" if asked else ""
    return Figure(f"{what}, redaction off", f"{mine:.1f} ms", beside, wanted, ok if asked else None)


def _with_redaction(ways: Mapping[str, Way], figure: str, what: str) -> Figure:
    mine, asked = added(ways, "tacit on", figure), figure != "p95_ms"
    alone, more = added(ways, ALONE, figure), added(ways, "tacit on", figure, ALONE)
    return Figure(
        f"{what}, redaction on",
        f"{mine:.1f} ms",
        f"a program that detects and then calls directly {alone:.1f} ms, {more:.1f} ms more",
        f"detection and at most {ON_MS:.0f} ms" if asked else "",
        more <= ON_MS if asked else None,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--litellm", type=Path, default=os.environ.get("LITELLM_VENV"), help="its virtual environment")
    parser.add_argument("--no-recogniser", action="store_true", help="redaction by patterns alone")
    parser.add_argument("--quick", action="store_true", help="few requests, one repetition; nothing is written")
    options = parser.parse_args()
    size = QUICK if options.quick else WHOLE
    if options.litellm is None:
        print("Left out: LiteLLM's proxy; --litellm or LITELLM_VENV names a virtual environment that holds it.")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        ways = start(Path(folder), options.litellm, options.no_recogniser, stack)
        ways.append(detecting(ways[0], options.no_recogniser))
        asyncio.run(measure(ways, size))
    by_name = {way.name: way for way in ways}
    rows = judge(by_name)
    if options.quick:
        show(rows)
        return 0
    details = {name: {"median": way.told(), "repetitions": way.found} for name, way in by_name.items()}
    save("gateway", rows, {"ways": details, "size": vars(size)})
    return verdict(rows)


if __name__ == "__main__":
    sys.exit(main())
