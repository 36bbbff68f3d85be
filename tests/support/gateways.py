"""A gateway that really listens, with detectors and local models whose findings and answers a test decides."""

import asyncio
import contextlib
import io
import json
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import structlog
import uvicorn
from upstreams import QuietServer, Upstream, serving

from tacit_clients.gateway import logs
from tacit_clients.gateway.app import Gateway, build
from tacit_clients.gateway.following import Following
from tacit_clients.gateway.serving import protocol
from tacit_clients.gateway.settings import GatewaySettings
from tacit_privacy.pii.detection.detector import pattern_detector
from tacit_privacy.pii.entities import Entity
from tacit_privacy.pii.policy import RedactionPolicy
from tacit_privacy.pii.vault.store import Vault

ANNA, ROBERT = "Anna Kowalska", "Robert Zimmermann"
EMAIL = "anna.kowalska@example.net"
NAMES = (ANNA, "Kowalska", "Anna", ROBERT, "Zimmermann", "Jürgen Groß", "王小明")
JSON = {"content-type": "application/json"}


class Listed:
    """Finds the names it was given, as PERSON, and what patterns find."""

    def __init__(self, policy: RedactionPolicy, names: Sequence[str] = NAMES) -> None:
        self._patterns = pattern_detector(policy)
        longest = sorted(names, key=len, reverse=True)
        self._names = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, longest)) + r")(?!\w)")
        self.calls = 0

    def detect(self, texts: Sequence[str]) -> list[list[Entity]]:
        self.calls += 1
        return [self._one(text, found) for text, found in zip(texts, self._patterns.detect(texts), strict=True)]

    def _one(self, text: str, found: list[Entity]) -> list[Entity]:
        people = [Entity(match.start(), match.end(), "PERSON", 0.99) for match in self._names.finditer(text)]
        kept = [e for e in found if all(e.end <= p.start or e.start >= p.end for p in people)]
        return sorted([*people, *kept])


class Failing:
    """A detector with a defect whose error quotes what it was given."""

    def detect(self, texts: Sequence[str]) -> list[list[Entity]]:
        raise RuntimeError(f"cannot read {texts!r}")


@dataclass(frozen=True)
class Told:
    tokens_in: int


@dataclass(frozen=True)
class Word:
    text: str
    finish: str | None = None
    logprob: float | None = None
    answer: Told | None = None


class Scripted:
    """A local model that says ``words`` with one log-probability each, ``pause_s`` apart."""

    name = "scripted"

    def __init__(
        self, words: Sequence[str] = ("from ", "the ", "device"), logprob: float = -0.01, pause_s: float = 0
    ) -> None:
        self.words, self.logprob, self.pause_s = list(words), logprob, pause_s
        self.asked: list[list[dict[str, Any]]] = []
        self.cancelled = 0
        self.fails: Exception | None = None

    async def stream(self, messages: list[dict[str, Any]], **settings: Any) -> AsyncGenerator[Word]:
        if self.fails is not None:
            raise self.fails
        self.asked.append(messages)
        ended = False
        try:
            for word in self.words:
                await asyncio.sleep(self.pause_s)
                yield Word(word, None, self.logprob)
            yield Word("", "stop", self.logprob, Told(11))
            ended = True
        finally:
            if not ended:
                self.cancelled += 1

    async def close(self) -> None:
        return


@dataclass
class Running:
    """A gateway to talk to. ``log`` is everything it logged."""

    gateway: Gateway
    url: str
    client: httpx.Client
    output: io.StringIO = field(repr=False)

    @property
    def log(self) -> str:
        return self.output.getvalue()

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(path, content=json.dumps(body), headers={**JSON, **named})

    def chat(self, text: str, model: str = "tacit/llm", **more: Any) -> httpx.Response:
        """One user message, whole answer."""
        return self.post("/v1/chat/completions", {"model": model, "messages": [user(text)], **more})

    def said(self, text: str, **more: Any) -> str:
        answered = self.chat(text, **more)
        answered.raise_for_status()
        content = answered.json()["choices"][0]["message"]["content"]
        assert isinstance(content, str)
        return content

    def stream(self, body: dict[str, Any], **headers: str) -> "Streamed":
        """A streamed chat to its end."""
        body = {"model": "tacit/llm", "stream": True, **body}
        response = self.post("/v1/chat/completions", body, **headers)
        response.raise_for_status()
        return Streamed(response)

    def metrics(self) -> str:
        return self.client.get("/metrics").text


class Streamed:
    """The events of a stream, and what clients make of them."""

    def __init__(self, response: httpx.Response) -> None:
        self.raw = response.text
        datas = [line.removeprefix("data: ") for line in self.raw.split("\n") if line.startswith("data: ")]
        self.done = datas[-1:] == ["[DONE]"]
        self.rows: list[dict[str, Any]] = [json.loads(data) for data in datas if data != "[DONE]"]
        self.errors = [row["error"] for row in self.rows if "error" in row]

    def deltas(self, name: str = "content", choice: int = 0) -> list[str]:
        return [
            entry["delta"][name]
            for row in self.rows
            for entry in row.get("choices", ())
            if entry["index"] == choice and entry["delta"].get(name)
        ]

    def text(self, name: str = "content", choice: int = 0) -> str:
        return "".join(self.deltas(name, choice))

    def arguments(self, call: int = 0, choice: int = 0) -> str:
        return "".join(
            tool["function"].get("arguments", "")
            for row in self.rows
            for entry in row.get("choices", ())
            if entry["index"] == choice
            for tool in entry["delta"].get("tool_calls", ())
            if tool["index"] == call
        )

    @property
    def finish(self) -> list[str]:
        return [e["finish_reason"] for row in self.rows for e in row.get("choices", ()) if e["finish_reason"]]

    @property
    def tacit(self) -> dict[str, Any]:
        found: dict[str, Any] = self.rows[-1]["tacit"]
        return found


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def policy_of(**changes: Any) -> RedactionPolicy:
    """The default policy without the shipped recogniser, under ``changes``."""
    detection = {"recogniser": "none", **changes.pop("detection", {})}
    return RedactionPolicy.model_validate({"detection": detection, **changes})


def settings_of(url: str, **changes: Any) -> GatewaySettings:
    """Settings that wait less than usual; ``changes`` are sections."""
    upstream = {"url": url, "model": "up-1", "backoff_s": 0.01, "breaker_failures": 1000, **changes.pop("upstream", {})}
    return GatewaySettings.model_validate({"upstream": upstream, **changes})


def memory_log() -> tuple[Any, io.StringIO]:
    """The gateway's own logger, into memory."""
    output = io.StringIO()
    processors = [structlog.processors.add_log_level, logs.only_known_fields, structlog.processors.JSONRenderer()]
    return structlog.wrap_logger(structlog.PrintLogger(output), processors=processors), output  # type: ignore[arg-type]


@contextlib.contextmanager
def running(
    endpoint: Upstream | str,
    policy: RedactionPolicy | None = None,
    local: Any = None,
    detector: Any = None,
    vault: Vault | None = None,
    following: Following | None = None,
    **changes: Any,
) -> Iterator[Running]:
    """A gateway on a port of its own, in a thread."""
    policy = policy or policy_of()
    url = endpoint if isinstance(endpoint, str) else endpoint.url
    log, output = memory_log()
    kept = vault or Vault.ephemeral()
    settings = settings_of(url, **changes)
    gateway = build(settings, policy, kept, local, detector or Listed(policy), log=log, following=following)
    config = uvicorn.Config(
        gateway.app,
        port=0,
        http=protocol(settings.server.header_s),
        ws="none",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=1,
    )
    with serving(QuietServer(config)) as port:
        base = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=base, trust_env=False, timeout=30) as client:
            yield Running(gateway, base, client, output)
    if vault is None:
        kept.close()
