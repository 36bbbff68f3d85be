"""Where a run writes: one folder, claimed before any work, whose files appear whole or not at all."""

import json
import math
import os
import platform
import shutil
from collections.abc import ItemsView, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tacit_privacy import files
from tacit_privacy.contract import canonical
from tacit_privacy.errors import BadInput, FleetExhausted

_NEEDED_BYTES = 200_000_000  # checkpoints of a long run; asked for before the first round


class OutputFolder:
    """``result.json``, ``report.html``, ``ledger.jsonl``, ``ledger.pub`` and ``adapter/`` at the top; ``state/`` below
    holds what ``--resume`` needs.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.state = path, path / "state"

    def claim(self, scenario_digest: str, resume: bool) -> None:
        """Refuse a folder that holds something else, a resume of another scenario, or a disk without room."""
        marker = self.state / "scenario.sha256"
        if resume:
            if not marker.is_file():
                raise BadInput(f"nothing to resume in {self.path}; leave --resume out to start there")
            if marker.read_bytes().strip() != scenario_digest.encode():
                raise BadInput(f"{self.path} holds a run of other settings; resume with the same scenario and --set")
            return
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise BadInput(f"{self.path} is not an empty folder; choose another --out, or --resume to go on there")
        self._make(marker, scenario_digest)

    def _make(self, marker: Path, scenario_digest: str) -> None:
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.state).free
            if free < _NEEDED_BYTES:
                shutil.rmtree(self.state)
                raise BadInput(
                    f"{self.path} has {free / 1e6:.0f} MB free and a run needs {_NEEDED_BYTES / 1e6:.0f} MB; "
                    "make room or choose another --out"
                )
            write_whole(marker, scenario_digest + "\n")
        except OSError as error:
            raise BadInput(f"cannot write to {self.path}: {error.strerror}; choose another --out") from error

    @contextmanager
    def claimed(self, scenario_digest: str, resume: bool) -> Iterator[None]:
        """``claim`` for the time of a run. One that finds no device to begin with leaves no folder behind."""
        own = not self.path.exists()
        self.claim(scenario_digest, resume)
        try:
            yield
        except FleetExhausted:
            if not resume:
                shutil.rmtree(self.path if own else self.state)
            raise


def write_whole(path: Path, text: str) -> None:
    """A file of a run: a reader sees the old one or the new one. Raises BadInput."""
    files.write_whole(path, text, "make room, then --resume")


class Journal:
    """What the simulator alone can see, line by line as it happens: a killed run loses nothing it had already seen.

    A line is keyed; a resumed run writes a key again with the same content, and the newest line wins.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[str, Any] = dict(self._read())

    def put(self, key: str, value: Any) -> None:
        line = canonical([key, value]).decode() + "\n"
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise BadInput(f"cannot write {self._path}: {error.strerror}; make room, then --resume") from error
        self._rows[key] = json.loads(line)[1]

    def get(self, key: str) -> Any:
        return self._rows.get(key)

    def items(self) -> ItemsView[str, Any]:
        return self._rows.items()

    def _read(self) -> Iterator[tuple[str, Any]]:
        """Rows in order. A last line that a kill has cut is taken away: what it said is done again."""
        if not self._path.is_file():
            return
        content = self._path.read_bytes()
        kept = content[: content.rfind(b"\n") + 1]
        if len(kept) < len(content):
            os.truncate(self._path, len(kept))
        for number, line in enumerate(kept.splitlines(), 1):
            try:
                key, value = json.loads(line)
                if not isinstance(key, str):
                    raise TypeError("a row is a name and a value")
            except (ValueError, TypeError) as error:
                raise BadInput(f"{self._path}, line {number} is damaged; start again in an empty folder") from error
            yield key, value


_LIBRARIES = ("tacit", "flwr", "torch", "transformers", "peft", "numpy", "dp-accounting", "sqlalchemy")


def versions() -> dict[str, str]:
    """Of the libraries that can change a result."""
    return {"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES}


def finite(value: float) -> float | None:
    """A number as strict JSON can hold it: None for what is no number, such as the loss of a model that diverged."""
    return float(value) if math.isfinite(value) else None


def to_json(result: dict[str, Any]) -> str:
    """A result as it is written: strict JSON, no NaN."""
    return json.dumps(result, indent=2, allow_nan=False) + "\n"
