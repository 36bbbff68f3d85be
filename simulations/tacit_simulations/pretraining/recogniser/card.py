"""The recogniser's model card: what it was made from, how, and the digest of every file."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tacit_privacy.pii.detection.recogniser.features import TYPES
from tacit_simulations.pretraining.recogniser.texts import CORPUS, SETS, Example

_CARD = """\
---
license: apache-2.0
base_model: sentence-transformers/all-MiniLM-L6-v2
pipeline_tag: token-classification
---

# Tacit's recogniser

Finds {types} in text. An encoder of {parameters:,} parameters, fine-tuned for Tacit; it also reads how each word is
written (capitals, digits, signs), which the encoder's vocabulary does not keep. Weights are stored in eight bits (seven
used, so that no processor's sums overflow). Runs with ONNX Runtime; a process that uses it never loads torch.

Fine-tuned from [all-MiniLM-L6-v2](https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2) (Apache-2.0, by the
sentence-transformers authors, from nreimers/MiniLM-L6-H384-uncased, itself from
microsoft/MiniLM-L12-H384-uncased, MIT).

## Training data

| set | examples | licence and source |
|---|---|---|
| documents written for Tacit, `simulations/corpora/pii`, marked by their writers | {mine:,} | Apache-2.0 |
{sets}

Entities of the documents by type: {entities}. Names, places and organisations are swapped for others, or for made-up
ones, in a third of the examples of every epoch; cases and line breaks change in a fifth. Where a set does not mark a
type, an unmarked word counts for "none of the types this set marks". Of presidio_synth, sentences whose template falls
into two fifths of a digest's values were never read: figures are measured on those.

Made by `tacit models train-recogniser` in {epochs} epochs, AdamW, seed {seed}; the weights are a running average.

## Files

| file | SHA-256 |
|---|---|
{files}

## Limits

Mostly English; other languages and scripts are read less surely, because the encoder's vocabulary is English. Product
names, works and historical figures are not looked for. It misses names: what it leaves is not anonymous.
"""


def write_card(
    folder: Path,
    encoder: Path,
    mine: Sequence[Example],
    others: Iterable[Example],
    epochs: int,
    seed: int,
    parameters: int,
) -> None:
    """Write ``README.md`` beside the weights, with digests of them, of the encoder and of the corpus."""
    counted = Counter(example.source for example in others)
    entities = Counter(kind for example in mine for *_, kind in example.spans)
    named = {name: folder / name for name in ("model.onnx", "tokenizer.json", "labels.json")}
    named |= {f"encoder: {name}": encoder / name for name in ("model.safetensors", "tokenizer.json")}
    named |= {f"corpus: {file.name}": file for file in sorted(CORPUS.glob("*.txt"))}
    text = _CARD.format(
        types=", ".join(TYPES),
        parameters=parameters,
        mine=len(mine),
        sets="\n".join(f"| {name} | {counted[name]:,} | {SETS[name]} |" for name in SETS if counted[name]),
        entities=", ".join(f"{kind} {number:,}" for kind, number in entities.most_common()),
        epochs=epochs,
        seed=seed,
        files="\n".join(f"| {name} | {digest(path)} |" for name, path in named.items()),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
