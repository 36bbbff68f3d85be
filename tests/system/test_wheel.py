"""The wheel holds everything that the commands need, nothing else, and works where it is unpacked."""

import configparser
import importlib.util
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from email import message_from_string
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("tacit_clients", "tacit_privacy", "tacit_server", "tacit_simulations")
KINDS = {
    ".py",
    ".toml",
    ".j2",
    ".css",
    ".js",
    ".svg",
    ".typed",
    ".json",
    ".safetensors",
    ".onnx",
    ".md",
}  # of files inside
MODELS = {"nano", "weights"}  # folders that hold a model
NO_BACKEND = ("No matching distribution found for hatchling", "Could not find a version that satisfies")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as anybody would: by pip, with the backend that is installed or else can be had."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--wheel-dir", str(out)]
    command += ["--disable-pip-version-check", "--retries=0", "--timeout=10"]
    if importlib.util.find_spec("hatchling"):
        command.append("--no-build-isolation")
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=out)
    if done.returncode and any(said in done.stderr + done.stdout for said in NO_BACKEND):
        pytest.skip("hatchling is neither installed nor to be had: no wheel can be built here")
    assert done.returncode == 0, done.stderr
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def files(wheel: Path) -> dict[str, int]:
    """Name to size of everything inside."""
    with zipfile.ZipFile(wheel) as archive:
        return {item.filename: item.file_size for item in archive.infolist()}


def test_the_packages_alone_are_inside(files: dict[str, int]) -> None:
    tops = {name.split("/")[0] for name in files}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    assert len(tops) == len(PACKAGES) + 1


def test_no_tests_no_data_no_leftovers(files: dict[str, int]) -> None:
    for name in (name for name in files if ".dist-info/" not in name):
        path = PurePosixPath(name)
        assert path.suffix in KINDS, name
        assert not path.name.startswith(("test_", "conftest", ".")), name
        assert not {"tests", "__pycache__", "runs"} & set(path.parts), name
        if path.suffix in {".json", ".safetensors", ".onnx", ".md"}:
            assert path.parent.name in MODELS, name


def test_what_commands_read_is_inside(files: dict[str, int]) -> None:
    simulations = ROOT / "simulations" / "tacit_simulations"
    scenarios = {f"tacit_simulations/scenarios/{path.name}" for path in (simulations / "scenarios").glob("*.toml")}
    templates = {f"tacit_simulations/report/templates/{p.name}" for p in (simulations / "report/templates").iterdir()}
    assert len(scenarios) >= 7 and len(templates) >= 2
    needed = scenarios | templates | {f"{package}/py.typed" for package in PACKAGES}
    needed |= {"tacit_simulations/fleet/catalogue.toml"}
    names = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md")
    needed |= {f"tacit_clients/slm/nano/{name}" for name in names}
    recogniser = "tacit_privacy/pii/detection/recogniser/weights"
    needed |= {f"{recogniser}/{name}" for name in ("model.onnx", "tokenizer.json", "labels.json", "README.md")}
    page = ROOT / "clients" / "tacit_clients" / "gateway" / "page"
    needed |= {
        str(p.relative_to(ROOT / "clients")) for p in page.rglob("*") if p.suffix in {".j2", ".css", ".js", ".svg"}
    }
    assert needed <= set(files)


def test_every_source_file_is_inside_as_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for area in ("clients", "privacy", "server", "simulations"):
            sources = sorted((ROOT / area).rglob("*.py"))
            assert sources
            for source in sources:
                assert archive.read(source.relative_to(ROOT / area).as_posix()) == source.read_bytes()


def test_it_is_small(wheel: Path, files: dict[str, int], record_property: Callable[[str, object], None]) -> None:
    total = wheel.stat().st_size
    record_property("wheel_bytes", total)
    print(f"wheel: {total / 1e6:.2f} MB, unpacked {sum(files.values()) / 1e6:.2f} MB, {len(files)} files")
    assert files["tacit_clients/slm/nano/model.safetensors"] < 10e6
    inside = sum(size for name, size in files.items() if "/recogniser/weights/" in name)
    assert inside < 30e6
    assert total < 12e6 + inside


def test_it_says_who_it_is(wheel: Path, files: dict[str, int]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (info,) = {name.split("/")[0] for name in files if ".dist-info/" in name}
    with zipfile.ZipFile(wheel) as archive:
        metadata = message_from_string(archive.read(f"{info}/METADATA").decode())
        points = configparser.ConfigParser(delimiters=("=",))
        points.read_string(archive.read(f"{info}/entry_points.txt").decode())
        assert archive.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert (metadata["Name"], metadata["Version"]) == ("tacit", project["version"])
    assert metadata["License-Expression"] == "Apache-2.0"
    assert dict(points["console_scripts"]) == project["scripts"]
    assert dict(points["tacit.commands"]) == project["entry-points"]["tacit.commands"]
    for target in (*points["console_scripts"].values(), *points["tacit.commands"].values()):
        module = target.split(":")[0].replace(".", "/")
        assert f"{module}.py" in files or f"{module}/__init__.py" in files, target


_USE = """
import json, sys
from pathlib import Path
import tacit_clients, tacit_privacy, tacit_server, tacit_simulations
from tacit_clients.slm.models import NANO, load
from tacit_simulations.scenario import load_scenario, named_scenarios
packages = (tacit_clients, tacit_privacy, tacit_server, tacit_simulations)
homes = [str(Path(next(iter(package.__path__))).parent) for package in packages]
from tacit_privacy.cli import main
run = main(["simulate", "million", "--devices=500", "--rounds=1", "--set=federation.cohort=20", "--out=run"])
from tacit_privacy.pii.api import open_redactor
with open_redactor() as redactor:
    redacted = redactor.redact("ask Sorin Petrescu about it").text
print(json.dumps({"homes": homes, "redacted": redacted, "parameters": load(NANO).parameters, "run": run,
                  "scenarios": [load_scenario(name).name for name in named_scenarios()]}))
"""


def test_it_works_where_it_is_unpacked(wheel: Path, tmp_path: Path) -> None:
    """Model, scenarios, device catalogue and report page are read from inside the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", _USE],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["homes"] == [str(tmp_path / "site")] * 4
    assert found["parameters"] > 1e6 and found["run"] == 0
    assert "PERSON_" in found["redacted"] and "Petrescu" not in found["redacted"]
    assert {"home", "home-quick", "million", "banking77"} <= set(found["scenarios"])
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
