"""Adapters on disk in peft's format, written without torch or peft: by servers, and by devices that distil."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from tacit_privacy.contract import AdapterSpec
from tacit_privacy.errors import BadInput
from tacit_privacy.randomness import frozen_factor

Factors = tuple[NDArray[np.float32], NDArray[np.float32]]


def save_adapter(folder: Path, spec: AdapterSpec, vector: NDArray[np.floating]) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``; dense tensors go to ``head.safetensors``.

    ``vector`` has shape ``(spec.dimension,)``. The folder appears whole or not at all; raises BadInput
    where it cannot be written.
    """
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        for name, content in _files(spec, np.asarray(vector, dtype=np.float32)).items():
            (beside / name).write_bytes(content)
        shutil.rmtree(folder, ignore_errors=True)
        beside.replace(folder)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise BadInput(f"cannot write {folder}: {error.strerror}; make room or choose another folder") from error


def _files(spec: AdapterSpec, flat: NDArray[np.float32]) -> dict[str, bytes]:
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": spec.model,
        "r": spec.rank,
        "lora_alpha": spec.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": [module.name for module in spec.linear],
        "inference_mode": True,
    }
    found = {
        "adapter_config.json": (json.dumps(config, indent=2) + "\n").encode(),
        "adapter_model.safetensors": save(_tensors(spec, flat), metadata={"format": "pt"}),
        "tacit_spec.json": spec.to_bytes(),
    }
    dense = _dense(spec, flat)
    return found | ({"head.safetensors": save(dense, metadata={"format": "pt"})} if dense else {})


def factors(spec: AdapterSpec, flat: NDArray[np.float32]) -> dict[str, Factors]:
    """By module: B (rows, rank) and A (rank, columns), not scaled. ``flat`` has shape ``(spec.dimension,)``."""
    block = flat[spec.dense_size :].reshape(spec.rank, spec.width)
    found, start = {}, 0
    for module in spec.linear:
        up = np.ascontiguousarray(block[:, start : start + module.rows].T)
        start += module.rows
        if spec.method == "lora":
            down = np.ascontiguousarray(block[:, start : start + module.columns])
            start += module.columns
        else:
            down = frozen_factor(spec.seed, module.name, spec.rank, module.columns)
        found[module.name] = up, down
    return found


def _tensors(spec: AdapterSpec, flat: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """The factors by peft's names."""
    found = {}
    for name, (up, down) in factors(spec, flat).items():
        found[f"base_model.model.{name}.lora_B.weight"] = up
        found[f"base_model.model.{name}.lora_A.weight"] = down
    return found


def _dense(spec: AdapterSpec, flat: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    found, start = {}, 0
    for tensor in spec.dense:
        found[tensor.name] = flat[start : start + tensor.size].reshape(tensor.shape).copy()
        start += tensor.size
    return found
