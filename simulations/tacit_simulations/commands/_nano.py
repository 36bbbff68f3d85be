"""The model that ships, looked at without torch: are its files there, and are they the ones its card describes?"""

import hashlib
import json
import re
import struct
from importlib.resources import as_file, files
from math import prod
from pathlib import Path
from typing import Any, Literal

from tacit_privacy.errors import BadInput

NEEDED = ("config.json", "tokenizer.json", "model.safetensors", "README.md")
REINSTALL = "pip install --force-reinstall --no-deps tacit, or: tacit models train --out DIR"

Verdict = tuple[Literal["ok", "missing"], str, str]


def inspect() -> Verdict:
    """State, detail and remedy for the packaged folder of tacit-nano."""
    with as_file(files("tacit_clients") / "slm" / "nano") as folder:
        return inspect_folder(folder)


def facts() -> dict[str, Any]:
    """Name, parameters, bytes, licence and place of the packaged model. Raises BadInput where it is missing."""
    with as_file(files("tacit_clients") / "slm" / "nano") as folder:
        weights = folder / "model.safetensors"
        if not weights.is_file():
            raise BadInput(f"tacit-nano is not part of this installation; {REINSTALL}")
        return {
            "name": "tacit-nano",
            "parameters": count_parameters(weights),
            "bytes": weights.stat().st_size,
            "licence": "Apache-2.0",
            "path": str(folder),
        }


def inspect_folder(folder: Path) -> Verdict:
    """Whether ``folder`` holds a whole model whose weights have a SHA-256 that its card (README.md) states."""
    lacking = [name for name in NEEDED if not (folder / name).is_file()]
    if lacking:
        return "missing", f"without {', '.join(lacking)}", REINSTALL
    weights = folder / "model.safetensors"
    stated = re.findall(r"\b[0-9a-f]{64}\b", (folder / "README.md").read_text(encoding="utf-8"))
    actual = hashlib.sha256(weights.read_bytes()).hexdigest()
    if actual not in stated:
        return "missing", f"weights have SHA-256 {actual[:12]}, which the model card does not state", REINSTALL
    try:
        parameters = count_parameters(weights)
    except (ValueError, struct.error) as error:
        return "missing", f"weights cannot be read: {error}", REINSTALL
    size = weights.stat().st_size / 1e6
    return "ok", f"{parameters / 1e6:.2f}M parameters, {size:.1f} MB, hash as in its card", ""


def count_parameters(weights: Path) -> int:
    """Number of parameters that a safetensors file holds, from its header alone.

    Raises ValueError or struct.error when the header is not one (format: 8 bytes little-endian length, then JSON).
    """
    with weights.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > weights.stat().st_size:
            raise ValueError(f"header of {length} bytes in a file of {weights.stat().st_size}")
        header = json.loads(file.read(length))
    return sum(prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")


def run() -> str:
    """Load the packaged model with transformers and take one greedy step. Heavy: imports torch."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with as_file(files("tacit_clients") / "slm" / "nano") as folder:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    ids = tokenizer("turn on the light", return_tensors="pt").input_ids
    with torch.no_grad():
        scores = model(input_ids=ids).logits  # (1, tokens, vocabulary)
    if not bool(torch.isfinite(scores).all()):
        raise ValueError("the model gives scores that are not finite")
    return f"{ids.shape[1]} tokens read"
