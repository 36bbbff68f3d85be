"""The recogniser that ships, looked at without loading it: are its files there, and are they those of its card?"""

import hashlib
import re
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from tacit_privacy.errors import BadInput
from tacit_simulations.commands._nano import Verdict

NEEDED = ("model.onnx", "tokenizer.json", "labels.json", "README.md")
REINSTALL = "pip install --force-reinstall --no-deps tacit, or: tacit models train-recogniser --out DIR --encoder DIR"


def inspect() -> Verdict:
    """State, detail and remedy for the packaged folder."""
    with as_file(files("tacit_privacy") / "pii" / "detection" / "recogniser" / "weights") as folder:
        return inspect_folder(folder)


def inspect_folder(folder: Path) -> Verdict:
    """Whether ``folder`` holds every file, each with a SHA-256 that its card (README.md) states."""
    lacking = [name for name in NEEDED if not (folder / name).is_file()]
    if lacking:
        return "missing", f"without {', '.join(lacking)}", REINSTALL
    stated = dict(
        re.findall(r"^\| ([\w.]+) \| ([0-9a-f]{64}) \|$", (folder / "README.md").read_text("utf-8"), re.MULTILINE)
    )
    for name in NEEDED[:-1]:
        actual = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        if stated.get(name) != actual:
            return "missing", f"{name} has SHA-256 {actual[:12]}, which the model card does not state", REINSTALL
    return "ok", f"{(folder / 'model.onnx').stat().st_size / 1e6:.1f} MB, hashes as in its card", ""


def facts() -> dict[str, Any]:
    """Name, parameters, bytes, licence and place. Raises BadInput where it is missing."""
    with as_file(files("tacit_privacy") / "pii" / "detection" / "recogniser" / "weights") as folder:
        graph = folder / "model.onnx"
        if not graph.is_file():
            raise BadInput(f"the recogniser is not part of this installation; {REINSTALL}")
        counted = re.search(r"([\d,]+) parameters", (folder / "README.md").read_text("utf-8"))
        return {
            "name": "recogniser",
            "parameters": int(counted.group(1).replace(",", "")) if counted else 0,
            "bytes": graph.stat().st_size,
            "licence": "Apache-2.0",
            "path": str(folder),
        }
