"""The live pair made anew by ``tacit models train``, each model in one go, beside the one of the repository.

The two of ``--folder`` are trained where they are not there yet: half an hour and an hour on one core, resumable.
``--quick`` is for trying it out and writes nothing.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy starts its threads

import numpy as np
from figures import Figure, told, verdict

from tacit_clients.modes.lexical import folded
from tacit_clients.slm.models import load, single_thread
from tacit_simulations.data.errands import frozen
from tacit_simulations.data.errands.asking import FAMILIES
from tacit_simulations.evaluation.batched import answers
from tacit_simulations.evaluation.modes.measures import interval
from tacit_simulations.pair import LARGE, SMALL

SHIPPED: Final = {"small": SMALL, "large": LARGE}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the pair is made, or was")
    parser.add_argument("--quick", action="store_true", help="ten steps of training and few questions")
    arguments = parser.parse_args()
    quick, figures, details = arguments.quick, list[Figure](), dict[str, Any]()
    single_thread()
    for which, shipped in SHIPPED.items():
        anew = marks(made_anew(arguments.folder / which, which, quick), quick)
        here = None if shipped is None else marks(shipped, quick)
        details[which] = {"anew": anew, "shipped": here}
        figures.append(
            Figure(
                f"pair-{which} made anew in one go: right of the frozen errands",
                shown(anew),
                "that of the repository is not here" if here is None else f"that of the repository {shown(here)}",
            )
        )
    return verdict(told("pair_anew", figures, details, quick))


def made_anew(folder: Path, which: str, quick: bool) -> Path:
    """The folder of the model, trained by the command where it is not whole."""
    if not (folder / "model.safetensors").is_file():
        tacit = Path(sys.executable).with_name("tacit")
        what = ["models", "train", "--model", f"pair-{which}", "--out", str(folder), "--resume"]
        subprocess.run([tacit, *what, *(["--steps", "10"] if quick else [])], check=True)
    return folder


def marks(folder: Path, quick: bool) -> dict[str, Any]:
    """Share of the frozen errands that the model answers rightly on its own, with its 95 % interval, and by family."""
    rows = frozen.rows()[: 40 if quick else None]
    said = answers(load(str(folder)), [str(row["prompt"]) for row in rows])
    right = np.array([folded(s.text) == folded(str(row["answer"])) for s, row in zip(said, rows, strict=True)], float)
    low, high = interval(right, 0)
    families = np.array([row["family"] for row in rows])
    by_family = {family: float(right[families == family].mean()) for family in FAMILIES if (families == family).any()}
    return {"right": float(right.mean()), "low": low, "high": high, "families": by_family}


def shown(found: dict[str, Any]) -> str:
    families = ", ".join(f"{family} {share:.3f}" for family, share in found["families"].items())
    return f"{found['right']:.3f} [{found['low']:.3f}, {found['high']:.3f}] ({families})"


if __name__ == "__main__":
    sys.exit(main())
