"""Many short answers at once: greedy, with the confidence that modes go by. For studies, not for devices."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tacit_clients.slm.models import LanguageModel
from tacit_clients.slm.prompting import encode_question, end_of_answer


@dataclass(frozen=True, slots=True)
class Said:
    """An answer, and exp of the mean log-probability of its tokens, its end among them; 0 where it did not end."""

    text: str = field(repr=False)
    confidence: float


@torch.inference_mode()
def answers(model: LanguageModel, prompts: Sequence[str], most_tokens: int = 24, batch: int = 64) -> list[Said]:
    """Greedy answers of a model that has learnt single requests, in order. Adapters count as they are loaded."""
    encoded = [encode_question(model.tokenizer, prompt) for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda place: len(encoded[place]))
    found: list[Said] = [Said("", 0.0)] * len(prompts)
    for start in range(0, len(order), batch):
        places = order[start : start + batch]
        for place, said in zip(places, _decoded(model, [encoded[p] for p in places], most_tokens), strict=True):
            found[place] = said
    return found


def _decoded(model: LanguageModel, rows: list[list[int]], most: int) -> Iterator[Said]:
    end, network = end_of_answer(model.tokenizer), model.network
    longest = max(len(row) for row in rows)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])  # (batch, longest), left-padded
    ids = torch.tensor([[end] * (longest - len(row)) + row for row in rows])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    past: Any = None
    tokens: list[Tensor] = []
    logprobs: list[Tensor] = []
    ended = torch.zeros(len(rows), dtype=torch.bool)
    for _ in range(most):
        output = network(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=past, use_cache=True
        )
        past = output.past_key_values
        scores = torch.log_softmax(output.logits[:, -1].float(), dim=-1)  # (batch, vocabulary)
        best, chosen = scores.max(dim=-1)
        tokens.append(torch.where(ended, end, chosen))
        logprobs.append(torch.where(ended, torch.nan, best))
        ended |= chosen == end
        if bool(ended.all()):
            break
        ids, positions = tokens[-1][:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, torch.ones(len(rows), 1, dtype=mask.dtype)], dim=1)
    told, means = torch.stack(tokens, dim=1), torch.stack(logprobs, dim=1).nanmean(dim=1)
    for row, mean, over in zip(told.tolist(), means.tolist(), ended.tolist(), strict=True):
        text = str(model.tokenizer.decode(row, skip_special_tokens=True, clean_up_tokenization_spaces=False))
        yield Said(text.strip(), math.exp(mean) if over else 0.0)
