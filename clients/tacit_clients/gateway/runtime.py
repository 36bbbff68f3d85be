"""What the owner switches while the gateway runs, kept over restarts."""

import contextlib
import json
import os
import tempfile
from pathlib import Path
from threading import Lock

from pydantic import BaseModel, ValidationError

from tacit_privacy.errors import BadInput


class Switches(BaseModel, frozen=True, extra="forbid"):
    """``paused``: nothing leaves. ``collect``: the owner lets accepted and corrected answers train the device."""

    paused: bool = False
    collect: bool = False


def switches_beside(vault: Path) -> Path:
    """The file of the switches of a gateway that keeps its names in ``vault``."""
    return vault.with_suffix(".switches.json")


class Runtime:
    """The switches, in a small file beside the vault; in memory alone where there is no file.

    A file that cannot be read means that nothing leaves: pausing must not be forgotten.
    """

    def __init__(self, path: Path | None) -> None:
        self._path, self._lock = path, Lock()
        self._switches = self._load()

    @property
    def switches(self) -> Switches:
        return self._switches

    def paused(self) -> bool:
        return self._switches.paused

    def pause(self, paused: bool) -> None:
        self._change(paused=paused)

    def collect(self, collect: bool) -> None:
        self._change(collect=collect)

    def _change(self, **changes: bool) -> None:
        """In effect at once, even where the file cannot be written. Raises BadInput then."""
        with self._lock:
            self._switches = self._switches.model_copy(update=changes)
            if self._path is not None:
                _write(self._path, self._switches.model_dump_json())

    def _load(self) -> Switches:
        if self._path is None or not self._path.exists():
            return Switches()
        try:
            return Switches.model_validate(json.loads(self._path.read_text(encoding="utf-8")))
        except (OSError, ValueError, ValidationError):
            return Switches(paused=True)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}; the switch holds until the gateway ends") from None
