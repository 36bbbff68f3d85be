"""Invariants about what is absent: which code may not know which other code."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("privacy/tacit_privacy", "clients/tacit_clients", "server/tacit_server", "simulations/tacit_simulations")
MAY_IMPORT = {
    "tacit_privacy": set(),
    "tacit_clients": {"tacit_privacy"},
    "tacit_server": {"tacit_privacy"},
    "tacit_simulations": {"tacit_privacy", "tacit_clients", "tacit_server"},
}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level names of every module that the file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_layers(package: str) -> None:
    name = Path(package).name
    ours = set(MAY_IMPORT)
    for path in modules(package):
        forbidden = imported(path) & ours - MAY_IMPORT[name] - {name}
        assert not forbidden, f"{path.relative_to(ROOT)} imports {forbidden}"


def test_the_layers_tool_is_told_the_same() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert set(settings["root_packages"]) == set(MAY_IMPORT)
    contracts = [contract for contract in settings["contracts"] if contract["type"] == "layers"]
    assert [contract["layers"] for contract in contracts] == [
        ["tacit_simulations", "tacit_clients | tacit_server", "tacit_privacy"]
    ]


def test_the_ground_floor_loads_neither_torch_nor_flower_nor_the_web() -> None:
    names = [
        str(path.relative_to(ROOT / "privacy").with_suffix("")).replace("/", ".").removesuffix(".__init__")
        for path in modules("privacy/tacit_privacy")
        if "migrations" not in path.parts  # which Alembic alone can run
    ]
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, timeout=120, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "tacit_privacy" in loaded
    assert not loaded & {"torch", "flwr", "transformers", "fastapi", "ray", "tacit_clients", "tacit_server"}


def test_one_package_imports_an_http_client() -> None:
    """Text leaves through one door: nothing beside it could even open another."""
    clients = {"httpx", "requests", "urllib3", "aiohttp", "http", "socket", "openai", "websockets", "httpcore"}
    allowed = {
        "clients/tacit_clients/egress/transport.py",
        "clients/tacit_clients/gateway/serving.py",  # listens
        "clients/tacit_clients/device/server.py",  # a device's own server: reports and adapters, never a text
        "clients/tacit_clients/flower_seam.py",  # the same server's fleet interface: terms, updates, receipts
        "server/tacit_server/flower_seam.py",  # the server's processes among themselves
        "server/tacit_server/flower_post.py",  # the same
        "server/tacit_server/deployment/supervisor.py",  # tries whether it could listen
        "server/tacit_server/web/console/alone.py",  # listens, on loopback
        "simulations/tacit_simulations/evaluation/modes/latency.py",  # asks its own gateway on loopback
        "simulations/tacit_simulations/commands/_checkup.py",  # doctor asks whether a name resolves, when told to
    }
    found = {str(path.relative_to(ROOT)): imported(path) & clients for package in PACKAGES for path in modules(package)}
    assert {name: names for name, names in found.items() if names and name not in allowed} == {}
    assert found["clients/tacit_clients/egress/transport.py"] == {"aiohttp"}


def test_no_code_uses_assert_to_validate() -> None:
    """``python -O`` removes assertions, and with them the check."""
    for package in PACKAGES:
        for path in modules(package):
            found = [node.lineno for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Assert)]
            assert not found, f"{path.relative_to(ROOT)} asserts in lines {found}"


def test_no_code_touches_global_random_state() -> None:
    """Streams are named and passed in; a global one would make a result depend on who drew before."""
    allowed = {"Generator", "Philox", "PCG64", "SeedSequence", "BitGenerator", "default_rng"}
    for package in PACKAGES:
        for path in modules(package):
            tree = ast.parse(path.read_bytes())
            assert "random" not in imported(path), f"{path.relative_to(ROOT)} imports random"
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("np.random", "numpy.random"):
                    assert node.attr in allowed, f"{path.relative_to(ROOT)}:{node.lineno} uses np.random.{node.attr}"


def test_flowers_private_parts_are_touched_in_few_places() -> None:
    """Public in Flower are ``flwr.app``, ``flwr.clientapp`` and ``flwr.serverapp``; the rest may change any day."""
    public = ("flwr.app", "flwr.clientapp", "flwr.serverapp")
    seams = {
        "clients/tacit_clients/flower_seam.py",
        "server/tacit_server/flower_seam.py",
        "server/tacit_server/flower_post.py",
    }
    seams |= {"simulations/tacit_simulations/grid.py"}  # an emulated grid says which run it is of
    found: dict[str, set[str]] = {}
    for package in PACKAGES:
        for path in modules(package):
            for node in ast.walk(ast.parse(path.read_bytes())):
                names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
                names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                private = {name for name in names if name.partition(".")[0] == "flwr" and name not in public}
                if private:
                    found.setdefault(str(path.relative_to(ROOT)), set()).update(private)
    assert {name: parts for name, parts in found.items() if name not in seams} == {}
