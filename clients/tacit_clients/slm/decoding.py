"""One answer, token by token, with a cache of keys and values."""

import inspect
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tacit_clients.slm.sampling import Sampling, Token
from tacit_privacy.errors import BadInput, EngineFailed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

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
            logits = reader.read(fresh[start : start + _CHUNK])
        if logits is None:
            raise BadInput("the prompt holds no token; say something")
        token = choose(logits, sampling, generator)
        yield token
        fresh = [token.id]


@torch.inference_mode()
def choose(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> Token:
    """One token from ``logits`` (vocabulary,). Temperature first, then top_p; ties go to the smaller id."""
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    if not bool(torch.isfinite(logprobs.max())):
        raise EngineFailed("the local model computes NaN; its weights or its adapter are damaged")
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


class _Reader:
    """A network that has read some tokens and remembers their keys and values."""

    def __init__(self, network: "PreTrainedModel") -> None:
        self._network = network
        self._past: Any = None
        # Only the last position's logits matter; those of a long prompt would be its largest tensor.
        parameters = inspect.signature(network.forward).parameters
        self._options: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}

    @torch.inference_mode()
    def read(self, ids: Sequence[int]) -> Tensor:
        """Logits (vocabulary,) after ``ids``, which follow all that was read before."""
        tokens = torch.tensor([list(ids)])  # (1, length)
        output = self._network(input_ids=tokens, past_key_values=self._past, use_cache=True, **self._options)
        self._past = getattr(output, "past_key_values", None)
        if self._past is None:
            raise BadInput(f"models of type {self._network.config.model_type} keep no cache of keys and values")
        last: Tensor = output.logits[0, -1]
        return last
