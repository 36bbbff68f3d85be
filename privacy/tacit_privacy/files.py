"""Files that appear whole or not at all."""

import os
from pathlib import Path

from tacit_privacy.errors import BadInput


def write_whole(path: Path, text: str, remedy: str = "make room and try again") -> None:
    """Write beside, flush, rename: a reader sees the old file or the new one. Raises BadInput, ending in ``remedy``."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise BadInput(f"cannot write {path}: {error.strerror}; {remedy}") from error
