"""Where a model and its adapters lie, and what can be said of them without torch."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tacit_privacy.contract import AdapterSpec
from tacit_privacy.errors import BadInput

NANO: Final = "tacit-nano"  # the name under which the packaged model is known
NANO_FOLDER: Final = Path(__file__).parent / "nano"
ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"
_WEIGHTS: Final = ("*.safetensors", "*.bin")
_OFFLINE: Final = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_PATIENCE_S: Final = 10.0  # with the hub
# What changes the arithmetic in ways that a flat vector cannot say, with the value that means "not used".
_UNSUPPORTED: Final[dict[str, Any]] = {
    "use_dora": False,
    "bias": "none",
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
    "lora_bias": False,
    "layer_replication": None,
}


@dataclass(frozen=True, slots=True, eq=False)
class HeldAdapter:
    """An adapter in memory, ``vector`` (dimension,): one that no folder may hold, or that was read whole before."""

    spec: AdapterSpec
    vector: NDArray[np.float32] = field(repr=False)


Adapter = Path | HeldAdapter
"""A folder in peft's format, or what is in memory."""


def check(model: str, adapters: Iterable[Adapter | None] = ()) -> None:
    """See whether there is such a model and whether its adapters are whole, so far as that costs no loading.

    The hub is asked about an id that is not in the local cache. Raises BadInput.
    """
    folder = model_folder(model)
    if folder is not None:
        _check_folder(model, folder)
    else:
        _check_hub(model)
    for adapter in adapters:
        if isinstance(adapter, Path):
            adapter_config(adapter)
            if not (adapter / ADAPTER_WEIGHTS).is_file():
                raise BadInput(f"cannot read {ADAPTER_WEIGHTS} in {adapter}; is it complete?")


def model_folder(name: str) -> Path | None:
    """The folder that ``name`` means; None for a Hugging Face id. Raises BadInput for a path that leads nowhere."""
    place = NANO_FOLDER if name == NANO else Path(name).expanduser()
    if name == NANO and not (place / "config.json").is_file():
        raise BadInput("tacit-nano is not part of this installation; run `tacit models train` or reinstall tacit")
    if place.is_dir():
        return place
    if name.startswith((".", "/", "~")):
        raise BadInput(f"there is no model folder {name}; name a folder with a config.json, or a Hugging Face id")
    return None


def same_model(one: str, other: str) -> bool:
    """Whether two names mean one model: the same word, or the same folder."""
    first, second = Path(one).expanduser(), Path(other).expanduser()
    return one == other or (first.is_dir() and second.is_dir() and first.samefile(second))


def offline() -> bool:
    """Whether the environment forbids to ask the hub."""
    return any(os.environ.get(name, "0").upper() in {"1", "ON", "YES", "TRUE"} for name in _OFFLINE)


def adapter_config(folder: Path) -> dict[str, Any]:
    """What peft wrote beside the weights. Raises BadInput where it is not there or no plain LoRA."""
    try:
        config = json.loads((folder / "adapter_config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise BadInput(f"no adapter in {folder}; name the folder `adapter` of a run, or one that peft wrote") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise BadInput(f"the adapter in {folder} is no LoRA adapter; only those can be used")
    for name, unused in _UNSUPPORTED.items():
        if config.get(name) not in (unused, None, False, {}):
            raise BadInput(f"the adapter in {folder} uses {name}, which is not supported; train plain LoRA")
    return config


def _check_folder(name: str, folder: Path) -> None:
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        config = None
    if not isinstance(config, dict):
        raise BadInput(f"the model folder {name} has no readable config.json; name one that save_pretrained wrote")
    if not any(next(folder.glob(pattern), None) for pattern in _WEIGHTS):
        raise BadInput(f"the model folder {name} has a config.json but no weights; is it complete?")


def _check_hub(name: str) -> None:
    """Raises BadInput where neither the local cache nor the hub has ``name``."""
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        if isinstance(try_to_load_from_cache(name, "config.json"), str):
            return
        why = "HF_HUB_OFFLINE is set"
        if not offline():
            HfApi().model_info(name, timeout=_PATIENCE_S)
            return
    except HFValidationError:
        why = "that is no id of a model there"
    except HfHubHTTPError:
        why = "none of that id is there for you"
    except Exception:  # of its client's, which differ from release to release
        why = "it cannot be reached"
    raise BadInput(
        f"there is no folder {name}, and Hugging Face gives no model {name} ({why}); name a folder with config.json "
        "and weights, or an id that can be had"
    )
