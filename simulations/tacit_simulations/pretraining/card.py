"""The model card of tacit-nano: what it read, what it is for, and the digest of every file it was made from."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from tacit_simulations.data.home import grammar
from tacit_simulations.pretraining.corpus import OPEN_SETS

_CARD = """\
---
license: apache-2.0
language: en
pipeline_tag: text-generation
---

# tacit-nano

A Llama-architecture causal language model of {parameters:,} parameters that ships with Tacit, so that a first fleet
simulation needs no model hub. It turns what people say to a home assistant into a short structured action, and is meant
to be adapted: it has never heard the dialect that the `home` scenario's households speak.

It is not a general assistant. It has seen about {tokens:,} tokens of English requests and little else.

Format: the request, `<|act|>`, a space and the action, `<|end|>`. The tokenizer is byte-level BPE with 2,048 entries.

## Training data

| set | licence | share | where from |
|---|---|---|---|
| generated homes, base dialect: {skeletons:,} skeletons | Apache-2.0 | {share} | `tacit_simulations.data.home` |
{sets}

No set that a scenario or a benchmark of Tacit evaluates on was read. Households of pre-training share no random stream
with any scenario's, and the intents and phrases that only the fleet dialect has do not occur in them.

Made by `tacit models train` in {steps:,} steps of 64 rows of 64 tokens, AdamW, seed {seed}, one thread.

## Files

| file | SHA-256 |
|---|---|
{files}

## Limits

English only. People, streets and shops in the generated text come from short lists, so it knows few names. It repeats
whatever its adapters are trained on; a personal adapter may have memorised what its owner said and must stay at home.
"""


def write_card(folder: Path, steps: int, seed: int, parameters: int, read: Mapping[str, str]) -> None:
    """Write ``README.md`` beside the weights; ``read`` maps each open file to its SHA-256."""
    used = [entry for entry in OPEN_SETS if any(name.startswith(entry.name) for name in read)]
    sets = [f"| {e.name}, training part | {e.licence} | up to a third of the rows' texts | {e.source} |" for e in used]
    own = ("config.json", "model.safetensors", "tokenizer.json")
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in own} | dict(read)
    text = _CARD.format(
        parameters=parameters,
        tokens=steps * 64 * 64,
        skeletons=grammar.skeletons(grammar.BASE),
        share="two thirds or more",
        sets="\n".join(sets),
        steps=steps,
        seed=seed,
        files="\n".join(f"| {name} | {value} |" for name, value in digests.items()),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
