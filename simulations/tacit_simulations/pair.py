"""Where the live pair lies: beside the package in a clone of the repository, and in no wheel."""

from pathlib import Path
from typing import Final

import tacit_simulations

_FOLDER = Path(tacit_simulations.__file__).resolve().parents[1] / "pair"


def _there(name: str) -> Path | None:
    folder = _FOLDER / name
    return folder if (folder / "model.safetensors").is_file() else None


SMALL: Final = _there("small")
LARGE: Final = _there("large")
"""None where the folder is not there, as in an installed wheel; ``tacit models train`` makes one."""
