"""``flwr run .`` on Flower's own simulation runtime: this project's ServerApp and ClientApp are plain Flower."""

import json
import os
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from flwr.app import Context, RecordDict
from flwr.common.config import flatten_dict
from local_grid import LocalGrid, client_node

from tacit_clients.app import app as client_app
from tacit_privacy.ledger.verify import verify
from tacit_server.app import app as server_app
from tacit_server.app import outcome_of

ROOT = Path(__file__).parents[2]
NODES = 4
OVERRIDES: dict[str, bool | float | int | str] = {"seed": 5, "federation.rounds": 2, "federation.cohort": NODES}


@dataclass(frozen=True)
class Finished:
    """What a run of Flower left."""

    code: int
    said: str
    out: Path
    home: Path


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago; no other test asks for the same."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [taken.getsockname()[1] for taken in sockets]
    for taken in sockets:
        taken.close()
    return ports


def of_this_home(home: Path) -> Iterator[psutil.Process]:
    """The SuperLink that ``flwr run`` started for this folder: it is detached and outlives its command."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any("flower-superlink" in word for word in words) and any(str(home) in word for word in words):
            yield process


def end(home: Path) -> None:
    """One of them may be gone by itself at any moment: then there is nothing left to end."""
    for superlink in list(of_this_home(home)):
        family = [superlink]
        with suppress(psutil.NoSuchProcess):
            family += superlink.children(recursive=True)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        for process in psutil.wait_procs(family, timeout=20)[1]:
            with suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture
def finished(tmp_path: Path) -> Iterator[Finished]:
    home, out = tmp_path / "home", tmp_path / "out"
    home.mkdir()
    (home / "config.toml").write_text('[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = ":local:"\n')
    ports = free_ports(2)
    settings = {
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(ports[0]),
        "FLWR_LOCAL_CONTROL_API_PORT": str(ports[1]),
        "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HUB_OFFLINE": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    overrides = " ".join(f"{key}={json.dumps(value)}" for key, value in (OVERRIDES | {"out": str(out)}).items())
    fleet = f"num-supernodes={NODES} client-resources-num-cpus=1"
    command = ["flwr", "run", ".", "here", "--stream", "--federation-config", fleet, "--run-config", overrides]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=540,
            check=False,
        )
        yield Finished(done.returncode, done.stdout, out, home)
    finally:
        end(home)
        assert list(of_this_home(home)) == []


@pytest.mark.timeout(600)
def test_flower_runs_both_apps(finished: Finished, tmp_path: Path) -> None:
    assert finished.code == 0, finished.said
    assert (finished.out / "adapter").is_dir(), finished.said
    check_rounds_and_ledger(finished.out)
    check_bundle(finished.home)
    check_same_bytes(finished.out, tmp_path / "bare")


def check_rounds_and_ledger(out: Path) -> None:
    """Both rounds were released with everybody's update, and paid for."""
    rounds = [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]
    assert [row["round"] for row in rounds] == [1, 2]
    for row in rounds:
        assert (row["released"], row["completed"], sorted(row["accepted"])) == (True, NODES, list(range(NODES)))
    found = verify((out / "ledger.jsonl").read_text().splitlines(), (out / "ledger.pub").read_text().strip())
    assert (found.ok, found.state, found.noise_source) == (True, "closed", "seeded")
    assert 0 < found.epsilon <= 8
    assert found.epsilon == pytest.approx(rounds[-1]["epsilon"])


def check_bundle(home: Path) -> None:
    """What Flower ships to nodes carries no code: everybody runs what is installed."""
    (bundle,) = (home / "apps").iterdir()
    assert {str(path.relative_to(bundle)) for path in bundle.rglob("*")} == {"pyproject.toml", "LICENSE"}


def check_same_bytes(out: Path, bare: Path) -> None:
    """The same two apps without SuperLink, Ray or network: nothing of the result comes from how messages travel."""
    app: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["flwr"]["app"]
    run_config = flatten_dict(app["config"]) | OVERRIDES | {"out": str(bare), "joining.nodes": NODES}
    nodes = {partition + 1: client_node(client_app, partition, NODES, run_config) for partition in range(NODES)}
    context = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=run_config)
    server_app(LocalGrid(nodes), context)
    assert outcome_of(context).adapter.any()  # it started from zeros
    name = "adapter/adapter_model.safetensors"
    assert (bare / name).read_bytes() == (out / name).read_bytes()
