"""What `tacit doctor` looks at. Versions come from the distribution's own metadata: there is no second list of them."""

import os
import platform
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tacit_simulations.commands import _nano, _recogniser
from tacit_simulations.commands._findings import Finding, State

MINIMUM_MEMORY = 3e9
"""Bytes that the scenario home-quick stays under."""
MINIMUM_DISK = 1e9
"""Bytes free for results and checkpoints of the scenarios that ship."""
DEVELOPERS = {"dev", "docs"}
"""Extras that a user of Tacit never needs: not looked at."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def examine(deep: bool = False) -> list[Finding]:
    """All findings, in the order to be read. Imports nothing heavy and asks no other machine unless ``deep``."""
    findings = [*machine(), *libraries(), *conflicts(), *model_and_data(), *optional_tools()]
    if deep:
        findings += [*deep_imports(), *deep_model(), *deep_ray()]
    sections = list(dict.fromkeys(finding.section for finding in findings))
    return sorted(findings, key=lambda finding: sections.index(finding.section))


def machine() -> Iterator[Finding]:
    """Python, platform, usable cores, memory and disk of this process, container limits included."""
    here = "machine"
    wanted = SpecifierSet(metadata.metadata("tacit")["Requires-Python"] or "")
    version = platform.python_version()
    fits = wanted.contains(version, prereleases=True)
    yield Finding(here, "python", "ok" if fits else "missing", version, "" if fits else f"install Python {wanted}")
    yield Finding(here, "platform", "info", f"{platform.system()} {platform.release()} {platform.machine()}")
    yield Finding(here, "cores", "info", str(len(os.sched_getaffinity(0))))
    yield _enough(here, "memory", memory_bytes(), MINIMUM_MEMORY, "choose a smaller fleet or --engine inline")
    disk = shutil.disk_usage(Path.cwd()).free
    yield _enough(here, "disk free here", disk, MINIMUM_DISK, "free some space, or use --out on another disk")


def memory_bytes() -> float:
    """Memory this process may use: the machine's, or the control group's limit where that is lower."""
    import psutil

    limit = Path("/sys/fs/cgroup/memory.max")
    total = float(psutil.virtual_memory().total)
    with_limit = limit.read_text().strip() if limit.is_file() else "max"
    return total if with_limit == "max" else min(total, float(with_limit))


def libraries(distribution: str = "tacit") -> Iterator[Finding]:
    """Every library that the installed ``distribution`` names, against the range it names."""
    for requirement, extra in requirements(distribution):
        if extra in DEVELOPERS:
            continue
        typed = f"pip install '{distribution}[{extra}]'" if extra else f"pip install '{requirement}'"
        version = installed(requirement.name)
        where, wanted = ("libraries" if not extra else "optional"), str(requirement.specifier)
        if version is None:
            state: State = "absent" if extra else "missing"
            yield Finding(where, requirement.name, state, f"needs {wanted or 'any version'}", typed)
        elif requirement.specifier.contains(version, prereleases=True):
            yield Finding(where, requirement.name, "ok", f"{version} ({wanted})" if wanted else version)
        else:
            yield Finding(where, requirement.name, "missing", f"{version} is outside {wanted}", typed)


def requirements(distribution: str) -> Iterator[tuple[Requirement, str]]:
    """What ``distribution`` requires on this machine, each with the extra it belongs to ("" for none).

    A requirement that asks for extras of its own is followed by what they bring: flwr[simulation] brings ray.
    """
    names = metadata.metadata(distribution).get_all("Provides-Extra") or []
    for requirement in _requires(distribution):
        belongs = next((extra for extra in ("", *names) if _applies(requirement, extra)), None)
        if belongs is None:
            continue  # for another platform
        yield requirement, belongs
        if requirement.extras and installed(requirement.name) is not None:
            brought = (inner for inner in _requires(requirement.name) if not _applies(inner, ""))
            yield from (
                (inner, belongs) for inner in brought if any(_applies(inner, extra) for extra in requirement.extras)
            )


def conflicts(distribution: str = "tacit") -> Iterator[Finding]:
    """Pins that installed libraries put on each other and that do not hold (Flower pins typer, rich and others)."""
    waiting, seen, wrong = [distribution], {distribution}, 0
    while waiting:
        owner = waiting.pop()
        for requirement in _requires(owner):
            if not _applies(requirement, ""):
                continue
            version = installed(requirement.name)
            name = requirement.name.lower()
            fits = version is None or requirement.specifier.contains(version, prereleases=True)
            if not fits and owner != "tacit":
                wrong += 1
                detail = f"{owner} wants {requirement.specifier}, {version} is installed"
                yield Finding("libraries", requirement.name, "missing", detail, f"pip install '{requirement}'")
            if version is not None and name not in seen:
                seen.add(name)
                waiting.append(name)
    if not wrong:
        yield Finding("libraries", "agreement", "ok", f"the pins of {len(seen)} installed distributions hold")


def model_and_data() -> Iterator[Finding]:
    """The models that ship, by the hashes in their cards, and the folder of real data."""
    here = "model and data"
    yield Finding(here, "tacit-nano", *_nano.inspect())
    yield Finding(here, "recogniser", *_recogniser.inspect())
    named = os.environ.get("TACIT_DATA")
    advice = "only scenarios over real data need it: export TACIT_DATA=FOLDER"
    if named is None:
        yield Finding(here, "TACIT_DATA", "absent", "not set", advice)
    elif not Path(named).is_dir():
        yield Finding(here, "TACIT_DATA", "absent", f"{named} is no folder", advice)
    else:
        sets = sum(1 for item in Path(named).iterdir() if item.is_dir())
        yield Finding(here, "TACIT_DATA", "ok", f"{sets} sets in {named}")


def optional_tools() -> Iterator[Finding]:
    """What only some work needs: a browser, a Ray cluster, a PostgreSQL driver."""
    here = "optional"
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    yield _optional(here, "chromium", browser, "only the report's browser test needs it: apt-get install chromium")
    address = os.environ.get("RAY_ADDRESS")
    yield Finding(here, "ray cluster", "info", address or "RAY_ADDRESS not set: --engine ray starts one here")
    driver = next((name for name in ("psycopg", "psycopg2") if find_spec(name)), None)
    yield _optional(
        here, "PostgreSQL driver", driver, "SQLite is the default; otherwise: pip install 'psycopg[binary]'"
    )


def deep_imports() -> Iterator[Finding]:
    """Import what a run imports, with the seconds each takes."""
    for name in ("torch", "transformers", "flwr.app", "opacus", "ray"):
        yield _attempt("deep", f"import {name}", partial(_version_of, name))


def _version_of(name: str) -> str:
    return str(getattr(import_module(name), "__version__", ""))


def deep_model() -> Iterator[Finding]:
    """Load the model that ships and let it speak one step."""
    yield _attempt("deep", "run tacit-nano", _nano.run)


def deep_ray() -> Iterator[Finding]:
    """Whether the cluster that RAY_ADDRESS names answers on its port."""
    address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.removeprefix("ray://").partition(":")
    if host and port.isdigit():
        yield _attempt("deep", "reach ray cluster", lambda: _reach(host, int(port)))


def installed(name: str) -> str | None:
    """Version of the installed distribution ``name``, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _requires(distribution: str) -> Iterator[Requirement]:
    yield from (Requirement(text) for text in metadata.requires(distribution) or [])


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _enough(section: str, name: str, has: float, needs: float, remedy: str) -> Finding:
    detail = f"{has / 1e9:.1f} GB"
    if has >= needs:
        return Finding(section, name, "ok", detail)
    return Finding(section, name, "absent", f"{detail}, scenarios that ship want {needs / 1e9:.0f} GB", remedy)


def _optional(section: str, name: str, found: str | None, remedy: str) -> Finding:
    return Finding(section, name, "ok", found) if found else Finding(section, name, "absent", "not found", remedy)


def _attempt(section: str, name: str, work: Callable[[], Any]) -> Finding:
    start = time.perf_counter()
    try:
        told = work()
    except Exception as error:  # whatever a broken installation raises is the finding
        remedy = f"{sys.executable} -m pip install --force-reinstall tacit"
        return Finding(section, name, "missing", f"{type(error).__name__}: {error}"[:200], remedy)
    return Finding(section, name, "ok", f"{told} in {time.perf_counter() - start:.1f} s".strip())


def _import(name: str) -> str:
    return str(getattr(import_module(name), "__version__", ""))


def _reach(host: str, port: int) -> str:
    with socket.create_connection((host, port), timeout=3):
        return f"{host}:{port} answers"
