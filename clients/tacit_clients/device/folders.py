"""Where a device's shared adapters lie: ``adapters/<digest>/`` in peft's format, and the link to the one in use."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from tacit_clients.device.home import DeviceHome
from tacit_clients.slm.places import HeldAdapter
from tacit_privacy.adapter_folder import save_adapter
from tacit_privacy.contract import AdapterSpec, digest
from tacit_privacy.errors import BadInput

Vector = NDArray[np.float32]


class AdapterFolders:
    """A folder is complete once it holds the very bytes that the server signed: they come last."""

    def __init__(self, home: DeviceHome) -> None:
        self._home = home

    def part(self, vector: str) -> Path:
        """Where a download gathers."""
        return self._home.adapters / f"{vector}.part"

    def read(self, vector: str) -> HeldAdapter:
        """A kept adapter, whole. Raises BadInput where a byte is missing or changed."""
        folder = self._home.adapters / vector
        try:
            spec = AdapterSpec.from_bytes((folder / "tacit_spec.json").read_bytes())
            data = self._raw(vector).read_bytes()
        except (OSError, ValidationError) as error:
            raise BadInput(f"the adapter in {folder} is not whole; the device's next one replaces it") from error
        if digest(data) != vector or len(data) != 4 * spec.dimension:
            raise BadInput(f"the adapter in {folder} was changed; the device's next one replaces it")
        return HeldAdapter(spec, np.frombuffer(data, dtype="<f4").astype(np.float32))

    def whole(self, vector: str) -> bool:
        try:
            self.read(vector)
        except BadInput:
            return False
        return True

    def keep(self, vector: str, spec: AdapterSpec, values: Vector) -> None:
        """Make the folder of what was downloaded. Raises BadInput where there is no room."""
        if self.part(vector).is_file():
            save_adapter(self._home.adapters / vector, spec, values)
            with writing(self._home):
                self.part(vector).replace(self._raw(vector))

    def linked(self) -> str:
        """What the link says is in use; empty where there is no link. Raises BadInput where something else is there."""
        try:
            return Path(os.readlink(self._home.current)).name
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise BadInput(f"{self._home.current} is no link; remove it, and the device makes its own") from error

    def turn(self, vector: str) -> None:
        """Let the link lead to another adapter, or be gone: whoever reads finds the old one or the new one."""
        current = self._home.current
        with writing(self._home):
            if not vector:
                current.unlink(missing_ok=True)
                return
            beside = current.with_name(f".{current.name}.{os.getpid()}")
            beside.unlink(missing_ok=True)
            beside.symlink_to((self._home.adapters / vector).relative_to(self._home.path))
            beside.replace(current)

    def tidy(self, keep: set[str]) -> None:
        """Remove what is neither in use nor gone back to, and what kills and refusals left."""
        for path in self._home.adapters.iterdir() if self._home.adapters.is_dir() else ():
            if path.name in keep:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                _remove(path)
        for left in self._home.path.glob(f".{self._home.current.name}.*"):
            _remove(left)

    def _raw(self, vector: str) -> Path:
        return self._home.adapters / vector / "vector.f32"


def _remove(path: Path) -> None:
    with suppress(OSError):  # what cannot be removed costs room and nothing else
        path.unlink()


@contextmanager
def writing(home: DeviceHome) -> Iterator[None]:
    """What the operating system refuses becomes a sentence, and the device goes on with what it has."""
    try:
        yield
    except OSError as error:
        raise BadInput(f"cannot write in {home.path}: {error.strerror}; make room, the old adapter stays") from error
