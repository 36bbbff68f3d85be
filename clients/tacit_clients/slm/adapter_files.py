"""Reads adapters: folders in peft's format, by Tacit or by peft, or what is in memory. Stacks them into one vector."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from tacit_clients.slm.models import LanguageModel
from tacit_clients.slm.places import ADAPTER_WEIGHTS, Adapter, HeldAdapter, adapter_config, same_model
from tacit_privacy import adapter_folder
from tacit_privacy.contract import AdapterSpec, LinearSpec
from tacit_privacy.errors import BadInput

Vector = NDArray[np.float32]
_PREFIX = "base_model.model."
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"


Factors = dict[
    str, tuple[Vector, Vector]
]  # by module: B (rows, rank) with the adapter's scale in it, A (rank, columns)


def factors_of(adapter: Adapter, model: LanguageModel) -> Factors:
    """What an adapter adds to the modules of ``model``, wherever it is. Raises BadInput where it cannot be used."""
    return held_adapter(adapter, model) if isinstance(adapter, HeldAdapter) else read_adapter(adapter, model)


def held_adapter(held: HeldAdapter, model: LanguageModel) -> Factors:
    """The adapter in memory, by the rules for one in a folder. Raises BadInput."""
    spec, vector = held.spec, held.vector
    _check_spec(spec, model, "in memory")
    if vector.shape != (spec.dimension,) or not np.isfinite(vector).all():
        raise BadInput(f"the adapter in memory is no {spec.dimension} finite numbers; take another one into use")
    _check_modules({linear.name for linear in spec.linear}, model, "in memory")
    scale = np.float32(spec.alpha / spec.rank)
    return {name: (up * scale, down) for name, (up, down) in adapter_folder.factors(spec, vector).items()}


def read_adapter(folder: Path, model: LanguageModel) -> Factors:
    """The adapter in ``folder``: what it adds to the weight of each of its modules is B @ A.

    Raises BadInput when there is none, when it is of another model, of a kind other than plain LoRA, or not finite.
    """
    config = adapter_config(folder)
    found = _factors(folder)
    _check_origin(folder, model)
    rank, alpha = _scale(folder, config)
    if not found or any(up.shape[1] != rank or down.shape[0] != rank for up, down in found.values()):
        raise BadInput(f"an adapter of rank {rank} is announced in {folder} but its weights have another; is it whole?")
    _check_modules(set(found), model, f"in {folder}")
    if not all(np.isfinite(factor).all() for factors in found.values() for factor in factors):
        raise BadInput(f"the adapter in {folder} holds NaN or infinity; train it again or leave it out")
    return {name: (up * np.float32(alpha / rank), down) for name, (up, down) in found.items()}


def stack(model: LanguageModel, adapters: Sequence[Factors]) -> tuple[AdapterSpec, Vector]:
    """One adapter of method ``lora`` that adds what all of them add: ranks side by side, so that it costs one pass.

    A module that only some adapt has zeros for the others. Raises BadInput where a shape is not the module's.
    """
    ranks = [next(iter(factors.values()))[1].shape[0] for factors in adapters]
    linear, parts = [], []
    for name, _ in model.network.named_modules():
        known = [factors[name] for factors in adapters if name in factors]
        if not known:
            continue
        rows, columns = known[0][0].shape[0], known[0][1].shape[1]
        if any(up.shape[0] != rows or down.shape[1] != columns for up, down in known):
            raise BadInput(f"two adapters disagree on the shape of module {name}; name adapters of one model")
        linear.append(LinearSpec(name=name, rows=rows, columns=columns))
        for which in (0, 1):  # B's column, then A's row, rank by rank
            blocks = [
                _by_rank(factors[name], which) if name in factors else np.zeros((rank, (rows, columns)[which]))
                for factors, rank in zip(adapters, ranks, strict=True)
            ]
            parts.append(np.concatenate(blocks, axis=0))
    vector = np.ascontiguousarray(np.concatenate(parts, axis=1), dtype=np.float32).reshape(-1)
    total = sum(ranks)
    spec = AdapterSpec(model=model.name, method="lora", rank=total, alpha=total, seed=0, linear=tuple(linear))
    return spec, vector


def _by_rank(factors: tuple[Vector, Vector], which: int) -> Vector:
    """(rank, rows) of B or (rank, columns) of A."""
    return factors[0].T if which == 0 else factors[1]


def _scale(folder: Path, config: dict[str, Any]) -> tuple[int, float]:
    """Rank, and alpha such that alpha / rank is the adapter's scale."""
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or not isinstance(alpha, int | float) or rank < 1 or not 0 < alpha < np.inf:
        raise BadInput(f"adapter_config.json in {folder} says no rank r and no lora_alpha; it is damaged")
    return rank, float(alpha) * (rank**0.5 if config.get("use_rslora") else 1.0)


def _factors(folder: Path) -> Factors:
    """As they are in the file, not scaled."""
    try:
        tensors = load_file(folder / ADAPTER_WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise BadInput(f"cannot read adapter_model.safetensors in {folder}; is it complete?") from error
    names = {name.removesuffix(_UP) for name in tensors if name.endswith(_UP)}
    expected = {f"{name}{end}" for name in names for end in (_UP, _DOWN)}
    if expected != set(tensors) or any(tensor.ndim != 2 for tensor in tensors.values()):
        raise BadInput(f"adapter_model.safetensors in {folder} holds other tensors than lora_A and lora_B of linears")
    plain = {name: tensor.float().numpy() for name, tensor in tensors.items()}
    return {name.removeprefix(_PREFIX): (plain[name + _UP], plain[name + _DOWN]) for name in names}


def _check_origin(folder: Path, model: LanguageModel) -> None:
    """An adapter that Tacit wrote names its model exactly; peft's base names are only hints, and sizes decide."""
    if not (folder / "tacit_spec.json").is_file():
        return
    try:
        spec = AdapterSpec.from_bytes((folder / "tacit_spec.json").read_bytes())
    except (OSError, ValidationError) as error:
        raise BadInput(f"cannot read tacit_spec.json in {folder}; was it written by another version?") from error
    _check_spec(spec, model, f"in {folder}")


def _check_spec(spec: AdapterSpec, model: LanguageModel, where: str) -> None:
    if spec.dense:
        raise BadInput(f"the adapter {where} classifies and cannot write; train one for instructions or language")
    if not same_model(spec.model, model.name):
        raise BadInput(f"the adapter {where} is for model {spec.model} but {model.name} is resident; name the same")


def _check_modules(names: set[str], model: LanguageModel, where: str) -> None:
    unknown = names - {name for name, _ in model.network.named_modules()}
    if unknown:
        raise BadInput(f"the adapter {where} adapts {min(unknown)}, which {model.name} has not; name its own model")
