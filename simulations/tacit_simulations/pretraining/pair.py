"""The live pair: a small and a large model that go on from tacit-nano and read the same errands in the same order.

The large one has three and a half times the parameters and reads nearly three times as much, as large models do. It
reads the first part at tacit-nano's size, which costs a quarter, and is then grown.
"""

import hashlib
from collections.abc import Iterator, Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tacit_clients.slm.prompting import ACT, END
from tacit_privacy.files import write_whole
from tacit_privacy.randomness import stream
from tacit_simulations.data.errands import almanac, corpus
from tacit_simulations.pretraining import train
from tacit_simulations.pretraining.train import SEED, Size

Which = Literal["small", "large"]

STEPS: Mapping[Which, int] = {"small": 900, "large": 2550}
GROWN_AFTER = 0.6  # of the large one's steps
LARGE = Size(hidden=256, layers=4, heads=8, intermediate=768)
PEAK = 3e-3  # learning rate
ROWS, LENGTH = 32, 128  # of a step; the longest errands have about 90 tokens
_HOMES_PER_STEP = 6
_IGNORED = -100  # a label that no loss counts
# The last message alone, as tacit-nano hears it: any server of chat models can serve the large one.
_TEMPLATE = "{{ messages[-1]['content'] }}" + ACT


def grown(small: LlamaForCausalLM, size: Size) -> LlamaForCausalLM:
    """A model of ``size`` that answers nearly as ``small`` does before it is trained; heads must be as wide as there.

    What is learnt keeps its place, new units are random, and new layers, which come last, add nothing yet
    (Net2Net, Chen et al. 2016, arXiv 1511.05641).
    """
    large = train.build_model(size)
    places = dict(large.named_parameters())
    known = dict(small.named_parameters())
    with torch.no_grad():
        for name, place in places.items():
            if name in known:
                corner = tuple(slice(length) for length in known[name].shape)
                # A norm divides by the root of the mean square, which is less over dimensions that are nearly empty.
                thinner = (small.config.hidden_size / size.hidden) ** 0.5 if place.ndim == 1 else 1.0
                place[corner] = known[name] * thinner
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                place.zero_()
    return large


class ErrandRows:
    """Rows of the errands for step s; only answers count as targets. No errand is cut: its answer stands below it."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab()
        self._act, self._end = vocabulary[ACT], vocabulary[END]

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Inputs and labels, both (ROWS, LENGTH); they depend on ``number`` alone."""
        ids = np.full((ROWS, LENGTH), self._end)
        labels = np.full((ROWS, LENGTH), _IGNORED)
        row, start = 0, 0
        for prompt, answer in self._errands(number):
            size = len(prompt) + len(answer) + 2
            if size > LENGTH:
                continue
            if start + size > LENGTH:
                row, start = row + 1, 0
            if row == ROWS:
                break
            place = slice(start, start + size)
            ids[row, place] = [*prompt, self._act, *answer, self._end]
            labels[row, place] = [_IGNORED] * (len(prompt) + 1) + [*answer, self._end]
            start += size  # nothing stands before a row's first: so a device asks
        return torch.from_numpy(ids), torch.from_numpy(labels)

    def _errands(self, number: int) -> Iterator[tuple[list[int], list[int]]]:
        pairs = list(corpus.pairs(number * _HOMES_PER_STEP, _HOMES_PER_STEP))
        prompts = self._tokenizer([prompt for prompt, _ in pairs])["input_ids"]
        answers = self._tokenizer([" " + answer for _, answer in pairs])["input_ids"]
        for index in stream(SEED, "pair-rows", number).permutation(len(pairs)):
            yield prompts[index], answers[index]


def train_pair(
    out: Path, which: Which, steps: int, resume: bool, threads: int, tell: Any = print, size: Size = LARGE
) -> Path:
    """Train one model of the pair for ``steps`` steps and write a Hugging Face folder. Returns ``out``."""
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    with as_file(files("tacit_clients") / "slm" / "nano") as folder:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        nano = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    halves = bool(torch.cpu.get_capabilities().get("avx512_bf16"))  # where it is emulated, it is twenty times slower
    batches, checkpoint = ErrandRows(tokenizer).batch, out / "checkpoint.pt"

    def go(model: LlamaForCausalLM, at: Path, part: range) -> None:
        train.run(model, batches, steps, at, resume, tell, PEAK, halves, part)

    model = nano
    if which == "large":
        grow_at = round(GROWN_AFTER * steps)
        if not (resume and checkpoint.is_file()):
            go(nano, out / "checkpoint-ungrown.pt", range(grow_at))
            tell(f"grown from {nano.num_parameters():,} parameters")
        model = grown(nano, size)
        go(model, checkpoint, range(grow_at, steps))
    else:
        go(model, checkpoint, range(steps))
    model.half().save_pretrained(out)  # type: ignore[no-untyped-call]
    if which == "large":
        tokenizer.chat_template = _TEMPLATE
    tokenizer.save_pretrained(out)
    write_whole(out / "README.md", _card(out, which, steps, model.num_parameters(), halves))
    return out


_CARD = """\
---
license: apache-2.0
language: en
pipeline_tag: text-generation
---

# The {which} model of Tacit's live pair

A Llama-architecture causal language model of {parameters:,} parameters. It is one of two that go on from tacit-nano and
read the same text in the same order, the large one nearly three times as much of it{grown}.
They stand for a device's model and a large one where modes of collaboration are measured: a benchmark's instruments,
not assistants.

Text: generated household errands (`tacit_simulations.data.errands`), about {tokens:,} tokens: commands, questions from
an invented almanac of {facts:,} facts that are asked for as words are used (a few often, most rarely), questions about
notes, and errands that need both; many with made-up names or placeholders for names, some as the general question
behind them or with its answer as a hint. No public set was read, and no household that is asked about in a benchmark.

Format: the request, `{act}`, a space and the answer, `{end}`. Made by `tacit models train --model pair-{which}` in
{steps:,} steps of {rows} rows of {length} tokens, AdamW, seed {seed}, matrix products in {products}: another processor,
or another number of threads, changes the last bits.

## Files

| file | SHA-256 |
|---|---|
{files}
"""


def _card(folder: Path, which: Which, steps: int, parameters: int, halves: bool) -> str:
    own = ("config.json", "model.safetensors", "tokenizer.json")
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in own}
    return _CARD.format(
        which=which,
        parameters=parameters,
        grown=f",\n{GROWN_AFTER:.0%} of that before it was grown (Net2Net, arXiv 1511.05641)"
        if which == "large"
        else "",
        products="bfloat16" if halves else "float32",
        tokens=steps * ROWS * LENGTH,
        facts=sum(len(subject.facts) for subject in almanac.subjects()),
        act=ACT,
        end=END,
        steps=steps,
        rows=ROWS,
        length=LENGTH,
        seed=SEED,
        files="\n".join(f"| {name} | {value} |" for name, value in digests.items()),
    )
