"""One answer, token by token, with a cache of keys and values."""

import inspect
import math
import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tacit_clients.slm.sampling import Sampling, Token
from tacit_privacy.errors import BadInput, EngineFailed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_SCORED = 64  # tokens whose distributions are held at once: 40 MB of float32 for a large vocabulary
_CHUNK = 256  # tokens of a prompt that are read at once: a cancelled request waits for one chunk at most


def decode(
    network: "PreTrainedModel", prompt: Sequence[int], sampling: Sampling, limit: int, cancelled: Callable[[], bool]
) -> Iterator[Token]:
    """At most ``limit`` tokens after ``prompt`` (one or more ids); whoever iterates knows where an answer ends.

    ``cancelled`` is asked before every forward pass. No random state but this call's own is read or written.
    """
    reader = _Reader(network)
    generator = torch.Generator()
    generator.manual_seed((secrets.randbits(63) if sampling.seed is None else sampling.seed) % 2**63)
    fresh = list(prompt)
    for _ in range(limit):
        logits = None
        for start in range(0, len(fresh), _CHUNK):
            if cancelled():
                return
            logits = reader.read(fresh[start : start + _CHUNK])[-1]
        if logits is None:
            raise BadInput("the prompt holds no token; say something")
        token = choose(logits, sampling, generator)
        yield token
        fresh = [token.id]


@torch.inference_mode()
def choose(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> Token:
    """One token from ``logits`` (vocabulary,). Temperature first, then top_p; ties go to the smaller id."""
    logprobs = _logprobs(logits)
    if sampling.temperature == 0:
        chosen = int(logprobs.argmax())
    else:
        # Relative to the likeliest, so that a tiny temperature gives -inf for the others and never overflows.
        scaled = (logprobs - logprobs.max()) / max(sampling.temperature, 1e-6)
        ordered, ids = torch.sort(torch.softmax(scaled, dim=-1), descending=True, stable=True)
        before = ordered.cumsum(-1) - ordered  # what the likelier ones reach without this one
        nucleus = torch.where(before < sampling.top_p, ordered, 0.0)
        nucleus[0] = ordered[0]
        chosen = int(ids[torch.multinomial(nucleus, 1, generator=generator)])
    return Token(chosen, float(logprobs[chosen]))


def likelihood(
    network: "PreTrainedModel",
    prompt: Sequence[int],
    answer: Sequence[int],
    ends: Collection[int],
    cancelled: Callable[[], bool],
) -> float | None:
    """Log-probability, in nats, that ``answer`` follows ``prompt`` and then any of ``ends``. None where cancelled."""
    wanted = [[token] for token in answer] + [sorted(ends)]
    total, seen = 0.0, 0
    for rows in distributions(network, prompt, answer, cancelled):
        for row in rows:
            total += float(torch.logsumexp(row[wanted[seen]], dim=-1))
            seen += 1
    return total if seen == len(wanted) else None


def weights(
    network: "PreTrainedModel",
    prompt: Sequence[int],
    answer: Sequence[int],
    places: Sequence[Sequence[int | None]],
    cancelled: Callable[[], bool],
) -> list[list[float]]:
    """Log-probability of each token of ``places[n]`` after the first n of ``answer``; -inf for None.

    At most one place more than ``answer`` is long; fewer than asked for where it is cancelled.
    """
    found: list[list[float]] = []
    for rows in distributions(network, prompt, answer, cancelled):
        for row in rows:
            if len(found) == len(places):
                return found
            found.append([-math.inf if token is None else float(row[token]) for token in places[len(found)]])
    return found


def distributions(
    network: "PreTrainedModel", prompt: Sequence[int], answer: Sequence[int], cancelled: Callable[[], bool]
) -> Iterator[Tensor]:
    """Log-probabilities of the next token, (some, vocabulary): after ``prompt``, then after each token of ``answer``.

    ``len(answer) + 1`` rows in all. ``cancelled`` is asked before every forward pass, and ends them early.
    """
    reader = _Reader(network)
    logits = None
    for start in range(0, len(prompt), _CHUNK):
        if cancelled():
            return
        logits = reader.read(prompt[start : start + _CHUNK])
    if logits is None:
        raise BadInput("the prompt holds no token; say something")
    yield _logprobs(logits)
    for start in range(0, len(answer), _SCORED):
        if cancelled():
            return
        part = answer[start : start + _SCORED]
        yield _logprobs(reader.read(part, len(part)))


@torch.inference_mode()
def _logprobs(logits: Tensor) -> Tensor:
    """The same shape, (..., vocabulary). Raises EngineFailed on NaN."""
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    if not bool(torch.isfinite(logprobs.amax(dim=-1)).all()):
        raise EngineFailed("the local model computes NaN; its weights or its adapter are damaged")
    return logprobs


class _Reader:
    """A network that has read some tokens and remembers their keys and values."""

    def __init__(self, network: "PreTrainedModel") -> None:
        self._network = network
        self._past: Any = None
        # A long prompt's logits would be its largest tensor, and only those of its end matter.
        self._can_keep = "logits_to_keep" in inspect.signature(network.forward).parameters

    @torch.inference_mode()
    def read(self, ids: Sequence[int], keep: int = 1) -> Tensor:
        """Logits (keep, vocabulary) after each of the last ``keep`` of ``ids``, which follow all read before."""
        tokens = torch.tensor([list(ids)])  # (1, length)
        options: dict[str, Any] = {"logits_to_keep": keep} if self._can_keep else {}
        output = self._network(input_ids=tokens, past_key_values=self._past, use_cache=True, **options)
        self._past = getattr(output, "past_key_values", None)
        if self._past is None:
            raise BadInput(f"models of type {self._network.config.model_type} keep no cache of keys and values")
        kept: Tensor = output.logits[0, -keep:]
        return kept
