"""Which code a release was made by."""

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path


@cache
def code_digest(*packages: str) -> str:
    """The version and a SHA-256 over every Python file of installed ``packages``, by name and content."""
    found = hashlib.sha256()
    for package in packages:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations if spec is not None else None) or ():
            for path in sorted(Path(folder).rglob("*.py")):
                data = path.read_bytes()
                found.update(f"{package}/{path.relative_to(folder).as_posix()}\0{len(data)}\0".encode() + data)
    return f"{_version()} sha256:{found.hexdigest()}"


def _version() -> str:
    try:
        return version("tacit")
    except PackageNotFoundError:
        return "unknown"
