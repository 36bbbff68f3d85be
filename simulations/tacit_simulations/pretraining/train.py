"""Train tacit-nano from nothing: a small Llama with a tokenizer of its own. Seeded by steps, resumable, on any CPU.

``run`` is the loop that the models of the live pair go through too.
"""

import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tacit_clients.slm.prompting import ACT, END, PAD
from tacit_privacy.errors import BadInput
from tacit_privacy.randomness import stream
from tacit_simulations.pretraining.card import write_card
from tacit_simulations.pretraining.corpus import home_pairs, open_texts

SEED = 11
STEPS = 2500
BLOCK, BATCH = 64, 64  # tokens per row, rows per step
HOMES_PER_STEP = 16  # households whose talk is tokenized for one step's worth of rows
CHECKPOINT_EVERY = 250  # steps
PEAK = 3e-3  # learning rate

Batches = Callable[[int], tuple[Tensor, Tensor]]  # step -> inputs and labels, both (rows, tokens)


@dataclass(frozen=True, slots=True)
class Size:
    """A Llama's dimensions. nano: 1.1M parameters, 2.2 MB in half precision."""

    hidden: int = 128
    layers: int = 4
    heads: int = 4
    intermediate: int = 384
    vocabulary: int = 2048


def train_tokenizer(texts: Iterator[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE: any text of any script has ids."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, END, ACT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, bos_token=END
    )


def build_model(size: Size) -> LlamaForCausalLM:
    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=1,
    )
    return LlamaForCausalLM(config)


class Rows:
    """Packed rows of BLOCK + 1 ids for step s: one half requests with their actions, one half talk alone."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> None:
        self._tokenizer = tokenizer
        self._texts = [np.array([1, *ids], dtype=np.int64) for ids in tokenizer(texts)["input_ids"]] if texts else []
        self._act = tokenizer.convert_tokens_to_ids(ACT)

    def step(self, number: int) -> NDArray[np.int64]:
        """Shape (BATCH, BLOCK + 1); depends on ``number`` alone."""
        rng = stream(SEED, "rows", number)
        pairs = list(home_pairs(number * HOMES_PER_STEP, HOMES_PER_STEP))
        prompts = self._tokenizer([prompt for prompt, _ in pairs])["input_ids"]
        actions = self._tokenizer([" " + action for _, action in pairs])["input_ids"]
        pieces = [np.array([1, *p, self._act, *a]) for p, a in zip(prompts, actions, strict=True)]
        share = min(len(self._texts), len(pieces) // 2)
        pieces += [self._texts[i] for i in rng.integers(0, len(self._texts), share)] if share else []
        order = rng.permutation(len(pieces))
        flat = np.concatenate([pieces[i] for i in order])
        need = BATCH * (BLOCK + 1)
        return np.resize(flat, need).reshape(BATCH, BLOCK + 1)

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        ids = torch.from_numpy(self.step(number))
        return ids[:, :-1], ids[:, :-1]


def learning_rate(step: int, steps: int, peak: float = PEAK, first: int = 0) -> float:
    """Linear warm-up over 50 steps from ``first`` on, then a cosine down to a twentieth at ``steps``."""
    warm = min(1.0, (step + 1 - first) / 50)
    return float(peak * warm * (0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * step / steps))))


def train(out: Path, steps: int, data: Path | None, resume: bool, size: Size, threads: int, tell: Any = print) -> Path:
    """Train for ``steps`` steps of BATCH x BLOCK tokens and write a Hugging Face folder. Returns ``out``.

    The checkpoint beside the weights lets ``resume`` go on with the same data order.
    """
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    texts, read = open_texts(data)
    if not texts:
        tell("No open texts found (set TACIT_DATA): training on generated homes alone.")
    checkpoint = out / "checkpoint.pt"
    if resume and checkpoint.is_file():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(out)
    else:
        generated = [text for pair in home_pairs(0, 400) for text in pair]
        tokenizer = train_tokenizer(iter(generated + texts), size.vocabulary)
        tokenizer.save_pretrained(out)
    model = build_model(size)
    run(model, Rows(tokenizer, texts).batch, steps, checkpoint, resume, tell)
    model.half().save_pretrained(out)  # type: ignore[no-untyped-call]
    write_card(out, steps, SEED, sum(p.numel() for p in model.parameters()), read)
    return out


def run(
    model: nn.Module,
    batches: Batches,
    steps: int,
    checkpoint: Path,
    resume: bool,
    tell: Any,
    peak: float = PEAK,
    bfloat16: bool = False,
    part: range | None = None,
) -> None:
    """Train ``model`` in place, from ``checkpoint`` on with ``resume``. ``bfloat16``: matrix products in that type.

    ``part``: which of the ``steps`` are this model's to make; without, all.
    """
    part = range(steps) if part is None else part
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.05, fused=True)
    first = _restore(model, optimizer, checkpoint) if resume and checkpoint.is_file() else part.start
    started, losses = time.monotonic(), []
    for step in range(first, part.stop):
        inputs, labels = batches(step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, peak, part.start)
        with torch.autocast("cpu", dtype=torch.bfloat16) if bfloat16 else nullcontext():
            loss = model(input_ids=inputs, labels=labels).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if (step + 1) % 50 == 0:
            rate = (step + 1 - first) * BATCH * BLOCK / (time.monotonic() - started)
            tell(f"step {step + 1}/{steps} loss {np.mean(losses[-50:]):.3f} {rate:.0f} tokens/s")
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == part.stop:
            _save(model, optimizer, step + 1, checkpoint)


def _save(model: nn.Module, optimizer: torch.optim.Optimizer, step: int, checkpoint: Path) -> None:
    """Beside and renamed: a kill leaves the last checkpoint whole."""
    beside = checkpoint.with_name(f".{checkpoint.name}")
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, beside)
    beside.replace(checkpoint)


def _restore(model: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: Path) -> int:
    """The step to go on with. Raises BadInput where the checkpoint is damaged or of another size."""
    try:
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        return int(saved["step"])
    except (RuntimeError, OSError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise BadInput(
            f"cannot go on from {checkpoint} ({type(error).__name__}); delete it, or leave --resume out"
        ) from error
