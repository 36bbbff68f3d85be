"""One question through one mode of a real gateway, and everything that can be told of the answer but its text."""

import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any, Final, Self

import psutil

from tacit_clients.gateway.app import Gateway, build
from tacit_clients.gateway.conversations import of_header
from tacit_clients.gateway.settings import GatewaySettings
from tacit_clients.modes.local import Generator
from tacit_clients.modes.protocol import Ask, Delta, Provenance
from tacit_privacy.errors import BadInput, TacitError
from tacit_privacy.pii.entities import Detector
from tacit_privacy.pii.policy import DEFAULT_ACTIONS, RedactionPolicy
from tacit_privacy.pii.pseudonyms.conversation import KEY_BYTES, Conversation
from tacit_privacy.pii.vault.store import Vault
from tacit_simulations.evaluation.modes.leaving import Crossing, crossing
from tacit_simulations.evaluation.modes.tapping import Counted, Meter, Tap, Work
from tacit_simulations.evaluation.modes.tasks import Task, right

KEEP_ALL: Final = RedactionPolicy.model_validate(
    {"default": "keep", "types": dict.fromkeys(DEFAULT_ACTIONS, "keep"), "detection": {"recogniser": "none"}}
)
"""Raw text leaves: what redaction is compared with."""


class SeededVault(Vault):
    """In memory, the keys of its conversations derived from a seed, so that a run sends the same placeholders again.

    Whoever knows the seed can link them: for measuring alone.
    """

    seed: int
    kept: dict[str, Conversation]

    @classmethod
    def of(cls, seed: int) -> Self:
        vault = cls.ephemeral()
        if not isinstance(vault, cls):
            raise TypeError(type(vault).__name__)
        vault.seed, vault.kept = seed, {}
        return vault

    @contextmanager
    def conversation(
        self,
        identifier: str,
        *,
        expires_days: float | None = None,
        patience_s: float = 0.0,
        synced: bool = True,
    ) -> Iterator[Conversation]:
        key = hashlib.sha256(f"{self.seed}\x1f{identifier}".encode()).digest()[:KEY_BYTES]
        yield self.kept.setdefault(identifier, Conversation(identifier, key))


@dataclass(frozen=True)
class Asking:
    """How questions are put: most tokens of an answer, temperature and seed of every request."""

    max_tokens: int = 64
    temperature: float = 0.0
    seed: int = 0

    def body(self, mode: str, prompt: str) -> dict[str, Any]:
        return {
            "model": f"tacit/{mode}",
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
            "stream": True,
        }


@dataclass(frozen=True, slots=True)
class Placeholders:
    """How many values were masked on the way out, and what became of placeholders in what came back."""

    masked: int = 0
    restored: int = 0
    unknown: int = 0
    malformed: int = 0
    withheld: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer in figures. ``failed``: a short stable word where none came; it is wrong then."""

    task: str
    family: str
    right: bool
    answered: bool
    failed: str
    answered_by: str
    confidence: float | None
    latency_ms: float
    ttft_ms: float
    whole: Work
    first: Work  # up to the first text
    crossing: Crossing
    rss_bytes: int  # of this process, when the answer had ended
    placeholders: Placeholders = Placeholders()
    flags: tuple[str, ...] = ()  # short stable words; see tacit_clients.modes.trust


@dataclass(frozen=True)
class House:
    """A gateway that listens nowhere, with its meter."""

    gateway: Gateway
    meter: Meter
    asking: Asking


@asynccontextmanager
async def house(
    settings: GatewaySettings,
    policy: RedactionPolicy,
    local: Generator | None,
    asking: Asking,
    detector: Detector | None = None,
    patterns: Detector | None = None,
) -> AsyncIterator[House]:
    """A gateway of the parts that a deployed one has, its transport and its local model counted. Raises BadInput."""
    counted = None if local is None else Counted(local)
    with closing(SeededVault.of(asking.seed)) as vault:
        gateway = build(settings, policy, vault, counted, detector, patterns)
        tap = gateway.egress.transport = Tap(settings.upstream)
        try:
            yield House(gateway, Meter(tap, counted), asking)
        finally:
            await gateway.close()


async def ask(at: House, mode: str, task: Task) -> Outcome:
    """Put ``task`` to ``mode`` and hear it out. What fails in a way that Tacit can name is an answer that is wrong."""
    found = at.gateway.modes.find(f"tacit/{mode}")
    if found is None:
        raise BadInput(f"the gateway has no mode {mode}; it has {', '.join(names(at.gateway))}")
    account = Provenance(mode)
    conversation = of_header(f"evaluation {task.id}")
    question = Ask(at.asking.body(mode, task.prompt), conversation, True, account, Event())
    at.meter.reset()
    text, failed, first, first_gate_ms, start = list[str](), "", None, 0.0, time.perf_counter()
    try:
        async with aclosing(found.answer(question)) as events:
            async for event in events:
                if isinstance(event, Delta) and event.choice == 0 and event.field == "content" and event.text:
                    if first is None:
                        first, first_gate_ms = at.meter.mark(), account.gate_ms
                    text.append(event.text)
    except TacitError as error:
        failed = getattr(error, "reason", type(error).__name__)
    last = at.meter.mark()
    answer = "".join(text)
    return Outcome(
        task=task.id,
        family=task.family,
        right=not failed and right(answer, task),
        answered=not failed and bool(answer.strip()),
        failed=failed,
        answered_by=account.answered_by,
        confidence=account.confidence,
        latency_ms=1e3 * (last.at - start),
        ttft_ms=1e3 * ((last if first is None else first).at - start),
        whole=at.meter.work(last, account.gate_ms),
        first=at.meter.work(first or last, first_gate_ms if first else account.gate_ms),
        crossing=crossing(task, [call.sent for call in at.meter.tap.calls]),
        rss_bytes=psutil.Process().memory_info().rss,
        placeholders=Placeholders(
            sum(account.masked.values()), account.restored, account.unknown, account.malformed, account.withheld
        ),
        flags=tuple(account.flags),
    )


def names(gateway: Gateway) -> list[str]:
    """The modes of a gateway, in its order."""
    return [name.removeprefix("tacit/") for name in gateway.modes.names()]
